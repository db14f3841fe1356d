"""Modalities that training is to do without, to study what is lost with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmvae_bary.batch import Batch

if TYPE_CHECKING:
    from mmvae_bary.data.base import TupleDataset

Missing = float | Mapping[str, Sequence[int]]


@dataclass(frozen=True, eq=False)
class Masked:
    """Tuples some of whose modalities count as missing, beside those that they lack.

    Args:
        dataset: The tuples.
        present: Booleans of shape ``(N, M)``, in the order of their modalities.
    """

    dataset: TupleDataset
    present: Tensor

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: Tensor) -> Batch:
        batch, kept = self.dataset[index], self.present[index]
        if batch.present is not None:  # what would lose all that it has keeps it
            some = kept & batch.present
            kept = torch.where(some.any(-1, keepdim=True), some, batch.present)
        return Batch(batch.inputs, kept, batch.label)

    @property
    def label(self) -> Tensor | None:
        """All labels."""
        return self.dataset.label

    def to(self, device: torch.device) -> Masked:
        """The same tuples on another device."""
        return Masked(self.dataset.to(device), self.present.to(device))


def check_missing(missing: Missing) -> None:
    """Refuse a share that leaves nothing.

    Raises:
        ValueError: If it is a number outside [0, 1).
    """
    if not isinstance(missing, Mapping) and not 0 <= missing < 1:
        raise ValueError(f"got missing={missing}, expected a share from 0 to below 1")


def draw_presence(
    missing: Missing, names: Sequence[str], size: int, label: Tensor | None, seed: int
) -> Tensor:
    """Which modalities each tuple keeps: booleans of shape ``(N, M)``, a function of the seed.

    Args:
        missing: The chance of each modality of each tuple to be missing, completely at random,
            where a tuple that would lose all keeps one of them; or name of a modality to the
            classes whose tuples lack it.
        names: The modalities.
        size: Number N of tuples.
        label: Their classes, of shape ``(N,)``, by which they lack modalities.
        seed: Seed of the draws.

    Raises:
        ValueError: If a modality is unknown, labels are no classes, or a class lacks everything.
    """
    if not isinstance(missing, Mapping):
        generator = torch.Generator().manual_seed(seed)
        kept = torch.rand(size, len(names), generator=generator) >= missing
        spared = torch.randint(len(names), (size,), generator=generator)
        kept[torch.arange(size), spared] |= ~kept.any(1)
        return kept
    if unknown := [name for name in missing if name not in names]:
        raise ValueError(f"missing: got {unknown}, expected some of {list(names)}")
    if label is None or label.ndim > 1:
        raise ValueError(
            "missing by class: got data without classes, expected a share from 0 to 1"
        )
    classes = [torch.tensor(list(missing.get(name, ())), dtype=torch.long) for name in names]
    kept = torch.stack([~torch.isin(label.cpu(), lacking) for lacking in classes], 1)
    if not (some := kept.any(1)).all():
        number = label[~some.to(label.device)][0].item()
        raise ValueError(
            f"missing: got every modality for class {number}, expected one to be left to each"
        )
    return kept
