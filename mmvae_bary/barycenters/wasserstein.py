"""The barycenter under the squared 2-Wasserstein distance (Eqs. 6 and 7 of the paper)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmvae_bary.barycenters.base import Barycenter, normalized, weighted_sum
from mmvae_bary.distributions import diagonal_gaussian, diagonal_parameters
from mmvae_bary.divergences import wasserstein

if TYPE_CHECKING:
    from torch import Tensor

    from mmvae_bary.distributions import DiagonalGaussian, Gaussian


class WassersteinBarycenter(Barycenter):
    r"""Barycenter under the squared 2-Wasserstein distance; its diagonal closed form, Eq. 7.

    .. math::
        \tilde\mu = \sum_m \lambda_m \mu_m, \qquad \tilde\sigma = \sum_m \lambda_m \sigma_m

    Standard deviations average, not variances. Weights are scaled to sum to one.

    References:
        Qiu et al., Multimodal Variational Autoencoder: a Barycentric View, AAAI 2025.
        Agueh and Carlier, Barycenters in the Wasserstein Space, SIAM J. Math. Anal. 2011.
    """

    divergence = staticmethod(wasserstein)

    def fuse(self, experts: Gaussian, weights: Tensor) -> DiagonalGaussian:
        loc, scale = diagonal_parameters(experts)
        weights = normalized(weights)
        return diagonal_gaussian(weighted_sum(weights, loc), weighted_sum(weights, scale))
