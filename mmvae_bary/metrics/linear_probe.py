"""Linear probe: how well does a linear classifier read the class off a representation?"""

from __future__ import annotations

from abc import ABC
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import one_hot
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from mmvae_bary.barycenters.subsets import evaluated_subsets
from mmvae_bary.distributions import at_least_float32
from mmvae_bary.metrics.average_precision import average_precision, by_attribute, chance
from mmvae_bary.metrics.classifiers import is_right
from mmvae_bary.metrics.lbfgs import lbfgs

if TYPE_CHECKING:
    from collections.abc import Sequence


def logistic_regression(
    features: Tensor,
    label: Tensor,
    num_classes: int,
    inverse_penalty: float = 1.0,
    tolerance: float = 1e-4,
    max_iterations: int = 1000,
    there: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Fit K multinomial logistic regressions at once.

    .. math:: \min_{W, b} \; C \sum_n -\log p(y_n | x_n) + \tfrac12 \|W\|^2

    with :math:`p(y | x)` the softmax of :math:`W x + b`: the objective of scikit-learn's
    ``LogisticRegression`` with its defaults; of two classes as well, where scikit-learn has one
    column of weights, the difference of these two. A label of several attributes gets a binary
    regression each, with the sigmoid instead.

    Each representation has an L-BFGS of its own, and all of them take a step together, in the
    features' precision or float32.

    Args:
        features: Representations of shape ``(K, N, D)``.
        label: Class indices of shape ``(N,)``, or zeros and ones of shape ``(N, C)``.
        num_classes: Number of classes or attributes C.
        inverse_penalty: :math:`C` above.
        tolerance: The largest entry of the gradient, over N, at which a problem is solved;
            the default is scikit-learn's.
        max_iterations: Steps after which to stop all the same, with a warning.
        there: Booleans ``(K, N)``: which rows each regression is fitted on; all if None.

    Returns:
        Weights of shape ``(K, D, C)`` and intercepts of shape ``(K, 1, C)``, like the features.
    """
    if there is None:
        there = torch.ones_like(features[..., 0], dtype=torch.bool)
    features = torch.where(there.unsqueeze(-1), features, 0)
    problem = _Regressions(at_least_float32(features), label, there, num_classes, inverse_penalty)
    size = there.sum(1).clamp(min=1).reshape(-1, 1, 1)
    point = lbfgs(problem, problem.start, tolerance * size, max_iterations)
    solution = point.mT.to(features)  # (K, D + 1, C)
    return solution[:, :-1], solution[:, -1:]


class _Regressions:
    """Gradients of K regressions whose coefficients are ``(K, C, D + 1)``, bias last.

    Classes come before rows and features, an order in which products of such narrow matrices are
    several times as fast.
    """

    def __init__(
        self, x: Tensor, label: Tensor, there: Tensor, num_classes: int, inverse_penalty: float
    ) -> None:
        self.x = x
        self.there = None if there.all() else there.unsqueeze(1)  # (K, 1, N)
        self.several = label.ndim > 1
        target = label.T if self.several else one_hot(label.long(), num_classes).T
        self.target = target.to(x)  # (C, N)
        self.inverse_penalty = inverse_penalty
        self.start = x.new_zeros(len(x), num_classes, x.shape[-1] + 1)

    def logits(self, point: Tensor) -> Tensor:
        """Linear in the point: shape ``(K, C, N)``."""
        return torch.baddbmm(point[..., -1:], point[..., :-1], self.x.mT)

    @property
    def _penalty(self) -> float:
        # two columns, opposite to each other, have half the square of their difference
        return 2.0 if not self.several and len(self.target) == 2 else 1.0

    def slope(self, point: Tensor, logits: Tensor, direction: Tensor, along: Tensor) -> Tensor:
        """The derivative in a direction, along which logits change so: shape ``(K, 1, 1)``."""
        loss = (self._residual(logits) * along).sum((1, 2), keepdim=True)
        return loss + self._penalty * (point * direction)[..., :-1].sum((1, 2), keepdim=True)

    def gradient(self, point: Tensor, logits: Tensor) -> Tensor:
        """By the coefficients, of their shape."""
        residual = self._residual(logits)
        by_weight = torch.baddbmm(point[..., :-1], residual, self.x, beta=self._penalty)
        return torch.cat([by_weight, residual.sum(-1, keepdim=True)], -1)

    def _residual(self, logits: Tensor) -> Tensor:
        share = logits.sigmoid() if self.several else logits.softmax(1)
        residual = self.inverse_penalty * (share - self.target)
        return residual if self.there is None else residual * self.there


class Probe(Metric, ABC):
    """Logistic regressions on the representation of every subset of modalities.

    :meth:`fit` them on a few labelled rows, then update them with the test set.

    Args:
        modalities: The modalities' names, in the model's order.
        num_classes: Number of classes or attributes.
    """

    full_state_update = False
    higher_is_better = True

    weight: Tensor | None
    bias: Tensor | None
    fitted: Tensor | None

    def __init__(self, modalities: Sequence[str], num_classes: int) -> None:
        super().__init__()
        self.subsets = evaluated_subsets(modalities)
        self.num_classes = num_classes
        self.register_buffer("weight", None, persistent=False)
        self.register_buffer("bias", None, persistent=False)
        self.register_buffer("fitted", None, persistent=False)

    def fit(self, representations: Tensor, label: Tensor, there: Tensor | None = None) -> None:
        """Fit the probes.

        Args:
            representations: Shape ``(K, N, D)``, a row for each of the model's K subsets.
            label: Class indices of shape ``(N,)``, or attributes of shape ``(N, A)``.
            there: Booleans of shape ``(K, N)``: which samples have a subset whole, of which alone
                its probe is told; all if None.
        """
        if there is None:
            there = torch.ones_like(representations[..., 0], dtype=torch.bool)
        self.weight, self.bias = logistic_regression(
            representations, label, self.num_classes, there=there
        )
        self.fitted = there.any(1, keepdim=True)  # (K, 1)

    def judged(self, logits: Tensor, there: Tensor | None) -> Tensor:
        """Which samples a subset is judged by, ``(K, N)``: none where no row fitted its probe."""
        assert self.fitted is not None
        judged = self.fitted.expand(logits.shape[:2])
        return judged if there is None else judged & there

    def logits(self, representations: Tensor) -> Tensor:
        """What the probes say: shape ``(K, N, C)``.

        Raises:
            RuntimeError: If the probes were not fitted.
        """
        if self.weight is None or self.bias is None:
            raise RuntimeError("got update() before fit(), expected fit() first")
        return torch.baddbmm(self.bias, representations, self.weight)


class LinearProbe(Probe):
    """Accuracy of a logistic regression on the representation of every subset of modalities.

    :meth:`Probe.fit` the probes on a few labelled rows, then update them with the test set.

    Args:
        modalities: The modalities' names, in the model's order.
        num_classes: Number of classes.

    References:
        Sutter, Daunhawer and Vogt, ICLR 2021, section 4: 500 training rows.

    Example:
        >>> probe = LinearProbe(["a"], num_classes=2)
        >>> features, label = torch.tensor([[[-1.0], [1.0]]]), torch.tensor([0, 1])
        >>> probe.fit(features, label)
        >>> probe.update(features, label)
        >>> probe.compute()["probe/accuracy/a"]
        tensor(1.)
    """

    correct: Tensor
    total: Tensor

    def __init__(self, modalities: Sequence[str], num_classes: int) -> None:
        super().__init__(modalities, num_classes)
        for name in ("correct", "total"):
            zeros = torch.zeros(len(self.subsets), dtype=torch.long)
            self.add_state(name, zeros, dist_reduce_fx="sum")

    def update(self, representations: Tensor, label: Tensor, there: Tensor | None = None) -> None:
        """Judge a batch: arguments as in :meth:`Probe.fit`. What is not finite is wrong."""
        logits = self.logits(representations)
        right, there = is_right(logits, label), self.judged(logits, there)
        self.correct += (right & there).sum(-1)
        self.total += there.sum(-1)

    def compute(self) -> dict[str, Tensor]:
        """Accuracies from 0 to 1 by ``probe/accuracy/SUBSET``, and ``probe/accuracy/mean``.

        The mean is over subsets; those that no sample has whole are left out.
        """
        known = self.total > 0
        accuracy = self.correct / self.total
        result = {
            f"probe/accuracy/{'+'.join(subset)}": accuracy[row]
            for row, subset in enumerate(self.subsets)
            if known[row]
        }
        return {**result, "probe/accuracy/mean": accuracy[known].mean()}


class AttributeProbe(Probe):
    """Average precision of binary logistic regressions, one for each subset and attribute.

    :meth:`Probe.fit` the probes on a few labelled rows, then update them with the test set.

    Args:
        modalities: The modalities' names, in the model's order.
        attributes: The attributes' names.

    References:
        Sutter, Daunhawer and Vogt, ICLR 2021, appendix C; but on scores and over the whole set.
    """

    scores: list[Tensor]
    label: list[Tensor]
    there: list[Tensor]

    def __init__(self, modalities: Sequence[str], attributes: Sequence[str]) -> None:
        super().__init__(modalities, len(attributes))
        self.attributes = tuple(attributes)
        self.add_state("scores", [], dist_reduce_fx="cat")
        self.add_state("label", [], dist_reduce_fx="cat")
        self.add_state("there", [], dist_reduce_fx="cat")

    def update(self, representations: Tensor, label: Tensor, there: Tensor | None = None) -> None:
        """Judge a batch: arguments as in :meth:`Probe.fit`."""
        logits = self.logits(representations)
        self.scores.append(logits.transpose(0, 1))
        self.label.append(label)
        self.there.append(self.judged(logits, there).T)

    def compute(self) -> dict[str, Tensor]:
        """Average precisions from 0 to 1 by ``probe/average_precision/SUBSET``, with their mean.

        Each is the mean over the attributes, which follow by ``SUBSET/ATTRIBUTE``, those left out
        that no sample has. What random scores reach is ``probe/chance``, the mean over
        ``probe/chance/ATTRIBUTE``, which is the share of samples that have it. A subset is judged
        by the samples that have it whole, and left out where there are none.
        """
        label, there = dim_zero_cat(self.label), dim_zero_cat(self.there).T
        result: dict[str, Tensor] = {}
        means = []
        columns = dim_zero_cat(self.scores).unbind(1)
        for subset, scores, rows in zip(self.subsets, columns, there, strict=True):
            if rows.any():
                key = f"probe/average_precision/{'+'.join(subset)}"
                precision = average_precision(scores[rows], label[rows])
                result.update(by_attribute(key, self.attributes, precision))
                means.append(result[key])
        return {
            **result,
            **by_attribute("probe/chance", self.attributes, chance(label)),
            "probe/average_precision/mean": torch.stack(means).mean(),
        }
