"""Average precision of scores for binary attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torchmetrics.functional.classification import binary_average_precision

from mmvae_bary.distributions import at_least_float32

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor


def average_precision(logits: Tensor, label: Tensor) -> Tensor:
    """Average precision of each attribute, on scores and over all samples.

    Args:
        logits: Scores of shape ``(N, A)``; only their order counts, in which NaN comes last.
        label: Zeros and ones of shape ``(N, A)``.

    Returns:
        Shape ``(A,)``, NaN for an attribute that no sample has.

    Example:
        >>> logits = torch.tensor([[3.0, 0.0], [2.0, 0.0], [1.0, 0.0]])
        >>> average_precision(logits, torch.tensor([[1, 0], [0, 0], [1, 0]]))
        tensor([0.8333,    nan])
    """
    result = at_least_float32(logits).new_full(logits.shape[1:], torch.nan)
    for place in label.any(0).nonzero().flatten():
        known = logits[:, place].nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
        # scores outside [0, 1] would be squeezed by a sigmoid, which makes ties
        rank = known.unique(return_inverse=True)[1] / len(known)
        result[place] = binary_average_precision(rank, label[:, place].long())
    return result


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
