"""Classifiers of single modalities, the judges of coherence: learned once, then kept."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from mmvae_bary.distributions import seeded

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mmvae_bary.batch import Batch


class ModalityClassifiers:
    """A classifier for each modality, frozen in evaluation mode once it is trained.

    Args:
        networks: Modality name to a module from ``(N, *shape)`` to class logits ``(N, C)``.
        max_epochs: Passes over the training set.
        batch_size: Samples in a batch.
        learning_rate: Of Adam.
        seed: Seed of the initial weights and of dropout.
    """

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        max_epochs: int = 10,
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        seed: int = 0,
    ) -> None:
        self.networks = nn.ModuleDict(dict(networks))
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.seed = seed
        self.accuracy: dict[str, float] = {}

    def path(self, cache: str, fingerprint: str) -> Path:
        """The file these classifiers are kept in: one for each data set, network and setting."""
        numbers = (self.max_epochs, self.batch_size, self.learning_rate, self.seed)
        recipe = f"{self.networks!r} {numbers}"
        digest = hashlib.sha256(recipe.encode()).hexdigest()[:12]
        return Path(cache) / "classifiers" / f"{fingerprint}-{digest}.pt"

    def load(self, path: Path, device: torch.device) -> bool:
        """Load weights and accuracies; false if the file does not exist."""
        if not path.exists():
            return False
        saved = torch.load(path, weights_only=True, map_location=device)
        self.networks.load_state_dict(saved["state_dict"])
        self.accuracy = saved["accuracy"]
        self._freeze(device)
        return True

    def fit(
        self,
        epochs: Iterable[Iterable[Batch]],
        test: Iterable[Batch],
        path: Path,
        device: torch.device,
    ) -> None:
        """Train all classifiers at once, measure them on the test set and save them.

        The result depends on the data and the seed alone, and the random streams of a run around
        it stay as they were. A plain loop, for it runs while a Trainer is setting up, where a
        second one cannot be started.
        """
        with torch.inference_mode(False), torch.enable_grad(), seeded(self.seed, device):
            self.networks.to(device).requires_grad_(True).train().apply(_reset)
            optimizer = torch.optim.Adam(self.networks.parameters(), self.learning_rate)
            for epoch in epochs:
                for batch in epoch:
                    optimizer.zero_grad()
                    _loss(self.networks, batch).backward()
                    optimizer.step()
        self._freeze(device)
        self.accuracy = self._measure(test)
        self._save(path)

    def _freeze(self, device: torch.device) -> None:
        self.networks.to(device).eval().requires_grad_(False)

    @torch.no_grad()
    def _measure(self, test: Iterable[Batch]) -> dict[str, float]:
        correct = dict.fromkeys(self.networks, 0)
        total = 0
        for batch in test:
            assert batch.label is not None
            for name, network in self.networks.items():
                correct[name] += int((network(batch.inputs[name]).argmax(-1) == batch.label).sum())
            total += len(batch)
        return {name: count / total for name, count in correct.items()}

    def _save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(f".{os.getpid()}.part")
        torch.save({"state_dict": self.networks.state_dict(), "accuracy": self.accuracy}, beside)
        beside.replace(path)  # so that a reader finds the whole file or none


def _loss(networks: nn.ModuleDict, batch: Batch) -> torch.Tensor:
    assert batch.label is not None
    losses = [
        cross_entropy(net(batch.inputs[name]), batch.label) for name, net in networks.items()
    ]
    return torch.stack(losses).sum()


def _reset(module: nn.Module) -> None:
    if callable(reset := getattr(module, "reset_parameters", None)):
        reset()
