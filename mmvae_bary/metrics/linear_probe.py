"""Linear probe: how well does a linear classifier read the class off a representation?"""

from __future__ import annotations

from abc import ABC
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from mmvae_bary.barycenters.subsets import powerset
from mmvae_bary.distributions import as_double
from mmvae_bary.metrics.average_precision import average_precision, by_attribute, chance

if TYPE_CHECKING:
    from collections.abc import Sequence


def logistic_regression(
    features: Tensor, label: Tensor, num_classes: int, inverse_penalty: float = 1.0
) -> tuple[Tensor, Tensor]:
    r"""Fit K multinomial logistic regressions at once, by L-BFGS in float64.

    .. math:: \min_{W, b} \; C \sum_n -\log p(y_n | x_n) + \tfrac12 \|W\|^2

    with :math:`p(y | x)` the softmax of :math:`W x + b`: the objective of scikit-learn's
    ``LogisticRegression`` with its defaults, which this equals to the solver's tolerance. A label
    of several attributes gets a binary regression each, with the sigmoid instead.

    Args:
        features: Representations of shape ``(K, N, D)``.
        label: Class indices of shape ``(N,)``, or zeros and ones of shape ``(N, C)``.
        num_classes: Number of classes or attributes C.
        inverse_penalty: :math:`C` above.

    Returns:
        Weights of shape ``(K, D, C)`` and intercepts of shape ``(K, 1, C)``, like the features.
    """
    num_problems, _, width = features.shape
    given, features = features, as_double(features)
    with torch.inference_mode(False), torch.enable_grad():
        features = features.clone()  # what inference mode made cannot enter a graph
        weight = features.new_zeros(num_problems, width, num_classes).requires_grad_()
        bias = features.new_zeros(num_problems, 1, num_classes).requires_grad_()
        target = label.to(features.device, copy=True).expand(num_problems, *label.shape)
        solver = torch.optim.LBFGS(
            [weight, bias],
            max_iter=1000,
            tolerance_grad=1e-5,
            tolerance_change=1e-12,
            line_search_fn="strong_wolfe",
        )

        def closure() -> Tensor:
            solver.zero_grad()
            logits = torch.baddbmm(bias, features, weight)
            loss = inverse_penalty * _negative_log_likelihood(logits, target)
            loss = loss + weight.square().sum() / 2
            loss.backward()
            return loss.detach()

        solver.step(closure)
    return weight.detach().to(given), bias.detach().to(given)


def _negative_log_likelihood(logits: Tensor, target: Tensor) -> Tensor:
    """Summed over logits of shape (K, N, C): of classes (K, N) or of attributes (K, N, C)."""
    if target.ndim == logits.ndim:
        return binary_cross_entropy_with_logits(logits, target.to(logits), reduction="sum")
    return cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="sum")


class Probe(Metric, ABC):
    """Logistic regressions on the representation of every subset of modalities.

    :meth:`fit` them on a few labelled rows, then :meth:`update` with the test set.

    Args:
        modalities: The modalities' names, in the model's order.
        num_classes: Number of classes or attributes.
    """

    full_state_update = False
    higher_is_better = True

    weight: Tensor | None
    bias: Tensor | None

    def __init__(self, modalities: Sequence[str], num_classes: int) -> None:
        super().__init__()
        self.subsets = powerset(modalities)
        self.num_classes = num_classes
        self.register_buffer("weight", None, persistent=False)
        self.register_buffer("bias", None, persistent=False)

    def fit(self, representations: Tensor, label: Tensor) -> None:
        """Fit the probes.

        Args:
            representations: Shape ``(K, N, D)``, a row for each of the K subsets of the powerset.
            label: Class indices of shape ``(N,)``, or attributes of shape ``(N, A)``.
        """
        self.weight, self.bias = logistic_regression(representations, label, self.num_classes)

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

    :meth:`fit` the probes on a few labelled rows, then :meth:`update` with the test set.

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
        zeros = torch.zeros(len(self.subsets), dtype=torch.long)
        self.add_state("correct", zeros, dist_reduce_fx="sum")
        self.add_state("total", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, representations: Tensor, label: Tensor) -> None:
        """Judge a batch: arguments as in :meth:`fit`."""
        self.correct += (self.logits(representations).argmax(-1) == label).sum(-1)
        self.total += len(label)

    def compute(self) -> dict[str, Tensor]:
        """Accuracies from 0 to 1 by ``probe/accuracy/SUBSET``, and ``probe/accuracy/mean``."""
        accuracy = self.correct / self.total
        result = {
            f"probe/accuracy/{'+'.join(subset)}": accuracy[row]
            for row, subset in enumerate(self.subsets)
        }
        return {**result, "probe/accuracy/mean": accuracy.mean()}


class AttributeProbe(Probe):
    """Average precision of binary logistic regressions, one for each subset and attribute.

    :meth:`fit` the probes on a few labelled rows, then :meth:`update` with the test set.

    Args:
        modalities: The modalities' names, in the model's order.
        attributes: The attributes' names.

    References:
        Sutter, Daunhawer and Vogt, ICLR 2021, appendix C; but on scores and over the whole set.
    """

    scores: list[Tensor]
    label: list[Tensor]

    def __init__(self, modalities: Sequence[str], attributes: Sequence[str]) -> None:
        super().__init__(modalities, len(attributes))
        self.attributes = tuple(attributes)
        self.add_state("scores", [], dist_reduce_fx="cat")
        self.add_state("label", [], dist_reduce_fx="cat")

    def update(self, representations: Tensor, label: Tensor) -> None:
        """Judge a batch: arguments as in :meth:`fit`."""
        self.scores.append(self.logits(representations).transpose(0, 1))
        self.label.append(label)

    def compute(self) -> dict[str, Tensor]:
        """Average precisions from 0 to 1 by ``probe/average_precision/SUBSET``, with their mean.

        Each is the mean over the attributes, which follow by ``SUBSET/ATTRIBUTE``, those left out
        that no sample has. What random scores reach is ``probe/chance``, the mean over
        ``probe/chance/ATTRIBUTE``, which is the share of samples that have it.
        """
        label = dim_zero_cat(self.label)
        result: dict[str, Tensor] = {}
        means = []
        for subset, scores in zip(self.subsets, dim_zero_cat(self.scores).unbind(1), strict=True):
            key = f"probe/average_precision/{'+'.join(subset)}"
            result.update(by_attribute(key, self.attributes, average_precision(scores, label)))
            means.append(result[key])
        return {
            **result,
            **by_attribute("probe/chance", self.attributes, chance(label)),
            "probe/average_precision/mean": torch.stack(means).mean(),
        }
