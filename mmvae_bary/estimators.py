"""Importance-sampled log-likelihoods, as pure functions of log importance weights."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch

from mmvae_bary.distributions import diagonal_gaussian, log_density

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor
    from torch.distributions import Distribution

    from mmvae_bary.distributions import Gaussian


class Estimate(NamedTuple):
    """An importance-sampled log-likelihood and how far to trust it.

    Attributes:
        value: The estimate, in nats. Its expectation lies below the log-likelihood.
        standard_error: Its Monte Carlo error, in nats; zero, for want of a second, of one sample.
        effective_sample_size: How many samples from the exact posterior those drawn are worth,
            from 1 to their number.
    """

    value: Tensor
    standard_error: Tensor
    effective_sample_size: Tensor


class Proposal(NamedTuple):
    """What latents are drawn from.

    Attributes:
        shared: q(z), of batch shape ``(..., B)``.
        private: Modality name to q(s_m), of the same batch shape, for those that have one: the
            standard normal where the modality is not given.
    """

    shared: Distribution
    private: Mapping[str, Gaussian]


def log_weights(
    proposal: Proposal,
    z: Tensor,
    private: Mapping[str, Tensor],
    log_likelihoods: Mapping[str, Tensor],
) -> Tensor:
    r"""Log importance weights of the joint log-likelihood and of every modality's.

    .. math::
        \log w_0 = \log \frac{p(z)}{q(z)} + \sum_m \log w'_m, \qquad
        \log w_m = \log \frac{p(z)}{q(z)} + \log w'_m, \qquad
        w'_m = p(x_m | z, s_m) \, \frac{p(s_m)}{q(s_m)}

    Args:
        proposal: What the latents were drawn from, of batch shape ``(..., B)``.
        z: Shared latents of shape ``(S, ..., B, D)``.
        private: Modality name to private latents of shape ``(S, ..., B, private)``.
        log_likelihoods: Modality name to :math:`\log p(x_m | z, s_m)`, of shape ``(S, ..., B)``.

    Returns:
        Shape ``(S, ..., 1 + M, B)``: the joint's, then the modalities', in their order.
    """
    own = dict(log_likelihoods)
    for name, q in proposal.private.items():
        own[name] = own[name] + _log_ratio(q, private[name])
    each = torch.stack(list(own.values()), -2)
    shared = _log_ratio(proposal.shared, z).unsqueeze(-2)
    return shared + torch.cat([each.sum(-2, keepdim=True), each], -2)


def importance_weighted(log_weights: Tensor) -> Estimate:
    r"""The importance-sampled log-likelihood.

    .. math:: \log p(x) \approx \log \frac1S \sum_{s=1}^S w_s, \qquad
        w_s = \frac{p(x, z_s)}{q(z_s)}, \quad z_s \sim q

    Its error is that of the mean of the weights by the delta method,
    :math:`\sqrt{1 / \mathrm{ESS} - 1 / S}` with :math:`\mathrm{ESS} = (\sum w_s)^2 / \sum w_s^2`.

    Args:
        log_weights: Shape ``(S, ...)``.

    Returns:
        Tensors of shape ``(...)``.

    References:
        Burda, Grosse and Salakhutdinov, Importance Weighted Autoencoders, ICLR 2016.

    Example:
        >>> estimate = importance_weighted(torch.tensor([1.0, 3.0]).log())
        >>> estimate.value.exp(), estimate.effective_sample_size, estimate.standard_error
        (tensor(2.), tensor(1.6000), tensor(0.3536))
    """
    size = len(log_weights)
    squares = log_weights.softmax(0).square().sum(0)
    error = (squares - 1 / size).clamp(min=0).sqrt()
    value = log_weights.logsumexp(0) - math.log(size)
    return Estimate(value, error, squares.reciprocal())


def grouped_across_items(log_weights: Tensor) -> Estimate:
    """The grouping of published tables, biased upward; only to compare with them.

    The reference code of Sutter, Daunhawer and Vogt (2021), and the tables made with it or its
    successors, lay weights out sample by sample but read them item by item, so that the weights
    of *different items* are averaged before the logarithm. By Jensen's inequality the mean of
    these figures lies above the mean log-likelihood, the more so the more items differ, and it
    depends on the batch, which is 64 items and 12 samples in published tables. Use
    :func:`importance_weighted` for everything else.

    Args:
        log_weights: Shape ``(S, ..., B)``.

    Returns:
        Tensors of shape ``(..., B)``, one for each group of S weights.

    Example:
        >>> exact = torch.tensor([-10.0, -20.0]).expand(2, 2)  # two samples of two items
        >>> importance_weighted(exact).value, grouped_across_items(exact).value
        (tensor([-10., -20.]), tensor([-10.6931, -10.6931]))
    """
    size, items = len(log_weights), log_weights.shape[-1]
    by_sample = log_weights.movedim(0, -2).flatten(-2)  # (..., S * B)
    return importance_weighted(by_sample.unflatten(-1, (items, size)).movedim(-1, 0))


def _log_ratio(q: Distribution, z: Tensor) -> Tensor:
    """The log-density of the standard normal less that of the proposal, of shape (..., B)."""
    width = z.shape[-1]
    prior = diagonal_gaussian(z.new_zeros(width), z.new_ones(width))
    ratio: Tensor = prior.log_prob(z) - log_density(q, z)
    return ratio
