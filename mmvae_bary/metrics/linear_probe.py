"""Linear probe: how well does a linear classifier read the class off a representation?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchmetrics import Metric

from mmvae_bary.barycenters.subsets import powerset

if TYPE_CHECKING:
    from collections.abc import Sequence


def logistic_regression(
    features: Tensor, label: Tensor, num_classes: int, inverse_penalty: float = 1.0
) -> tuple[Tensor, Tensor]:
    r"""Fit K multinomial logistic regressions at once, by L-BFGS in float64.

    .. math:: \min_{W, b} \; C \sum_n -\log p(y_n | x_n) + \tfrac12 \|W\|^2

    with :math:`p(y | x)` the softmax of :math:`W x + b`: the objective of scikit-learn's
    ``LogisticRegression`` with its defaults, which this equals to the solver's tolerance.

    Args:
        features: Representations of shape ``(K, N, D)``.
        label: Class indices of shape ``(N,)``.
        num_classes: Number of classes C.
        inverse_penalty: :math:`C` above.

    Returns:
        Weights of shape ``(K, D, C)`` and intercepts of shape ``(K, 1, C)``, like the features.
    """
    num_problems, _, width = features.shape
    given = features
    # Apple's devices have no float64
    features = features.cpu().double() if features.is_mps else features.double()
    with torch.inference_mode(False), torch.enable_grad():
        features = features.clone()  # what inference mode made cannot enter a graph
        weight = features.new_zeros(num_problems, width, num_classes).requires_grad_()
        bias = features.new_zeros(num_problems, 1, num_classes).requires_grad_()
        target = label.to(features.device, copy=True).expand(num_problems, -1).flatten()
        solver = torch.optim.LBFGS(
            [weight, bias],
            max_iter=1000,
            tolerance_grad=1e-5,
            tolerance_change=1e-12,
            line_search_fn="strong_wolfe",
        )

        def closure() -> Tensor:
            solver.zero_grad()
            logits = torch.baddbmm(bias, features, weight).flatten(0, 1)
            loss: Tensor = inverse_penalty * cross_entropy(logits, target, reduction="sum")
            loss = loss + weight.square().sum() / 2
            loss.backward()
            return loss.detach()

        solver.step(closure)
    return weight.detach().to(given), bias.detach().to(given)


class LinearProbe(Metric):
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

    full_state_update = False
    higher_is_better = True

    correct: Tensor
    total: Tensor
    weight: Tensor | None
    bias: Tensor | None

    def __init__(self, modalities: Sequence[str], num_classes: int) -> None:
        super().__init__()
        self.modalities = tuple(modalities)
        self.num_classes = num_classes
        self.register_buffer("weight", None, persistent=False)
        self.register_buffer("bias", None, persistent=False)
        num_subsets = len(powerset(self.modalities))
        self.add_state("correct", torch.zeros(num_subsets, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("total", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def fit(self, representations: Tensor, label: Tensor) -> None:
        """Fit one probe for each subset.

        Args:
            representations: Shape ``(K, N, D)``, in the order of the powerset.
            label: Class indices of shape ``(N,)``.
        """
        self.weight, self.bias = logistic_regression(representations, label, self.num_classes)

    def update(self, representations: Tensor, label: Tensor) -> None:
        """Judge a batch: arguments as in :meth:`fit`.

        Raises:
            RuntimeError: If the probes were not fitted.
        """
        if self.weight is None or self.bias is None:
            raise RuntimeError("got update() before fit(), expected fit() first")
        logits = torch.baddbmm(self.bias, representations, self.weight)
        self.correct += (logits.argmax(-1) == label).sum(-1)
        self.total += len(label)

    def compute(self) -> dict[str, Tensor]:
        """Accuracies from 0 to 1 by ``probe/accuracy/SUBSET``, and ``probe/accuracy/mean``."""
        accuracy = self.correct / self.total
        result = {
            f"probe/accuracy/{'+'.join(subset)}": accuracy[row]
            for row, subset in enumerate(powerset(self.modalities))
        }
        return {**result, "probe/accuracy/mean": accuracy.mean()}
