"""Data modules of tuples that lie in memory, cut into batches by index."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.nn.functional import one_hot

from mmvae_bary.batch import Batch
from mmvae_bary.checks import check_at_least
from mmvae_bary.data.missing import Masked, Missing, check_missing, draw_presence
from mmvae_bary.distributions import derive_seed, run_seed, seeded

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

SPLITS = ("train", "validation", "test")


class TupleDataset(Protocol):
    """Samples that are read many at a time: a vector of their numbers in, a batch out.

    The numbers are int64, from zero, on the data's device.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: Tensor) -> Batch: ...

    @property
    def label(self) -> Tensor | None:
        """All labels, as a :class:`~mmvae_bary.batch.Batch` has them."""
        ...

    def to(self, device: torch.device) -> TupleDataset:
        """The same samples on another device."""
        ...


@dataclass(frozen=True, eq=False)
class StoredTuples:
    """Tuples stored as bytes, turned into floats a batch at a time.

    Args:
        inputs: Modality name to a uint8 tensor of shape ``(N, ...)``: a picture's values, or a
            text's symbols if ``num_symbols`` names the modality.
        label: Class indices of shape ``(N,)``, or attributes, 0 or 1, of shape ``(N, A)``.
        num_symbols: Modality name to the number of symbols; such a modality becomes one-hot.

    Example:
        >>> tuples = StoredTuples({"text": torch.zeros(5, 8, dtype=torch.uint8)},
        ...                       torch.arange(5), {"text": 27})
        >>> tuples[torch.tensor([3, 1])].inputs["text"].shape
        torch.Size([2, 8, 27])
    """

    inputs: Mapping[str, Tensor]
    label: Tensor
    num_symbols: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, index: Tensor) -> Batch:
        inputs = {
            # rows are copied whole, in a fraction of the time of values[index]
            name: self._decode(name, values.index_select(0, index))
            for name, values in self.inputs.items()
        }
        return Batch(inputs, label=self.label[index])

    def to(self, device: torch.device) -> StoredTuples:
        """The same tuples on another device."""
        inputs = {name: values.to(device) for name, values in self.inputs.items()}
        return StoredTuples(inputs, self.label.to(device), self.num_symbols)

    def _decode(self, name: str, values: Tensor) -> Tensor:
        if name in self.num_symbols:
            return one_hot(values.long(), self.num_symbols[name]).float()
        return values.float() / 255


class BatchIndices:
    """Which samples make up the batches of an epoch: a function of the seed and the epoch alone.

    Of several processes each takes every so-manieth whole batch, so that together they see each
    sample once.

    Args:
        index: The samples, on the device of the data.
        batch_size: Samples in a batch.
        shuffle: Draw a new order for each epoch, and drop what does not fill a batch.
        seed: Seed of the orders.
        rank: Number of this process.
        world_size: Number of processes.
    """

    def __init__(
        self,
        index: Tensor,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.index = index
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0

    @property
    def sampler(self) -> BatchIndices:
        """Where Lightning looks for ``set_epoch``."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch; called by Lightning."""
        self.epoch = epoch

    def __len__(self) -> int:
        if self.shuffle:
            return len(self.index) // self.batch_size // self.world_size
        batches = -(-len(self.index) // self.batch_size)
        return len(range(self.rank, batches, self.world_size))

    def __iter__(self) -> Iterator[Tensor]:
        index = self.index
        if self.shuffle:
            generator = torch.Generator().manual_seed(derive_seed(self.seed, self.epoch))
            index = index[torch.randperm(len(index), generator=generator).to(index.device)]
        batches = index.split(self.batch_size)
        for position in range(len(self)):
            yield batches[self.rank + position * self.world_size]


class BatchLoader:
    """Batches of a data set, each read by one index: no workers, no collating.

    Its state is how far an epoch has come, so that Lightning resumes in the middle of one.

    Args:
        dataset: What to read from.
        batch_sampler: What to read.
    """

    def __init__(self, dataset: TupleDataset, batch_sampler: BatchIndices) -> None:
        self.dataset = dataset
        self.batch_sampler = batch_sampler
        self.position = 0
        self.start = 0

    def state_dict(self) -> dict[str, int]:
        """How many batches of the epoch were handed out; zero once all were."""
        return {"position": self.position % max(len(self), 1)}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Begin the next iteration where another one stood."""
        self.start = state["position"]

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[Batch]:
        start, self.start = self.start, 0
        for position, index in enumerate(self.batch_sampler):
            if position >= start:
                self.position = position + 1
                yield self._read(index, position)

    def _read(self, index: Tensor, position: int) -> Batch:
        """What a data set draws anew each time depends on the epoch and the batch alone."""
        indices = self.batch_sampler
        if not indices.shuffle:
            return self.dataset[index]
        number = indices.rank + position * indices.world_size
        with seeded(derive_seed(indices.seed, indices.epoch, number), index.device):
            return self.dataset[index]


class MultimodalDataModule(LightningDataModule, ABC):
    """A benchmark: three splits of labelled tuples, held on the device that trains.

    A subclass implements :meth:`load` and says what its texts are written in.

    Args:
        batch_size: Training tuples in a batch.
        eval_batch_size: Validation and test tuples in a batch.
        seed: Seed of the tuples. The order they are trained in depends on Lightning's
            ``seed_everything`` besides, so that runs of several seeds differ in it.
        cache: Folder for what is made or learned from the data, such as classifiers.
        missing: What training is to do without: the chance of each modality of each training tuple
            to be missing, completely at random, though one is always left; or name of a modality
            to the classes whose tuples lack it. The tuples that judge stay whole.
        drop_incomplete: Train on those tuples alone that lack nothing.

    Raises:
        ValueError: If a batch size is below one, or a share of missing modalities out of range.
    """

    num_classes: ClassVar[int]
    """Number of classes of the label, or of its attributes."""

    attributes: ClassVar[Sequence[str]] = ()
    """Names of the binary attributes that a label is made of; none where it is a class."""

    alphabets: ClassVar[Mapping[str, str]] = {}
    """Name of a text modality to its symbols, in the order of their indices."""

    def __init__(
        self,
        batch_size: int = 256,
        eval_batch_size: int = 256,
        seed: int = 0,
        cache: str = "data",
        missing: Missing = 0.0,
        drop_incomplete: bool = False,
    ) -> None:
        super().__init__()
        check_at_least(1, batch_size=batch_size, eval_batch_size=eval_batch_size)
        check_at_least(0, seed=seed)
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.seed = seed
        self.cache = cache
        check_missing(missing)
        self.missing = missing
        self.drop_incomplete = drop_incomplete
        self.datasets: dict[str, TupleDataset] = {}

    def __str__(self) -> str:
        sizes = ", ".join(f"{name}: {len(data)}" for name, data in self.datasets.items())
        return f"{type(self).__name__}({sizes or 'not set up'})"

    @abstractmethod
    def fingerprint(self, split: str) -> str:
        """A file name's worth of what determines a split, for what is kept beside the data."""

    samples: NDArray[Any] | None = None
    """What each sample is called, in the order of prediction; None where they have no names."""

    @property
    def notes(self) -> list[str]:
        """What differs from the published data, for reports to say."""
        return []

    def original(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Modalities in the units that the data came in, from those in the model's scale."""
        return inputs

    @abstractmethod
    def load(self) -> dict[str, TupleDataset]:
        """The data sets of ``train``, ``test`` and perhaps ``validation``, on the CPU."""

    def setup(self, stage: str) -> None:
        """Load the splits once and move them to the device that trains."""
        datasets = self.datasets or self.load()
        self.datasets = {name: data.to(self.device) for name, data in datasets.items()}

    @property
    def modalities(self) -> tuple[str, ...]:
        """The names of the modalities; after :meth:`setup`."""
        first = torch.zeros(1, dtype=torch.long, device=self.device)
        return tuple(next(iter(self.datasets.values()))[first].inputs)

    @property
    def device(self) -> torch.device:
        """The trainer's device; the CPU without a trainer."""
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")

    def train_dataloader(self) -> BatchLoader:
        """Shuffled training batches, the incomplete last one dropped."""
        dataset = self._split_of("train")
        index = torch.arange(len(dataset), device=self.device)
        if self.missing:
            seed = derive_seed(self.seed, run_seed())
            kept = draw_presence(
                self.missing, self.modalities, len(dataset), dataset.label, seed
            ).to(self.device)
            if self.drop_incomplete:
                index = index[kept.all(1)]
            else:
                dataset = Masked(dataset, kept)
        return self._loader(dataset, index, "train", self.batch_size, shuffle=True)

    def val_dataloader(self) -> BatchLoader | list[BatchLoader]:
        """All validation tuples, in order; nothing where there are none."""
        return self._ordered("validation") if "validation" in self.datasets else []

    def test_dataloader(self) -> BatchLoader:
        """All test tuples, in order.

        Raises:
            ValueError: If there are none.
        """
        return self._ordered("test")

    def predict_dataloader(self) -> BatchLoader:
        """All test tuples, in order."""
        return self.test_dataloader()

    def probe_dataloader(self, num_rows: int | None, seed: int) -> BatchLoader:
        """Training tuples to fit a probe on, drawn without replacement, alike in all processes."""
        size = len(self._split_of("train"))
        if num_rows is not None and num_rows > size:
            raise ValueError(
                f"got num_rows={num_rows} for the linear probe, expected at most the {size} "
                "training tuples, or None (null in YAML) for all of them"
            )
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randperm(size, generator=generator)[:num_rows].to(self.device)
        return BatchLoader(self.datasets["train"], BatchIndices(rows, self.eval_batch_size))

    def batches(self, split: str, batch_size: int) -> BatchLoader:
        """A whole split in order, for this process alone."""
        index = torch.arange(len(self.datasets[split]), device=self.device)
        return BatchLoader(self.datasets[split], BatchIndices(index, batch_size))

    def endless_batches(self, split: str, batch_size: int) -> Iterator[Batch]:
        """A split in ever new orders, for this process alone; batches no larger than it."""
        size = len(self.datasets[split])
        batch_size = min(batch_size, size)
        index = torch.arange(size, device=self.device)
        indices = BatchIndices(index, batch_size, shuffle=True, seed=self.seed)
        for epoch in count():
            indices.set_epoch(epoch)
            yield from BatchLoader(self.datasets[split], indices)

    def sample_batch(self, size: int) -> Batch:
        """At most ``size`` test tuples to look at, one of each class, in the order of classes.

        Of tuples with attributes, or without labels, the first ones.

        Raises:
            RuntimeError: Before :meth:`setup`.
        """
        if "test" not in self.datasets:
            what = "no test samples" if self.datasets else "no data yet"
            raise RuntimeError(f"got {what}, expected setup('test') before sample_batch()")
        return self._to_look_at(self.datasets["test"], size)

    def _to_look_at(self, dataset: TupleDataset, size: int) -> Batch:
        if self.attributes or dataset.label is None:
            return dataset[torch.arange(min(size, len(dataset)), device=self.device)]
        first: dict[int, int] = {}
        for position, number in enumerate(dataset.label.tolist()):
            first.setdefault(number, position)
        chosen = [first[number] for number in sorted(first)][:size]
        return dataset[torch.tensor(chosen, device=self.device)]

    def _split_of(self, name: str) -> TupleDataset:
        if name not in self.datasets:
            raise ValueError(f"got no {name} samples, expected some")
        return self.datasets[name]

    def _ordered(self, split: str) -> BatchLoader:
        dataset = self._split_of(split)
        index = torch.arange(len(dataset), device=self.device)
        return self._loader(dataset, index, split, self.eval_batch_size)

    def _loader(
        self,
        dataset: TupleDataset,
        index: Tensor,
        split: str,
        batch_size: int,
        shuffle: bool = False,
    ) -> BatchLoader:
        size = len(index)
        processes = self.trainer.world_size if self.trainer else 1
        batches = size // batch_size if shuffle else -(-size // batch_size)
        if batches < processes:
            raise ValueError(
                f"got {size} {split} tuples in {batches} batches of {batch_size} for {processes} "
                "processes, expected at least one batch for each: lower the batch size"
            )
        indices = BatchIndices(
            index,
            batch_size,
            shuffle=shuffle,
            seed=derive_seed(self.seed, run_seed()),
            rank=self.trainer.global_rank if self.trainer else 0,
            world_size=processes,
        )
        return BatchLoader(dataset, indices)
