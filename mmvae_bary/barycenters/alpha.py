"""Barycenters under alpha divergences, between the two Kullback-Leibler divergences."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch

from mmvae_bary import divergences
from mmvae_bary.barycenters.base import Barycenter, normalized
from mmvae_bary.barycenters.kl import geometric_mean, mixture, moment_match
from mmvae_bary.barycenters.numerical import NumericalBarycenter
from mmvae_bary.distributions import map_parameters, unsqueeze_last

if TYPE_CHECKING:
    from torch import Tensor

    from mmvae_bary.distributions import Gaussian, Mixture


class AlphaBarycenter(NumericalBarycenter):
    r"""The Gaussian barycenter under Amari's alpha divergence.

    .. math:: \tilde q = \arg\max_q \sum_m \lambda_m \int q_m(z)^\alpha q(z)^{1-\alpha} dz

    At its ends it is the barycenter of the Kullback-Leibler divergences in closed form:
    :class:`GeometricBarycenter` at 0, zero-forcing, and :class:`MomentMatchingBarycenter` at 1,
    mass-covering. Between them Newton's method finds it in float64, on the logarithm of the sum,
    which does not vanish where experts are far apart; there it has several minima, and the answer
    is the one that the best closed form leads to. Weights are scaled to sum to one.

    Args:
        alpha: From 0 to 1.
        tolerance: The largest step, in standard deviations, at which Newton's method stops.
        max_iterations: Steps after which it stops all the same, with a warning.

    Raises:
        ValueError: If a number is out of its range.

    References:
        Amari, Integration of Stochastic Models by Minimizing alpha-Divergence, Neural Computation
        2007.
    """

    def __init__(
        self, alpha: float = 0.5, tolerance: float = 1e-7, max_iterations: int = 50
    ) -> None:
        if not 0 <= alpha <= 1:
            raise ValueError(f"got alpha={alpha}, expected a number from 0 to 1")
        super().__init__(partial(divergences.alpha, alpha=alpha), tolerance, max_iterations)
        self.alpha = alpha

    def objective(self, experts: Gaussian, weights: Tensor, q: Gaussian) -> Tensor:
        terms = divergences.log_chernoff(experts, unsqueeze_last(q), self.alpha)
        return -_log_average(weights, terms)

    def fuse(self, experts: Gaussian, weights: Tensor) -> Gaussian:
        if self.alpha == 0:
            return geometric_mean(experts, normalized(weights))
        if self.alpha == 1:
            return moment_match(experts, normalized(weights))
        return super().fuse(experts, weights)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"


class HellingerMixture(Barycenter):
    r"""The barycenter under the squared Hellinger distance, which is a mixture.

    .. math::
        \tilde q \propto \Big(\sum_m \lambda_m \sqrt{q_m}\Big)^2
        = \sum_{i,j} \lambda_i \lambda_j \sqrt{q_i q_j},

    where :math:`\sqrt{q_i q_j}` is the geometric mean of two experts times their Bhattacharyya
    coefficient. So there are :math:`M (M + 1) / 2` components: the experts, and between any two
    that overlap one more. Weights are scaled to sum to one.

    References:
        Vo et al., Hölder++: Improving the Quality-Coherence Trade-off in Multimodal VAEs, ICML
        2026, who draw from it.
    """

    divergence = staticmethod(divergences.hellinger)
    returns_mixture = True

    def fuse(self, experts: Gaussian, weights: Tensor) -> Mixture:
        return hellinger_pool(experts, weights)


class HellingerBarycenter(Barycenter):
    r"""The Gaussian of the moments of the Hellinger barycenter, as HELVAE approximates it.

    Mean and covariance are those of :class:`HellingerMixture`. The Gaussian that minimises the
    weighted Hellinger distances itself is ``AlphaBarycenter(0.5)``.

    References:
        Vo and Valera, Hellinger Multimodal Variational Autoencoders, 2026.
    """

    divergence = staticmethod(divergences.hellinger)

    def fuse(self, experts: Gaussian, weights: Tensor) -> Gaussian:
        pool = hellinger_pool(experts, weights)
        return moment_match(pool.components, pool.weights)


def hellinger_pool(experts: Gaussian, weights: Tensor) -> Mixture:
    """The mixture of :class:`HellingerMixture`."""
    num_experts = weights.shape[-1]
    first, second = torch.triu_indices(num_experts, num_experts, device=weights.device)
    dim = len(experts.batch_shape) - 1

    def pair(tensor: Tensor) -> Tensor:
        ends = tensor.index_select(dim, first), tensor.index_select(dim, second)
        return torch.stack(ends, dim + 1)  # (..., P, 2, D)

    pairs = map_parameters(pair, experts)
    left, right = (
        map_parameters(lambda t, end=end: t.select(dim + 1, end), pairs) for end in (0, 1)
    )
    halves = weights.new_full((2,), 0.5)
    overlap = divergences.log_chernoff(left, right, 0.5)  # (..., P)
    weights = normalized(weights)
    shares = weights[..., first] * weights[..., second] * torch.where(first == second, 1, 2)
    largest = overlap.masked_fill(shares == 0, -torch.inf).amax(-1, keepdim=True).detach()
    scaled = (overlap - largest).masked_fill(shares == 0, -torch.inf).exp()
    return mixture(geometric_mean(pairs, halves), shares * scaled)


def _log_average(weights: Tensor, terms: Tensor) -> Tensor:
    """The log of the weighted mean of exponentials; finite gradients where a weight is zero."""
    absent = weights == 0
    largest = terms.masked_fill(absent, -torch.inf).amax(-1, keepdim=True).detach()
    scaled = torch.where(absent, 0.0, terms - largest).exp()
    return (weights * scaled).sum(-1).log() + largest.squeeze(-1)
