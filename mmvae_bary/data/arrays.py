"""Data of one's own: arrays, frames, sparse matrices or files, with modalities missing."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from scipy import sparse
from torch import Tensor

from mmvae_bary.batch import Batch
from mmvae_bary.data.alignment import Aligned, align, aligned_rows
from mmvae_bary.data.base import SPLITS, BatchLoader, MultimodalDataModule
from mmvae_bary.data.kinds import KINDS, kind_of
from mmvae_bary.data.missing import Missing
from mmvae_bary.data.reading import named

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmvae_bary.data.base import TupleDataset


@dataclass(frozen=True, eq=False)
class SparseRows:
    """A matrix of which few entries are not zero, stored by rows and read as dense ones.

    Args:
        starts: Where each row starts among the entries, and where the last ends: ``(N + 1,)``.
        columns: The column of each entry.
        values: The entries.
        num_columns: Width of a row.

    Example:
        >>> rows = SparseRows.of(sparse.csr_array([[0.0, 2.0], [0.0, 0.0], [3.0, 0.0]]))
        >>> rows[torch.tensor([2, 0])]
        tensor([[3., 0.],
                [0., 2.]])
    """

    starts: Tensor
    columns: Tensor
    values: Tensor
    num_columns: int

    @classmethod
    def of(cls, matrix: sparse.csr_array) -> SparseRows:
        """The rows of a SciPy matrix."""
        parts = (matrix.indptr, matrix.indices, matrix.data)
        starts, columns, values = (torch.from_numpy(np.ascontiguousarray(x)) for x in parts)
        return cls(starts.long(), columns.long(), values.float(), matrix.shape[1])

    @property
    def shape(self) -> torch.Size:
        """Rows and columns."""
        return torch.Size([len(self.starts) - 1, self.num_columns])

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, index: Tensor) -> Tensor:
        """Dense rows, of shape ``(B, num_columns)``."""
        first = self.starts[index]
        lengths = self.starts[index + 1] - first
        row = torch.repeat_interleave(lengths)
        ends = lengths.cumsum(0)
        within = torch.arange(len(row), device=row.device) - (ends - lengths)[row]
        entry = first[row] + within
        dense = self.values.new_zeros(len(index), self.num_columns)
        return dense.index_put_((row, self.columns[entry]), self.values[entry], accumulate=True)

    def to(self, device: torch.device) -> SparseRows:
        """The same rows on another device."""
        starts, columns, values = (x.to(device) for x in (self.starts, self.columns, self.values))
        return SparseRows(starts, columns, values, self.num_columns)


@dataclass(frozen=True, eq=False)
class ArrayTuples:
    """Rows of several arrays, some of which lack a modality.

    Args:
        inputs: Modality name to ``(N, *shape)``, in the model's scale; zeros where it is missing.
        present: Booleans of shape ``(N, M)``; None where nothing is missing.
        labels: Class indices ``(N,)``, or attributes, 0 or 1, of shape ``(N, A)``; None without.
        rows: Which rows these tuples are, in their order.
    """

    inputs: Mapping[str, Tensor | SparseRows]
    present: Tensor | None
    labels: Tensor | None
    rows: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Tensor) -> Batch:
        rows = self.rows[index]
        inputs = {
            # rows are copied whole, in a fraction of the time of values[rows]
            name: x[rows] if isinstance(x, SparseRows) else x.index_select(0, rows)
            for name, x in self.inputs.items()
        }
        present, label = (None if x is None else x[rows] for x in (self.present, self.labels))
        return Batch(inputs, present, label)

    @property
    def label(self) -> Tensor | None:
        """The labels of these tuples."""
        return None if self.labels is None else self.labels[self.rows]

    def to(self, device: torch.device) -> ArrayTuples:
        """The same tuples on another device."""
        inputs = {name: values.to(device) for name, values in self.inputs.items()}
        parts = (self.present, self.labels)
        present, labels = (None if x is None else x.to(device) for x in parts)
        return ArrayTuples(inputs, present, labels, self.rows.to(device))

    def take(self, rows: Tensor) -> ArrayTuples:
        """Tuples of some rows, which share what is stored; unmasked where none lacks anything."""
        some = None if self.present is None or self.present[rows].all() else self.present
        return ArrayTuples(self.inputs, some, self.labels, rows)


class Scaling(NamedTuple):
    """What was taken off each column of a modality, and what it was divided by then."""

    mean: Tensor
    std: Tensor


class ArrayDataModule(MultimodalDataModule):
    """Your own data: a table for each modality, some of which lack rows.

    Rows that stand in one place, or have one name in a column, belong together. A modality is
    missing from a sample where its row is NaN throughout, where its table has no row of that name,
    or where ``present`` says so. Modalities of real numbers are standardised, column by column, by
    the training rows that have them. What kind of numbers a modality is made of, and so what its
    likelihood is, is seen from the data, and said.

    Args:
        modalities: Name to a table of one row a sample: a NumPy array or a tensor ``(N, ...)``, a
            pandas frame, a SciPy sparse matrix, an AnnData, or the path of an ``.npy``, ``.npz``
            (``FILE.npz`` or ``FILE.npz:NAME``), ``.csv``, ``.tsv``, ``.parquet`` or ``.h5ad``
            file. The order is the model's. Contiguous arrays and tensors of float32 are used
            as they are, so do not change them afterwards.
        label: A class for each sample, by number or name, or attributes, 0 or 1, in columns: such
            a table or a sequence. None where there are no labels.
        index: Name of the column, or of the frames' index, that rows are aligned by; None to
            align them by position.
        present: Booleans ``(N, M)``, false where a modality is missing, or name of a modality to
            booleans ``(N,)``.
        split: ``"train"``, ``"validation"`` or ``"test"`` for each sample, the last two where you
            like; drawn if None.
        validation_share: Share of the samples drawn for validation.
        test_share: Share of the samples drawn for the test.
        kinds: Name of a modality to the kind of its numbers, where it is not the one seen:
            ``"real"``, ``"binary"``, ``"counts"`` or ``"one-hot"``.
        standardize: Modalities to standardise; those of real numbers, in dense rows, if None.
        batch_size: Training tuples in a batch, lowered to as many as there are.
        eval_batch_size: Validation and test tuples in a batch.
        seed: Seed of the split. The order depends on Lightning's ``seed_everything`` besides.
        cache: Folder for what is learned from the data, such as classifiers.
        drop_incomplete: Train on those samples alone that lack nothing.
        missing: What training is to do without besides; see :class:`MultimodalDataModule`.

    Raises:
        ValueError: At once if there is no modality or a share or name is wrong. When set up, if
            tables differ in length, a name comes twice, a sample has no modality, a value is not
            a number, or NaN inside a row, or infinite, or of another kind than asked for, a column
            to standardise is constant, a class has no training row, or a mask, label or split has
            a wrong shape. Each is named.

    Example:
        >>> rna, protein = np.random.rand(90, 7), np.random.rand(90, 4)
        >>> protein[60:] = np.nan  # a third of the samples lack it
        >>> data = ArrayDataModule({"rna": rna, "protein": protein})
        >>> data.setup("fit")
        >>> data.datasets["all"][torch.tensor([0, 89])].present
        tensor([[ True,  True],
                [ True, False]])
    """

    def __init__(
        self,
        modalities: Mapping[str, Any],
        label: Any = None,
        index: str | None = None,
        present: Any = None,
        split: Any = None,
        validation_share: float = 0.1,
        test_share: float = 0.2,
        kinds: Mapping[str, str] | None = None,
        standardize: Sequence[str] | None = None,
        batch_size: int = 64,
        eval_batch_size: int = 256,
        seed: int = 0,
        cache: str = "data",
        drop_incomplete: bool = False,
        missing: Missing = 0.0,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, seed, cache, missing, drop_incomplete)
        if not modalities:
            raise ValueError("modalities: got none, expected a table for each")
        if min(validation_share, test_share) < 0 or validation_share + test_share >= 1:
            raise ValueError(
                f"got validation_share={validation_share} and test_share={test_share}, expected "
                "neither to be negative and something left to train on"
            )
        for what, given in (("kinds", kinds), ("standardize", standardize)):
            if unknown := [name for name in given or () if name not in modalities]:
                raise ValueError(f"{what}: got {unknown}, expected some of {list(modalities)}")
        self.tables = dict(modalities)
        self.index = index
        self.sources = {"label": label, "present": present, "split": split}
        self.shares = {"validation": validation_share, "test": test_share}
        self.asked_kinds = dict(kinds or {})
        self.standardize = standardize
        self.kinds: dict[str, str] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.samples: NDArray[Any] | None = None
        self.scalings: dict[str, Scaling] = {}
        self.classes: list[Any] = []
        self.columns: dict[str, list[str]] = {}
        self.restored = False
        self.taught_later = False

    # ---- what the training samples taught

    def state_dict(self) -> dict[str, Any]:
        """Kinds, scalings, classes and columns, which a checkpoint keeps for data to come."""
        return {
            "kinds": self.kinds,
            "scalings": {name: tuple(scaling) for name, scaling in self.scalings.items()},
            "classes": self.classes,
            "columns": self.columns,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take another module's kinds, scalings, classes and columns, so that new samples fit in.

        Lightning does so with a checkpoint: in ``Trainer.predict(..., ckpt_path=...)``, and in
        ``ArrayDataModule.load_from_checkpoint(path, modalities=...)``. Columns that have names may
        come in another order.
        """
        self.asked_kinds = dict(state_dict["kinds"])
        self.scalings = {name: Scaling(*x) for name, x in state_dict["scalings"].items()}
        self.classes = list(state_dict["classes"])
        self.columns = dict(state_dict["columns"])
        self.restored = True
        if self.datasets:
            self.datasets = {}
            self.setup("restored")

    # ---- what a model is made from

    def specifications(self) -> dict[str, dict[str, Any]]:
        """What the data say of each modality, as a configuration has it.

        Returns:
            Modality name to the ``shape`` of a sample and a ``likelihood``, by its ``class_path``
            and ``init_args``.
        """
        self.setup("fit")
        return {
            name: {
                "shape": list(self.shapes[name]),
                "likelihood": {
                    "class_path": KINDS[kind].likelihood.__name__,
                    "init_args": KINDS[kind].settings(self.shapes[name]),
                },
            }
            for name, kind in self.kinds.items()
        }

    def original(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Modalities in the units of the tables, not standardised.

        Args:
            inputs: Modality name to a tensor of shape ``(..., *shape)`` in the model's scale.
        """
        return {
            name: x * s.std.to(x) + s.mean.to(x) if (s := self.scalings.get(name)) else x
            for name, x in inputs.items()
        }

    # ---- loading

    def setup(self, stage: str) -> None:
        """Read the tables once; the splits share what is moved to the device that trains."""
        predicts = stage == "predict"
        if not self.datasets or (self.taught_later and not predicts):
            # a prediction gets what training taught from a checkpoint, only after this
            self.taught_later = predicts and self.trainer is not None
            self.datasets = self.load()
        stored = self.datasets["all"].to(self.device)
        assert isinstance(stored, ArrayTuples)
        everything = self.datasets
        self.datasets = {
            name: stored.take(data.rows.to(self.device))
            for name, data in everything.items()
            if isinstance(data, ArrayTuples)
        }

    def load(self) -> dict[str, TupleDataset]:
        """The splits that are not empty, and ``"all"`` in the order of the samples."""
        aligned = align(self.tables, self.index, self.sources["present"])
        if self.restored:
            aligned = aligned._replace(inputs=self._in_order(aligned))
        else:
            self.columns = aligned.columns
        if len(self.tables) > 1 and not (aligned.present.sum(1) > 1).any():
            rank_zero_warn(
                f"no sample has more than one of {list(self.tables)}: are samples called alike in "
                "all tables?"
            )
        self.samples = aligned.samples
        self.shapes = {name: tuple(x.shape[1:]) for name, x in aligned.inputs.items()}
        present = dict(zip(aligned.inputs, aligned.present.T, strict=True))
        self.kinds = {
            name: kind_of(name, x, present[name], self.asked_kinds.get(name), aligned.samples)
            for name, x in aligned.inputs.items()
        }
        rows = self._split(aligned.present)
        labels = self._labels(aligned, rows["train"])
        if len(rows["train"]):
            self.batch_size = min(self.batch_size, len(rows["train"]))
        inputs = {name: self._scaled(name, aligned, rows["train"]) for name in self.tables}
        self._say(aligned)
        mask = None if aligned.present.all() else torch.from_numpy(aligned.present)
        everything = ArrayTuples(inputs, mask, labels, torch.arange(len(aligned.present)))
        return {name: everything.take(torch.from_numpy(x)) for name, x in rows.items() if len(x)}

    def fingerprint(self, split: str) -> str:
        """A digest of what a split holds."""
        digest = hashlib.sha256()
        data = self.datasets[split]
        for batch in self.batches(split, 1024):
            for x in (*batch.inputs.values(), batch.present, batch.label):
                if x is not None:
                    digest.update(x.cpu().contiguous().numpy().tobytes())
        return f"arrays-{split}-{len(data)}-{digest.hexdigest()[:12]}"

    def predict_dataloader(self) -> BatchLoader:
        """All samples, in the order of the tables."""
        return self._ordered("all")

    def sample_batch(self, size: int) -> Batch:
        """One test sample of each class, of those that lack nothing where there are some.

        At most ``size`` of them, and without classes the first ones.
        """
        test = self.datasets.get("test")
        if isinstance(test, ArrayTuples) and test.present is not None:
            complete = test.rows[test.present[test.rows].all(1)]
            if len(complete):
                return self._to_look_at(test.take(complete), size)
        return super().sample_batch(size)

    @property
    def _teaches(self) -> bool:
        """Whether the training samples are what kinds, scalings and classes are learned from."""
        return not (self.restored or self.taught_later)

    def _split(self, present: NDArray[np.bool_]) -> dict[str, NDArray[np.int64]]:
        """The rows of each split, and of all."""
        size = len(present)
        if self.sources["split"] is None:
            order = np.random.default_rng(self.seed).permutation(size)
            ends = np.cumsum([round(self.shares[name] * size) for name in ("test", "validation")])
            test, validation, train = np.split(order, ends)
            parts = (np.sort(part) for part in (train, validation, test))
        else:
            table = aligned_rows("split", self.sources["split"], self.index, self.samples, size)
            names = table.values.reshape(size, -1)[:, 0]
            if unknown := sorted(set(map(str, names)) - set(SPLITS)):
                raise ValueError(f"split: got {unknown[0]!r}, expected one of {SPLITS}")
            parts = (np.flatnonzero(names == name) for name in SPLITS)
        rows = dict(zip(SPLITS, parts, strict=True))
        if self.drop_incomplete:
            rows["train"] = rows["train"][present[rows["train"]].all(1)]
        if self._teaches and not len(rows["train"]):
            raise ValueError(f"split: got no training sample among {size}, expected some")
        return {**rows, "all": np.arange(size)}

    def _labels(self, aligned: Aligned, train: NDArray[np.int64]) -> Tensor | None:
        given, size = self.sources["label"], len(aligned.present)
        if given is None:
            return None
        table = aligned_rows("label", given, self.index, aligned.samples, size)
        values = table.values.reshape(size, -1)
        if values.shape[1] > 1:
            return self._attributes(values, table.columns or range(values.shape[1]))
        column = values[:, 0].tolist()
        # NaN differs from itself
        if unknown := [row for row, x in enumerate(column) if x is None or x != x]:
            raise ValueError(
                f"label: got none in {named(np.array(unknown), aligned.samples)}, expected one "
                "for each"
            )
        if not self.restored:
            self.classes = sorted(set(column))
        self.num_classes = len(self.classes)  # type: ignore[misc]
        code = {name: number for number, name in enumerate(self.classes)}
        if unseen := [name for name in column if name not in code]:
            raise ValueError(f"label: got {unseen[0]!r}, expected one of {self.classes}")
        codes = np.array([code[name] for name in column], dtype=np.int64)
        empty = np.setdiff1d(np.arange(self.num_classes), codes[train])
        if self._teaches and len(empty):
            raise ValueError(
                f"label: got no training sample of class {self.classes[empty[0]]!r}, expected "
                "some: change the split, or leave the class out"
            )
        return torch.from_numpy(codes)

    def _attributes(self, values: NDArray[Any], names: Sequence[Any]) -> Tensor:
        wrong = ~np.isin(values, (0, 1)).all(1)
        if wrong.any():
            raise ValueError(
                f"label: got {values.shape[1]} columns with values other than 0 and 1 in "
                f"{named(np.flatnonzero(wrong), self.samples)}, expected one column, or attributes"
            )
        self.attributes = tuple(map(str, names))  # type: ignore[misc]
        self.num_classes = len(self.attributes)  # type: ignore[misc]
        return torch.from_numpy(values.astype(np.int64))

    def _scaled(
        self, name: str, aligned: Aligned, train: NDArray[np.int64]
    ) -> Tensor | SparseRows:
        """A modality in the model's scale."""
        values = aligned.inputs[name]
        dense, real = not sparse.issparse(values), self.kinds[name] == "real"
        if self.standardize and name in self.standardize and not (dense and real):
            what = "real" if real else self.kinds[name]
            raise ValueError(
                f"standardize: got {name!r}, which is {what}{'' if dense else ' and sparse'}, "
                "expected real numbers, dense"
            )
        if not dense:
            return SparseRows.of(values)
        rows = values.ndim == 2 and real
        if not (rows if self.standardize is None else name in self.standardize):
            return torch.from_numpy(values).float()
        there = aligned.present[:, list(aligned.inputs).index(name)]
        if not self.restored:
            known = torch.from_numpy(values[train[there[train]]])
            unscaled = Scaling(torch.zeros(values.shape[1:]), torch.ones(values.shape[1:]))
            self.scalings[name] = unscaled if self.taught_later else _scaling(name, known)
        mean, std = self.scalings[name]
        scaled = (torch.from_numpy(values) - mean) / std  # in float64 where that came
        return torch.where(_like(there, scaled), scaled, 0.0).float()

    def _in_order(self, aligned: Aligned) -> dict[str, Any]:
        """The modalities with their columns as in training, where columns have names."""
        inputs = dict(aligned.inputs)
        for name, columns in aligned.columns.items():
            asked = self.columns.get(name, [])
            if not (columns and asked) or columns == asked:
                continue
            place = {column: at for at, column in enumerate(columns)}
            if missing := [column for column in asked if column not in place]:
                raise ValueError(
                    f"{name}: got no column {missing[0]!r}, which training had, expected all of "
                    f"its {len(asked)}"
                )
            inputs[name] = inputs[name][:, [place[column] for column in asked]]
        return inputs

    def _say(self, aligned: Aligned) -> None:
        for m, (name, kind) in enumerate(self.kinds.items()):
            there, size = int(aligned.present[:, m].sum()), len(aligned.present)
            scaled = ", standardised" if name in self.scalings else ""
            rank_zero_info(
                f"{name}: {there} of {size} samples have it, shape {self.shapes[name]}, "
                f"{kind}{scaled}; likelihood {KINDS[kind].likelihood.__name__}"
            )


def _scaling(name: str, known: Tensor) -> Scaling:
    """What to standardise by: mean and standard deviation of the training rows that are there."""
    if len(known) < 2:
        raise ValueError(
            f"{name}: got {len(known)} training rows to standardise by, expected at least 2"
        )
    std, mean = torch.std_mean(known, 0)
    rounding = 8 * torch.finfo(known.dtype).eps * mean.abs()
    constant = (std <= rounding).flatten().nonzero().squeeze(-1)
    if len(constant):
        raise ValueError(
            f"{name}: got constant columns in the training rows, the first of {len(constant)} at "
            f"{constant[0].item()}, expected none: leave them out, or {name!r} out of standardize"
        )
    return Scaling(mean, std)


def _like(flags: NDArray[np.bool_], x: Tensor) -> Tensor:
    """A flag a row, of a shape that broadcasts against the rows."""
    return torch.from_numpy(flags).reshape(-1, *[1] * (x.ndim - 1))
