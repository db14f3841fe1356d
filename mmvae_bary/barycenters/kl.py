"""Barycenters under the Kullback-Leibler divergence (Theorem 1 of the paper)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch.distributions import MultivariateNormal

from mmvae_bary.barycenters.base import Barycenter, normalized, weighted_matrices, weighted_sum
from mmvae_bary.barycenters.implicit import FixedPoint
from mmvae_bary.checks import check_one_of
from mmvae_bary.distributions import (
    Mixture,
    as_double,
    diagonal_gaussian,
    full_gaussian,
    map_parameters,
    narrowed,
    parameters,
)
from mmvae_bary.divergences import jeffreys, kl, reverse_kl
from mmvae_bary.matrices import cholesky, cholesky_of_inverse, symmetric_sqrt

if TYPE_CHECKING:
    from torch import Tensor

    from mmvae_bary.distributions import Gaussian

PriorExpert = Literal["always", "full_set", "never"]


class GeometricBarycenter(Barycenter):
    r"""Normalised weighted geometric mean, the barycenter under reverse KL (Theorem 1).

    .. math::
        \tilde q \propto \prod_m q_m^{\lambda_m}, \qquad
        \tilde T = \sum_m \lambda_m T_m, \qquad
        \tilde\mu = \tilde T^{-1} \sum_m \lambda_m T_m \mu_m

    with precisions :math:`T_m = \Sigma_m^{-1}` and weights scaled to sum to one. Zero-forcing:
    the sharpest expert leads (Remark 1), but the answer is never sharper than it. Diagonal scales
    in float32 count as at least 2e-8 and at most 5e7.
    """

    divergence = staticmethod(reverse_kl)
    by_rows = True

    def fuse(self, experts: Gaussian, weights: Tensor) -> Gaussian:
        return geometric_mean(experts, normalized(weights))


class ProductOfExperts(Barycenter):
    r"""Product of experts, each counted as often as its weight says.

    .. math::
        \tilde q \propto p^{w_0} \prod_m q_m^{w_m}, \qquad
        \tilde T = w_0 I + \sum_m w_m T_m, \qquad
        \tilde\mu = \tilde T^{-1} \sum_m w_m T_m \mu_m

    The paper calls this the barycenter under reverse KL. To be exact, that barycenter is the
    geometric mean, :class:`GeometricBarycenter`, whose weights sum to one; here uniform weights
    sum to the number of experts, so that each further expert sharpens the product. With
    :math:`W = \sum w`, the product is the geometric barycenter of the experts raised to the power
    :math:`W`, that is with covariances divided by :math:`W`. Diagonal scales in float32 count as
    at least 2e-8 and at most 5e7.

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
    by_rows = True

    def __init__(self, prior: PriorExpert = "always") -> None:
        super().__init__()
        check_one_of(PriorExpert, prior=prior)
        self.prior = prior

    def fuse(self, experts: Gaussian, weights: Tensor) -> Gaussian:
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
    returns_mixture = True

    def fuse(self, experts: Gaussian, weights: Tensor) -> Mixture:
        return mixture(experts, weights)


class MomentMatchingBarycenter(Barycenter):
    r"""The Gaussian of the mixture's moments, the barycenter under forward KL among Gaussians.

    .. math::
        \tilde\mu = \sum_m \lambda_m \mu_m, \qquad
        \tilde\Sigma = \sum_m \lambda_m
        \big(\Sigma_m + (\mu_m - \tilde\mu)(\mu_m - \tilde\mu)^\top\big)

    of which diagonal experts keep the diagonal. Mass-covering like :class:`MixtureOfExperts`, but
    with one mode. Weights are scaled to sum to one.

    References:
        Minka, Divergence Measures and Message Passing, 2005.
    """

    divergence = staticmethod(kl)
    by_rows = True

    def fuse(self, experts: Gaussian, weights: Tensor) -> Gaussian:
        return moment_match(experts, normalized(weights))


class JeffreysBarycenter(Barycenter):
    r"""The Gaussian barycenter under Jeffreys divergence, between zero-forcing and mass-covering.

    Of Gaussians among Gaussians the weighted divergences to all experts differ by a constant from
    those to two: to the moments' Gaussian and to the geometric mean, in whose coordinates they
    are :math:`\mathcal{N}(d, S)` and :math:`\mathcal{N}(0, I)`. There the barycenter
    :math:`\mathcal{N}(w, R)` is the fixed point of

    .. math:: R = \big(S + (d - w)(d - w)^\top\big)^{1/2}, \qquad w = (I + R)^{-1} d,

    iterated in float64, each time at most half as far away, with implicit gradients. Diagonal
    experts keep to each dimension. Weights are scaled to sum to one.

    Args:
        tolerance: The step of :math:`w`, relative to its size, at which the iteration stops.
        max_iterations: Iterations after which it stops all the same, with a warning.

    Raises:
        ValueError: If the tolerance is not above zero or ``max_iterations`` below one.

    References:
        Nielsen and Nock, Sided and Symmetrized Bregman Centroids, IEEE Transactions on
        Information Theory 2009.
    """

    divergence = staticmethod(jeffreys)

    def __init__(self, tolerance: float = 1e-9, max_iterations: int = 100) -> None:
        super().__init__()
        self.solver = FixedPoint(tolerance, max_iterations)

    def fuse(self, experts: Gaussian, weights: Tensor) -> Gaussian:
        weights, wide = as_double(normalized(weights)), map_parameters(as_double, experts)
        matched, geometric = moment_match(wide, weights), geometric_mean(wide, weights)
        full = isinstance(experts, MultivariateNormal)
        fused = (self._full if full else self._diagonal)(matched, geometric)
        return map_parameters(lambda t: t.to(experts.mean), fused)

    def _diagonal(self, matched: Gaussian, geometric: Gaussian) -> Gaussian:
        unit = geometric.stddev
        d = ((matched.mean - geometric.mean) / unit).unsqueeze(-1)  # (..., D, 1)
        s = (matched.stddev / unit).square().unsqueeze(-1)

        def root(w: Tensor) -> Tensor:
            return (s + (d - w).square()).sqrt()

        w = self.solver(lambda w: d / (1 + root(w)), torch.zeros_like(d))
        mean = geometric.mean + unit * w.squeeze(-1)
        return diagonal_gaussian(mean, unit * root(w).sqrt().squeeze(-1))

    def _full(self, matched: Gaussian, geometric: Gaussian) -> Gaussian:
        (loc, spread), (center, unit) = parameters(matched), parameters(geometric)
        d = torch.linalg.solve_triangular(unit, (loc - center).unsqueeze(-1), upper=False)
        inner = torch.linalg.solve_triangular(unit, spread, upper=False)
        identity = torch.eye(loc.shape[-1], dtype=loc.dtype, device=loc.device)

        def root(w: Tensor) -> Tensor:
            return symmetric_sqrt(inner @ inner.mT + (d - w) @ (d - w).mT)

        w = self.solver(lambda w: torch.linalg.solve(identity + root(w), d), torch.zeros_like(d))
        mean = center + (unit @ w).squeeze(-1)
        return full_gaussian(mean, unit @ cholesky(root(w)))  # of triangles a triangle


def mixture(components: Gaussian, weights: Tensor) -> Mixture:
    """The mixture of components of batch shape ``(..., K)``, weights scaled to sum to one."""
    shape = torch.broadcast_shapes(components.batch_shape, weights.shape)
    first = len(components.batch_shape)
    # not by torch's expand, at which a graph of torch.compile breaks in torch 2.11
    components = map_parameters(lambda x: x.expand(*shape, *x.shape[first:]), components)
    return Mixture(components, normalized(weights))


def moment_match(experts: Gaussian, weights: Tensor) -> Gaussian:
    """The Gaussian of the moments of a mixture, of batch shape ``(...)``.

    Args:
        experts: The components, of batch shape ``(..., M)``.
        weights: Shape ``(..., M)``, sum to one.
    """
    if not isinstance(experts, MultivariateNormal):
        return _diagonal_moments(experts, weights)
    loc, factors = map(as_double, parameters(experts))
    weights = as_double(weights)
    mean = weighted_sum(weights, loc)
    apart = (loc - mean.unsqueeze(-2)).unsqueeze(-1)  # (..., M, D, 1)
    covariance = weighted_matrices(weights, factors @ factors.mT + apart @ apart.mT)
    return full_gaussian(mean.to(experts.loc), cholesky(covariance).to(experts.loc))


def _diagonal_moments(experts: Gaussian, weights: Tensor) -> Gaussian:
    loc, scale = parameters(experts)
    mean = weighted_sum(weights, loc)
    apart = weighted_sum(weights, (loc - mean.unsqueeze(-2)).square())
    # means to 1e6 may be squared in float32, scales to 1e20 may not
    within = weighted_sum(as_double(weights), as_double(scale).square())
    return diagonal_gaussian(mean, narrowed((within + as_double(apart)).sqrt(), loc))


def geometric_mean(experts: Gaussian, weights: Tensor) -> Gaussian:
    """The normalised weighted geometric mean, a Gaussian of batch shape ``(...)``.

    Args:
        experts: Gaussians of batch shape ``(..., M)``.
        weights: Shape ``(..., M)``, sum to one.
    """
    return _product(experts, weights)


def _product(experts: Gaussian, weights: Tensor, prior_weight: Tensor | None = None) -> Gaussian:
    loc, scale = parameters(experts)
    if isinstance(experts, MultivariateNormal):
        return _full_product(experts, weights, prior_weight)
    precisions = _Precisions.apply(scale)
    precision = weighted_sum(weights, precisions)
    if prior_weight is not None:
        precision = precision.add_(prior_weight.unsqueeze(-1))
    return diagonal_gaussian(
        *_FromNatural.apply(weighted_sum(weights, precisions * loc), precision)
    )


class _Precisions(torch.autograd.Function):
    """Inverse squares, of scales between the fifth root of the largest number and its inverse.

    In float32 that is from 2e-8 to 5e7: a gradient multiplies up to four scales. Beyond, the
    gradient of a scale's logarithm stays what it is at the bound.
    """

    @staticmethod
    def forward(ctx: Any, scale: Tensor) -> Tensor:
        widest = torch.finfo(scale.dtype).max ** 0.2
        precision: Tensor = scale.clamp(1 / widest, widest).square_().reciprocal()
        ctx.save_for_backward(scale, precision)
        return precision

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> Tensor:
        scale, precision = ctx.saved_tensors
        result: Tensor = gradient[0] * precision / scale * -2
        return result


class _FromNatural(torch.autograd.Function):
    """Mean and scale from precision-weighted mean and precision, in few passes over subsets.

    And in little new memory, which costs more than the arithmetic.
    """

    @staticmethod
    def forward(ctx: Any, shift: Tensor, precision: Tensor) -> tuple[Tensor, Tensor]:
        mean, scale = shift / precision, precision.rsqrt()
        ctx.save_for_backward(mean, scale, precision)
        return mean, scale

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        mean, scale, precision = ctx.saved_tensors
        by_mean, by_scale = gradients
        together = (by_mean * mean).addcmul_(by_scale, scale, value=0.5)
        zero = mean.new_zeros(())
        return by_mean / precision, torch.addcdiv(zero, together, precision, value=-1)


def _full_product(
    experts: MultivariateNormal, weights: Tensor, prior_weight: Tensor | None
) -> MultivariateNormal:
    """The product in float64, for an inverse doubles the digits that are lost."""
    loc, factors = map(as_double, parameters(experts))
    precisions, weights = torch.cholesky_inverse(factors), as_double(weights)
    precision = weighted_matrices(weights, precisions)
    if prior_weight is not None:
        prior = torch.eye(loc.shape[-1], dtype=loc.dtype, device=loc.device)
        precision = precision + as_double(prior_weight)[..., None, None] * prior
    shifts = weighted_sum(weights, (precisions @ loc.unsqueeze(-1)).squeeze(-1)).unsqueeze(-1)
    factor = cholesky_of_inverse(precision)
    mean = (factor @ (factor.mT @ shifts)).squeeze(-1)
    return full_gaussian(mean.to(experts.loc), factor.to(experts.loc))
