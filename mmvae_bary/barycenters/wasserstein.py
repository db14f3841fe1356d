"""The barycenter under the squared 2-Wasserstein distance (Eqs. 6 and 7 of the paper)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.distributions import MultivariateNormal

from mmvae_bary.barycenters.base import Barycenter, normalized, weighted_matrices, weighted_sum
from mmvae_bary.barycenters.implicit import FixedPoint
from mmvae_bary.distributions import as_double, full_gaussian, parameters, rebuild
from mmvae_bary.divergences import wasserstein
from mmvae_bary.matrices import cholesky, symmetric_sqrt, symmetrize

if TYPE_CHECKING:
    from torch import Tensor

    from mmvae_bary.distributions import Gaussian


class WassersteinBarycenter(Barycenter):
    r"""Barycenter under the squared 2-Wasserstein distance.

    Of diagonal experts it has the closed form of Eq. 7, where standard deviations average, not
    variances:

    .. math::
        \tilde\mu = \sum_m \lambda_m \mu_m, \qquad \tilde\sigma = \sum_m \lambda_m \sigma_m

    Of full covariances it is the Bures-Wasserstein barycenter, the fixed point of Eq. 6,

    .. math::
        \tilde\Sigma = \sum_m \lambda_m
        \big(\tilde\Sigma^{1/2} \Sigma_m \tilde\Sigma^{1/2}\big)^{1/2},

    iterated in float64 as in Alvarez-Esteban et al. Gradients are implicit: they hold for the
    fixed point, however many iterations led there, and take the memory of two.

    Weights are scaled to sum to one.

    Args:
        tolerance: Of full covariances: the residual of Eq. 6 relative to the covariance, in the
            Frobenius norm, at which the iteration stops.
        max_iterations: Iterations after which it stops all the same, with a warning.

    Raises:
        ValueError: If either is not above zero.

    References:
        Qiu et al., Multimodal Variational Autoencoder: a Barycentric View, AAAI 2025.
        Agueh and Carlier, Barycenters in the Wasserstein Space, SIAM J. Math. Anal. 2011.
        Alvarez-Esteban et al., A Fixed-Point Approach to Barycenters in Wasserstein Space, Journal
        of Mathematical Analysis and Applications 2016.
    """

    divergence = staticmethod(wasserstein)
    by_rows = True

    def __init__(self, tolerance: float = 1e-8, max_iterations: int = 100) -> None:
        super().__init__()
        self.solver = FixedPoint(tolerance, max_iterations)

    def fuse(self, experts: Gaussian, weights: Tensor) -> Gaussian:
        weights = normalized(weights)
        if not isinstance(experts, MultivariateNormal):
            return average(experts, weights)
        mean = weighted_sum(weights, experts.loc)
        covariance = self._covariance(as_double(weights), as_double(experts.scale_tril))
        return full_gaussian(mean, cholesky(covariance).to(experts.loc))

    def _covariance(self, weights: Tensor, factors: Tensor) -> Tensor:
        """The fixed point of Eq. 6, of shape (..., D, D), of Cholesky factors (..., M, D, D)."""
        covariances = factors @ factors.mT

        def step(covariance: Tensor) -> Tensor:
            # any root of the covariance leads to the same next one; Cholesky's is the cheapest
            root = cholesky(covariance)
            outer = root.unsqueeze(-3)
            roots = symmetric_sqrt(symmetrize(outer.mT @ covariances @ outer))
            transported: Tensor = torch.linalg.solve_triangular(
                root.mT, weighted_matrices(weights, roots), upper=True
            )
            return transported @ transported.mT

        start = weighted_matrices(weights, symmetric_sqrt(covariances)).detach()
        return self.solver(step, start @ start)


def average(experts: Gaussian, weights: Tensor) -> Gaussian:
    """Average means and scales, the Wasserstein barycenter where scales are diagonal."""
    loc, scale = parameters(experts)
    flat = weighted_sum(weights, scale.flatten(loc.ndim - 1))
    return rebuild(
        experts, weighted_sum(weights, loc), flat.unflatten(-1, scale.shape[loc.ndim - 1 :])
    )
