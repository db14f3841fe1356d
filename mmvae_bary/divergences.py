r"""Divergences between Gaussians, each a pure function ``(p, q) -> (...)`` in nats.

The paper's Eq. 4 defines a barycenter as the :math:`q` that minimises
:math:`\sum_m \lambda_m d(q_m, q)`, so a divergence is always called as ``d(expert, barycenter)``.
Both arguments are Gaussians of one kind, diagonal or full, of broadcasting batch shapes.

Values are in float32 or wider. In float32 they saturate at
:func:`~mmvae_bary.distributions.largest`, 3.2e29, and gradients with respect to means and scales
likewise; the gradient of a saturated value is what it would be without, but that of
:func:`kl_to_standard` of diagonal Gaussians, which is zero.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch.distributions import Distribution, MultivariateNormal, kl_divergence

from mmvae_bary.distributions import (
    Mixture,
    as_double,
    at_least_float32,
    largest,
    narrowed,
    parameters,
    rebuild,
    standard_gaussian,
    uncompiled,
)
from mmvae_bary.matrices import cholesky, symmetric_sqrt

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from mmvae_bary.distributions import Gaussian, Posterior

F = TypeVar("F", bound="Callable[..., Tensor]")
_full_kl = uncompiled(kl_divergence)


def _in_double(divergence: F) -> F:
    """Compute in float64, which holds the squares and quotients of all that float32 does."""

    @wraps(divergence)
    def wide(p: Distribution, q: Distribution, *args: Any, **kwargs: Any) -> Tensor:
        _check_kinds(p, q)
        p_wide, q_wide = (rebuild(x, *map(as_double, parameters(x))) for x in (p, q))
        return narrowed(divergence(p_wide, q_wide, *args, **kwargs), parameters(p)[0])

    return cast("F", wide)


@_in_double
def kl(p: Distribution, q: Distribution) -> Tensor:
    r"""Forward (inclusive, mass-covering) Kullback-Leibler divergence.

    .. math:: \mathrm{KL}(p \| q) = \mathbb{E}_p[\log p - \log q]

    Returns:
        Nats, of the broadcast batch shape.

    Raises:
        TypeError: If one is diagonal and the other full, or either is not a Gaussian.

    Example:
        >>> from mmvae_bary.distributions import diagonal_gaussian
        >>> p = diagonal_gaussian(torch.tensor([1.0]), torch.tensor([1.0]))
        >>> kl(p, diagonal_gaussian(torch.tensor([0.0]), torch.tensor([1.0])))
        tensor(0.5000)
    """
    return (_full_kl if isinstance(p, MultivariateNormal) else kl_divergence)(p, q)


def reverse_kl(p: Distribution, q: Distribution) -> Tensor:
    r"""Reverse (exclusive, zero-forcing) Kullback-Leibler divergence, :math:`\mathrm{KL}(q\|p)`.

    Returns:
        Nats, of the broadcast batch shape.
    """
    return kl(q, p)


def jeffreys(p: Distribution, q: Distribution) -> Tensor:
    r"""Jeffreys divergence, the mean of the two Kullback-Leibler divergences.

    .. math:: \tfrac12 \mathrm{KL}(p \| q) + \tfrac12 \mathrm{KL}(q \| p)

    Returns:
        Nats, of the broadcast batch shape.
    """
    return (kl(p, q) + kl(q, p)) / 2


def hellinger(p: Distribution, q: Distribution) -> Tensor:
    r"""Squared Hellinger distance, in :math:`[0, 1]`.

    .. math:: H^2(p, q) = 1 - \int \sqrt{p(z)\, q(z)}\, dz

    Returns:
        A pure number, of the broadcast batch shape.
    """
    return -torch.expm1(log_chernoff(p, q, 0.5))


def alpha(p: Distribution, q: Distribution, alpha: float = 0.5) -> Tensor:
    r"""Amari's alpha divergence, which goes from reverse to forward Kullback-Leibler.

    .. math:: D_\alpha(p \| q) = \frac{1 - \int p(z)^\alpha q(z)^{1-\alpha} dz}{\alpha (1-\alpha)}

    Args:
        p: First argument, an expert.
        q: Second argument, a barycenter.
        alpha: In :math:`[0, 1]`: 0 is :func:`reverse_kl`, 1 is :func:`kl`, and one half is four
            times :func:`hellinger`.

    Returns:
        A pure number, of the broadcast batch shape.

    Raises:
        ValueError: If ``alpha`` is not in ``[0, 1]``, where the integral may diverge.

    References:
        Amari, Differential-Geometrical Methods in Statistics, 1985.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"got alpha={alpha}, expected a number from 0 to 1")
    if alpha == 0:
        return reverse_kl(p, q)
    if alpha == 1:
        return kl(p, q)
    return -torch.expm1(log_chernoff(p, q, alpha)) / (alpha * (1 - alpha))


@_in_double
def wasserstein(p: Distribution, q: Distribution) -> Tensor:
    r"""Squared 2-Wasserstein distance (Eq. 1 of the paper) of two Gaussians of one kind.

    .. math::
        \mathcal{W}_2^2(p, q) = |\mu_p - \mu_q|^2 + \mathrm{tr}\big(\Sigma_p + \Sigma_q
        - 2 (\Sigma_p^{1/2} \Sigma_q \Sigma_p^{1/2})^{1/2}\big),

    which is :math:`|\mu_p - \mu_q|^2 + |\sigma_p - \sigma_q|^2` of diagonal ones.

    Returns:
        The squared unit of the latent space, of the broadcast batch shape.

    Raises:
        TypeError: If one is diagonal and the other full.
    """
    (p_loc, p_scale), (q_loc, q_scale) = parameters(p), parameters(q)
    squares = (p_loc - q_loc).square().sum(-1)
    if isinstance(p, MultivariateNormal):
        return squares + _bures(p_scale, q_scale)
    return squares + (p_scale - q_scale).square().sum(-1)


def _bures(p_scale: Tensor, q_scale: Tensor) -> Tensor:
    """The squared distance of covariances by their Cholesky factors."""
    # tr (S_p^1/2 S_q S_p^1/2)^1/2 is the sum of the singular values of L_p^T L_q
    product = p_scale.mT @ q_scale
    fidelity = symmetric_sqrt(product @ product.mT).diagonal(dim1=-2, dim2=-1).sum(-1)
    traces = p_scale.square().sum((-2, -1)) + q_scale.square().sum((-2, -1))
    distance: Tensor = traces - 2 * fidelity
    return distance + (-distance.detach()).clamp(min=0)  # not below zero, its slopes kept


def kl_to_standard(q: Gaussian) -> Tensor:
    r"""Kullback-Leibler divergence of a Gaussian from the standard normal.

    .. math::
        \mathrm{KL}(q \| \mathcal{N}(0, I))
        = \tfrac12 \sum_d \sigma_d^2 + \mu_d^2 - 1 - \log \sigma_d^2

    The same as :func:`kl`, but of diagonal Gaussians in a quarter of the time.

    Returns:
        Nats, of the batch shape.

    Example:
        >>> from mmvae_bary.distributions import diagonal_gaussian
        >>> kl_to_standard(diagonal_gaussian(torch.tensor([1.0, 0.0]), torch.ones(2)))
        tensor(0.5000)
    """
    if isinstance(q, MultivariateNormal):
        return kl(q, standard_gaussian(q))
    value: Tensor = _KLToStandard.apply(*map(at_least_float32, parameters(q)))
    return value


class _KLToStandard(torch.autograd.Function):
    """In as few passes as there can be, for a mixture over subsets has many components."""

    @staticmethod
    def forward(ctx: Any, loc: Tensor, scale: Tensor) -> Tensor:
        terms = scale.log().mul_(-2).sub_(1).addcmul_(scale, scale).addcmul_(loc, loc)
        value = (terms.sum(-1) / 2).clamp(max=largest(terms.dtype))
        ctx.save_for_backward(loc, scale, value)
        return value

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor, Tensor]:
        loc, scale, value = ctx.saved_tensors
        each = torch.where(value < largest(value.dtype), gradient[0], 0).unsqueeze(-1)
        one = scale.new_ones(())
        by_scale = torch.addcdiv(scale, one, scale, value=-1)  # scale - 1 / scale in one pass
        return each * loc, by_scale.mul_(each)


def kl_convexity_bound(q: Posterior, p: Distribution | None = None) -> Tensor:
    r"""Upper bound of ``KL(q || p)`` for a mixture ``q``, which has no closed form.

    .. math:: \mathrm{KL}\Big(\sum_k w_k q_k \Big\| p\Big) \le \sum_k w_k \mathrm{KL}(q_k \| p)

    Exact where ``q`` is one Gaussian.

    Args:
        q: A Gaussian or a :class:`~mmvae_bary.distributions.Mixture` of batch shape ``(...)``.
        p: A Gaussian whose batch shape broadcasts with that of ``q``'s components; the standard
            normal if None.

    Returns:
        Nats, of shape ``(...)``.
    """
    if not isinstance(q, Mixture):
        return kl_to_standard(q) if p is None else kl(q, p)
    if p is None:
        return q.average(kl_to_standard)
    # of all components at once, for p may differ by row and have gradients of its own
    return Mixture(q.components, q.weights).average(lambda components: kl(components, p))


@_in_double
def log_chernoff(p: Distribution, q: Distribution, alpha: float) -> Tensor:
    r"""Logarithm of the Chernoff coefficient, which stays exact where the coefficient vanishes.

    .. math:: \log \int p(z)^\alpha q(z)^{1-\alpha} dz

    Args:
        p: A Gaussian.
        q: A Gaussian of the same kind.
        alpha: In :math:`[0, 1]`; one half gives the Bhattacharyya coefficient.

    Returns:
        Not above zero, of the broadcast batch shape.

    Raises:
        TypeError: If one is diagonal and the other full.
    """
    (p_loc, p_scale), (q_loc, q_scale) = parameters(p), parameters(q)
    if isinstance(p, MultivariateNormal):
        covariance = alpha * q_scale @ q_scale.mT + (1 - alpha) * p_scale @ p_scale.mT
        factor = cholesky(covariance)
        whitened = torch.linalg.solve_triangular(
            factor, (p_loc - q_loc).unsqueeze(-1), upper=False
        )
        distance = alpha * (1 - alpha) * whitened.square().sum((-2, -1))
        log_scales = (1 - alpha) * _log_det(p_scale) + alpha * _log_det(q_scale)
        result: Tensor = log_scales - _log_det(factor) - distance / 2
        return result
    ratio = (p_scale / q_scale).square()
    variance = alpha + (1 - alpha) * ratio  # in units of that of q
    distance = ((p_loc - q_loc) / q_scale).square() / variance
    log_scales = (1 - alpha) * ratio.log() - variance.log()
    return (log_scales - alpha * (1 - alpha) * distance).sum(-1) / 2


def _check_kinds(p: Distribution, q: Distribution) -> None:
    if isinstance(p, MultivariateNormal) != isinstance(q, MultivariateNormal):
        kinds = "a MultivariateNormal", "an Independent"
        first, second = kinds if isinstance(p, MultivariateNormal) else reversed(kinds)
        raise TypeError(f"got {first} and {second}, expected Gaussians of one kind")


def _log_det(factor: Tensor) -> Tensor:
    """The log-determinant of a triangular matrix."""
    result: Tensor = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return result
