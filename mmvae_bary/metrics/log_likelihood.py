"""Test log-likelihoods given every subset of modalities."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torchmetrics import Metric

from mmvae_bary.barycenters.subsets import evaluated_subsets
from mmvae_bary.estimators import Estimate, importance_weighted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class LogLikelihood(Metric):
    """Mean importance-sampled log-likelihoods with the posterior of every subset as proposal.

    Args:
        modalities: The modalities' names, in the model's order.
        estimator: From log weights ``(S, ..., B)`` to estimates ``(..., B)``:
            :func:`~mmvae_bary.estimators.importance_weighted` or, to compare with published
            tables, :func:`~mmvae_bary.estimators.grouped_across_items`.
        prefix: What the keys begin with.

    References:
        Sutter, Daunhawer and Vogt, ICLR 2021, section 4; but each item by itself.

    Example:
        >>> metric = LogLikelihood(["a"])
        >>> metric.update(torch.tensor([-1.0, -3.0]).expand(12, 1, 2, 2))  # 12 samples of 2 items
        >>> metric.compute()["log_likelihood/a"], metric.compute()["log_likelihood/a->a"]
        (tensor(-2.), tensor(-2.))
        >>> metric.compute()["log_likelihood/a/standard_error"]
        tensor(1.)
    """

    full_state_update = False
    higher_is_better = True

    moments: Tensor

    def __init__(
        self,
        modalities: Sequence[str],
        estimator: Callable[[Tensor], Estimate] = importance_weighted,
        prefix: str = "log_likelihood",
    ) -> None:
        super().__init__()
        self.subsets = evaluated_subsets(modalities)
        self.targets = ("", *(f"->{name}" for name in modalities))
        self.estimator = estimator
        self.prefix = prefix
        # sums of squares would lose the spread of large figures in float32
        zeros = torch.zeros(3, 2, len(self.subsets) + 1, len(self.targets))
        self.add_state("moments", zeros, dist_reduce_fx=merge_moments)

    def update(self, log_weights: Tensor, there: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            log_weights: Shape ``(S, K, 1 + M, B)``, as a model's ``log_weights`` returns them.
            there: Booleans of shape ``(K, 1 + M, B)``: which figures an item has; all if None. The
                means over subsets are of the items that have all.
        """
        estimate = self.estimator(log_weights)
        figures = torch.stack([estimate.value, estimate.effective_sample_size])
        figures = torch.cat([figures, figures.mean(1, keepdim=True)], 1)  # over subsets
        if there is not None:
            there = torch.cat([there, there.all(0, keepdim=True)])
        added = moments(figures, there).to(self.moments)
        self.moments = merge_moments(torch.stack([self.moments, added]))

    def compute(self) -> dict[str, Tensor]:
        """Means over items, in nats.

        ``log_likelihood/SUBSET`` of all modalities jointly and ``log_likelihood/SUBSET->MODALITY``
        of one, with z drawn given the subset, and ``log_likelihood/mean`` and
        ``log_likelihood/mean->MODALITY``, their means over subsets; below each its
        ``standard_error``, from the spread over items, where there are two or more, and its
        ``effective_sample_size``, a mean over items. What no item has is left out.
        """
        count, (value, size), (squares, _) = self.moments
        error = (squares / (count[0] - 1) / count[0]).sqrt()
        result = {}
        for row, subset in enumerate([*self.subsets, ("mean",)]):
            for column, target in enumerate(self.targets):
                if not count[0, row, column]:
                    continue
                key = f"{self.prefix}/{'+'.join(subset)}{target}"
                result[key] = value[row, column]
                if count[0, row, column] > 1:
                    result[f"{key}/standard_error"] = error[row, column]
                result[f"{key}/effective_sample_size"] = size[row, column]
        return result


def moments(values: Tensor, there: Tensor | None = None) -> Tensor:
    """Count, mean and sum of squared deviations over the last dimension, of shape (3, ...).

    Args:
        values: Shape ``(..., B)``.
        there: Booleans that broadcast against them: which of them count; all if None.

    Example:
        >>> moments(torch.tensor([1.0, 3.0]))
        tensor([2., 2., 2.])
    """
    if there is None:
        there = torch.ones_like(values, dtype=torch.bool)
    there = there.expand_as(values)
    count = there.sum(-1).to(values)
    mean = torch.where(there, values, 0).sum(-1) / count.clamp(min=1)
    squares = torch.where(there, values - mean.unsqueeze(-1), 0).square().sum(-1)
    return torch.stack([count, mean, squares])


def merge_moments(parts: Tensor) -> Tensor:
    r"""The :func:`moments` of all values from those of N parts.

    .. math:: n = \sum_i n_i, \qquad \mu = \sum_i \frac{n_i}{n} \mu_i, \qquad
        m = \sum_i m_i + n_i (\mu_i - \mu)^2

    Args:
        parts: Shape ``(N, 3, ...)``; parts may be empty.

    Returns:
        Shape ``(3, ...)``.

    References:
        Chan, Golub and LeVeque, Updating Formulae and a Pairwise Algorithm for Computing Sample
        Variances, 1979.

    Example:
        >>> merge_moments(torch.stack([moments(torch.zeros(2)), moments(torch.ones(2))]))
        tensor([4.0000, 0.5000, 1.0000])
    """
    count, mean, squares = parts.unbind(1)
    total = count.sum(0)
    center = (count / total.clamp(min=1) * mean).sum(0)
    return torch.stack([total, center, (squares + count * (mean - center).square()).sum(0)])
