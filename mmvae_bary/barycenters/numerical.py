"""Barycenters under any divergence, found by Newton's method (Eq. 4 of the paper)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from mmvae_bary.barycenters.base import Barycenter, normalized
from mmvae_bary.barycenters.implicit import check_limits
from mmvae_bary.barycenters.kl import geometric_mean, moment_match
from mmvae_bary.barycenters.newton import minimise
from mmvae_bary.barycenters.wasserstein import average
from mmvae_bary.distributions import as_double, map_parameters, unsqueeze_last

if TYPE_CHECKING:
    from torch import Tensor

    from mmvae_bary.barycenters.base import Divergence
    from mmvae_bary.distributions import Gaussian


class NumericalBarycenter(Barycenter):
    r"""The Gaussian that minimises any divergence from the experts (Eq. 4 of the paper).

    .. math:: \tilde q = \arg\min_q \sum_m \lambda_m \, d(q_m, q)

    One function of two distributions is all it takes. The problems of a batch are solved at once,
    in float64, by Newton's method from the best of three closed forms. Gradients are implicit, of
    experts, weights and the divergence's own parameters alike, in the memory of one more
    evaluation, and can be differentiated once. Weights are scaled to sum to one. Where the
    divergence has several minima, it is the one that this start leads to. Full covariances of
    which one is narrower than another by a factor of 1e4 or more may take more iterations than
    there are; a warning then says how far the last step went.

    Args:
        divergence: From an expert and a Gaussian of its kind, diagonal or full, to a tensor of
            their broadcast batch shape, twice differentiable, smallest where they agree.
        tolerance: The largest step, in standard deviations, at which Newton's method stops.
        max_iterations: Steps after which it stops all the same, with a warning.

    Raises:
        ValueError: If the tolerance is not above zero or ``max_iterations`` below one.

    Example:
        >>> import torch
        >>> from mmvae_bary.distributions import diagonal_gaussian
        >>> from mmvae_bary.divergences import wasserstein
        >>> experts = diagonal_gaussian(torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [3.0]]))
        >>> NumericalBarycenter(wasserstein)(experts).stddev
        tensor([2.])
    """

    def __init__(
        self, divergence: Divergence, tolerance: float = 1e-7, max_iterations: int = 50
    ) -> None:
        super().__init__()
        check_limits(tolerance, max_iterations)
        self.divergence = divergence  # type: ignore[misc]
        self.tolerance = tolerance
        self.max_iterations = max_iterations

    def extra_repr(self) -> str:
        if isinstance(self.divergence, nn.Module):  # which is told of as a part
            return ""
        return getattr(self.divergence, "__name__", type(self.divergence).__name__)

    def objective(self, experts: Gaussian, weights: Tensor, q: Gaussian) -> Tensor:
        """What is minimised, up to an increasing function.

        Args:
            experts: Gaussians of batch shape ``(..., M)``.
            weights: Shape ``(..., M)``, sum to one.
            q: A Gaussian of batch shape ``(...)``.
        """
        return (weights * self.divergence(experts, unsqueeze_last(q))).sum(-1)

    def fuse(self, experts: Gaussian, weights: Tensor) -> Gaussian:
        followed = torch.is_grad_enabled()
        # Newton's method needs gradients also where none are asked for
        with torch.inference_mode(False), torch.set_grad_enabled(followed):
            return self._fuse(experts, weights)

    def _fuse(self, experts: Gaussian, weights: Tensor) -> Gaussian:
        weights, wide = _tracked(normalized(weights)), map_parameters(_tracked, experts)

        def objective(q: Gaussian) -> Tensor:
            return self.objective(wide, weights, q)

        forms = (average, geometric_mean, moment_match)
        starts = [form(wide, weights) for form in forms]
        posterior = minimise(objective, starts, self.tolerance, self.max_iterations)
        return map_parameters(lambda t: t.to(experts.mean), posterior)


def _tracked(tensor: Tensor) -> Tensor:
    """The tensor in float64, and a copy of what inference mode made, which no graph can hold."""
    return as_double(tensor.clone() if tensor.is_inference() else tensor)
