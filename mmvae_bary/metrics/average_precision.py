"""Average precision of scores for binary attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torchmetrics.functional.classification import binary_average_precision

from mmvae_bary.distributions import as_double

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor


def average_precision(logits: Tensor, label: Tensor) -> Tensor:
    """Average precision of each attribute, on scores and over all samples.

    Args:
        logits: Scores of shape ``(N, A)``; only their order counts.
        label: Zeros and ones of shape ``(N, A)``.

    Returns:
        Shape ``(A,)``, NaN for an attribute that no sample has.

    Example:
        >>> logits = torch.tensor([[3.0, 0.0], [2.0, 0.0], [1.0, 0.0]])
        >>> average_precision(logits, torch.tensor([[1, 0], [0, 0], [1, 0]]))
        tensor([0.8333,    nan])
    """
    scores = as_double(logits)
    result = scores.new_full(scores.shape[1:], torch.nan)
    if len(scores):
        scores = (scores - scores.amax(0)).sigmoid()  # below one half, where no two become one
    present = label.any(0)
    for place in present.nonzero().flatten():
        result[place] = binary_average_precision(scores[:, place], label[:, place].long())
    return result.to(logits)


def chance(label: Tensor) -> Tensor:
    """The share of samples that have each attribute, which is what random scores reach.

    Args:
        label: Zeros and ones of shape ``(N, A)``.

    Returns:
        Shape ``(A,)``, NaN for an attribute that no sample has.
    """
    share = label.float().mean(0)
    return torch.where(share > 0, share, torch.nan)


def by_attribute(key: str, attributes: Sequence[str], values: Tensor) -> Mapping[str, Tensor]:
    """The mean over attributes by ``key``, and each by ``key/ATTRIBUTE``, NaN left out."""
    known = dict(zip(attributes, values.unbind(), strict=True))
    present = {name: value for name, value in known.items() if not value.isnan()}
    return {key: values.nanmean()} | {f"{key}/{name}": x for name, x in present.items()}
