"""Classifiers of single modalities, the judges of coherence: learned once, then kept."""

from __future__ import annotations

import hashlib
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from mmvae_bary.checks import UNREADABLE, check_at_least
from mmvae_bary.distributions import seeded
from mmvae_bary.metrics.average_precision import average_precision
from mmvae_bary.modality import output_shape
from mmvae_bary.writing import save_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mmvae_bary.batch import Batch


VERSION = 3  # to be raised whenever the same settings train another classifier than before


class ModalityClassifiers:
    """A classifier for each modality, frozen in evaluation mode once it is trained.

    Args:
        networks: Modality name to a module from ``(N, *shape)`` to the logits of classes or of
            binary attributes, ``(N, C)``.
        max_steps: Training steps.
        batch_size: Samples in a batch.
        learning_rate: Of Adam, at the start; it falls to zero as a cosine.
        seed: Seed of the initial weights and of dropout.

    Raises:
        ValueError: If a number is too small.
    """

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        max_steps: int = 1000,
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        seed: int = 0,
    ) -> None:
        check_at_least(1, max_steps=max_steps, batch_size=batch_size)
        check_at_least(0, learning_rate=learning_rate, seed=seed)
        self.networks = nn.ModuleDict(dict(networks))
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.seed = seed
        self.score: dict[str, float] = {}
        """Modality name to the test accuracy or, of attributes, the mean average precision."""
        self.measured_on = ""

    @property
    def notes(self) -> list[str]:
        """What networks say of themselves that differs from published ones, for reports."""
        said = {name: getattr(network, "note", "") for name, network in self.networks.items()}
        return [f"classifier of {name}: {note}" for name, note in said.items() if note]

    def path(self, cache: str, fingerprint: str, *, bfloat16: bool = False) -> Path:
        """The file these classifiers are kept in: one for each training set and recipe.

        Args:
            cache: Folder for what is learned from the data.
            fingerprint: A file name's worth of what determines the training set.
            bfloat16: As in :meth:`fit`.
        """
        numbers = (self.max_steps, self.batch_size, self.learning_rate, self.seed, bfloat16)
        recipe = f"{self.networks!r} {numbers} v{VERSION}"
        digest = hashlib.sha256(recipe.encode()).hexdigest()[:12]
        return Path(cache) / "classifiers" / f"{fingerprint}-{digest}.pt"

    def load(self, path: Path, device: torch.device) -> bool:
        """Load weights and scores; false if the file does not exist.

        Raises:
            ValueError: If it is damaged, or holds code.
        """
        if not path.exists():
            return False
        try:
            saved = torch.load(path, weights_only=True, map_location=device)
            self.networks.load_state_dict(saved["state_dict"])
            self.score, self.measured_on = saved["score"], saved["measured_on"]
        except UNREADABLE:
            raise ValueError(
                f"{path}: got a file that is damaged or holds code, expected the classifiers that "
                "were kept there; delete it to train them anew"
            ) from None
        self._freeze(device)
        return True

    def check(self, like: Batch, num_classes: int | None) -> None:
        """Run each network once on zeros, before time is spent.

        Args:
            like: Data of the shapes that they are to judge.
            num_classes: Number C of classes or of binary attributes; None if it is not known.

        Raises:
            ValueError: Naming the modality, the shape that came and the one expected.
        """
        for name, network in self.networks.items():
            who = f"the classifier of {name!r}"
            shape = output_shape(who, network, (2, *like.inputs[name].shape[1:]))
            width = shape[-1] if num_classes is None else num_classes
            if shape != (2, width):
                raise ValueError(
                    f"{who} returned shape {shape} for a batch of 2, expected {(2, width)}: "
                    "logits of all classes, or attributes"
                )

    def fit(self, train: Iterable[Batch], device: torch.device, *, bfloat16: bool = False) -> None:
        """Train all classifiers at once.

        The result depends on the data, the seed and the precision alone, and the random streams
        of a run around it stay as they were. A plain loop, for it runs while a Trainer is setting
        up, where a second one cannot be started.

        Args:
            train: Batches without an end, of which ``max_steps`` are taken.
            device: Where to train.
            bfloat16: Train in mixed precision; they judge in full precision all the same.
        """
        from rich.progress import track

        with torch.inference_mode(False), torch.enable_grad(), seeded(self.seed, device):
            self.networks.to(device).requires_grad_(True).train().apply(_reset)
            optimizer = torch.optim.Adam(self.networks.parameters(), self.learning_rate)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.max_steps)
            batches = islice(train, self.max_steps)
            for batch in track(batches, "Training classifiers", total=self.max_steps):
                optimizer.zero_grad()
                with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
                    loss = self._loss(batch)
                loss.backward()
                optimizer.step()
                schedule.step()
        self._freeze(device)

    def measure(self, test: Iterable[Batch], fingerprint: str) -> None:
        """Measure the classifiers on a test set.

        Args:
            test: Batches to measure on.
            fingerprint: What determines the test set, kept as ``measured_on``.
        """
        self.score, self.measured_on = self._scores(test), fingerprint

    def save(self, path: Path) -> None:
        """Keep weights and scores, so that a reader finds the whole file or none."""
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {"score": self.score, "measured_on": self.measured_on}
        save_whole(path, {"state_dict": self.networks.state_dict(), **content})

    def _freeze(self, device: torch.device) -> None:
        self.networks.to(device).eval().requires_grad_(False)

    def _loss(self, batch: Batch) -> Tensor:
        losses = []
        for name, network in self.networks.items():
            x, label = _labelled(batch, name)
            if len(x) < 2:  # too few for batch normalisation
                continue
            logits = network(x)
            losses.append(
                cross_entropy(logits, label)
                if label.ndim == 1
                else binary_cross_entropy_with_logits(logits, label.to(logits))
            )
        return torch.stack(losses).sum()

    @torch.no_grad()
    def _scores(self, test: Iterable[Batch]) -> dict[str, float]:
        logits: dict[str, list[Tensor]] = {name: [] for name in self.networks}
        labels: dict[str, list[Tensor]] = {name: [] for name in self.networks}
        for batch in test:
            for name, network in self.networks.items():
                x, label = _labelled(batch, name)
                logits[name].append(network(x))
                labels[name].append(label)
        return {name: _score(torch.cat(x), torch.cat(labels[name])) for name, x in logits.items()}


def _labelled(batch: Batch, name: str) -> tuple[Tensor, Tensor]:
    """The samples of a modality that are there, and their labels."""
    if batch.label is None:
        raise ValueError("classifiers: got data without labels, expected a label for each sample")
    if batch.present is None:
        return batch.inputs[name], batch.label
    there = batch.present[:, list(batch.inputs).index(name)]
    return batch.inputs[name][there], batch.label[there]


def is_right(logits: Tensor, label: Tensor) -> Tensor:
    """Whether the likeliest class is the true one; never where a logit is not finite.

    Args:
        logits: Shape ``(..., N, C)``.
        label: Class indices of shape ``(N,)``.

    Returns:
        Booleans of shape ``(..., N)``.

    Example:
        >>> is_right(torch.tensor([[2.0, 1.0], [torch.nan, 1.0]]), torch.tensor([0, 0]))
        tensor([ True, False])
    """
    return (logits.argmax(-1) == label) & logits.isfinite().all(-1)


def _score(logits: Tensor, label: Tensor) -> float:
    if label.ndim == 1:
        return is_right(logits, label).float().mean().item()
    return average_precision(logits, label).nanmean().item()


def _reset(module: nn.Module) -> None:
    if callable(reset := getattr(module, "reset_parameters", None)):
        reset()
