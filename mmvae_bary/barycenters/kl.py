"""Barycenters under the Kullback-Leibler divergence (Theorem 1 of the paper)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import torch

from mmvae_bary.barycenters.base import Barycenter, normalized, weighted_sum
from mmvae_bary.distributions import Mixture, diagonal_gaussian, diagonal_parameters
from mmvae_bary.divergences import kl, reverse_kl

if TYPE_CHECKING:
    from torch import Tensor

    from mmvae_bary.distributions import DiagonalGaussian, Gaussian

PriorExpert = Literal["always", "full_set", "never"]


class GeometricBarycenter(Barycenter):
    r"""Normalised weighted geometric mean, the barycenter under reverse KL (Theorem 1).

    .. math::
        \tilde q \propto \prod_m q_m^{\lambda_m}, \qquad
        \tilde T = \sum_m \lambda_m T_m, \qquad
        \tilde\mu = \tilde T^{-1} \sum_m \lambda_m T_m \mu_m

    with precisions :math:`T_m = \sigma_m^{-2}` and weights scaled to sum to one. Zero-forcing:
    the sharpest expert leads (Remark 1), but the answer is never sharper than it.
    """

    divergence = staticmethod(reverse_kl)

    def fuse(self, experts: Gaussian, weights: Tensor) -> DiagonalGaussian:
        return _product(experts, normalized(weights))


class ProductOfExperts(Barycenter):
    r"""Product of experts, each counted as often as its weight says.

    .. math::
        \tilde q \propto p^{w_0} \prod_m q_m^{w_m}, \qquad
        \tilde T = w_0 + \sum_m w_m T_m, \qquad
        \tilde\mu = \tilde T^{-1} \sum_m w_m T_m \mu_m

    The paper calls this the barycenter under reverse KL. To be exact, that barycenter is the
    geometric mean, :class:`GeometricBarycenter`, whose weights sum to one; here uniform weights
    sum to the number of experts, so that each further expert sharpens the product. With
    :math:`W = \sum w`, the product is the geometric barycenter of the experts raised to the power
    :math:`W`, that is with variances divided by :math:`W`.

    Args:
        prior: When the prior :math:`\mathcal{N}(0, I)` is one more expert: ``"always"`` (MVAE),
            ``"full_set"``, where no expert is absent (MoPoE's reference code), or ``"never"``.

    Raises:
        ValueError: If ``prior`` is none of these.

    References:
        Wu and Goodman, Multimodal Generative Models for Scalable Weakly-Supervised Learning,
        NeurIPS 2018.
    """

    divergence = staticmethod(reverse_kl)

    def __init__(self, prior: PriorExpert = "always") -> None:
        super().__init__()
        if prior not in get_args(PriorExpert):
            raise ValueError(f"got prior={prior!r}, expected one of {get_args(PriorExpert)}")
        self.prior = prior

    def fuse(self, experts: Gaussian, weights: Tensor) -> DiagonalGaussian:
        return _product(experts, weights, self._prior_weight(weights))

    def _prior_weight(self, weights: Tensor) -> Tensor:
        if self.prior == "always":
            return torch.ones_like(weights[..., 0])
        counted = weights.all(-1) if self.prior == "full_set" else False
        return (counted | ~weights.any(-1)).to(weights)  # so that a row without experts is finite

    def extra_repr(self) -> str:
        return f"prior={self.prior!r}"


class MixtureOfExperts(Barycenter):
    r"""Mixture of experts, the barycenter under forward KL (Theorem 1). Mass-covering.

    .. math:: \tilde q = \sum_m \lambda_m q_m

    References:
        Shi et al., Variational Mixture-of-Experts Autoencoders for Multi-Modal Deep Generative
        Models, NeurIPS 2019.
    """

    divergence = staticmethod(kl)

    def fuse(self, experts: Gaussian, weights: Tensor) -> Mixture:
        return mixture(experts, weights)


def mixture(components: Gaussian, weights: Tensor) -> Mixture:
    """The mixture of components of batch shape ``(..., K)``, weights scaled to sum to one."""
    shape = torch.broadcast_shapes(components.batch_shape, weights.shape)
    return Mixture(components.expand(shape), normalized(weights))


def _product(
    experts: Gaussian, weights: Tensor, prior_weight: Tensor | None = None
) -> DiagonalGaussian:
    loc, scale = diagonal_parameters(experts)
    precisions = scale.square().reciprocal()
    precision = weighted_sum(weights, precisions)
    if prior_weight is not None:
        precision = precision + prior_weight.unsqueeze(-1)
    return diagonal_gaussian(
        weighted_sum(weights, precisions * loc) / precision, precision.rsqrt()
    )
