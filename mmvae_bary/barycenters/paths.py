"""Paths between posteriors: the Wasserstein geodesic, and what a barycenter gives on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from mmvae_bary.barycenters.wasserstein import WassersteinBarycenter
from mmvae_bary.distributions import map_parameters, parameters

if TYPE_CHECKING:
    from torch import Tensor

    from mmvae_bary.barycenters.base import Barycenter
    from mmvae_bary.distributions import Gaussian, Posterior


def interpolate(p: Gaussian, q: Gaussian, t: Tensor | float) -> Posterior:
    r"""The point at time ``t`` of the Wasserstein geodesic from ``p`` to ``q``.

    .. math::
        \arg\min_r \; (1 - t) \, \mathcal{W}_2^2(p, r) + t \, \mathcal{W}_2^2(q, r),
        \qquad 0 \le t \le 1

    Means and, of diagonal Gaussians, standard deviations move in straight lines, at constant
    speed: the distance from ``p`` is ``t`` times that from ``p`` to ``q``.

    Args:
        p: A Gaussian of batch shape ``(...)``.
        q: A Gaussian of the same kind and shape.
        t: Times in [0, 1], a number or of shape ``(T,)``.

    Returns:
        Gaussians of batch shape ``(...)``, or ``(T, ...)`` for several times.

    Raises:
        ValueError: If a time is outside [0, 1].

    References:
        McCann, A Convexity Principle for Interacting Gases, Advances in Mathematics 1997.

    Example:
        >>> from mmvae_bary.distributions import diagonal_gaussian
        >>> p = diagonal_gaussian(torch.tensor([0.0]), torch.tensor([1.0]))
        >>> q = diagonal_gaussian(torch.tensor([4.0]), torch.tensor([3.0]))
        >>> interpolate(p, q, 0.5).mean, interpolate(p, q, 0.5).stddev
        (tensor([2.]), tensor([2.]))
    """
    times = torch.as_tensor(t, dtype=p.mean.dtype, device=p.mean.device)
    if not bool(((times >= 0) & (times <= 1)).all()):
        raise ValueError(f"got t={times.tolist()}, expected times from 0 to 1")
    dim = len(p.batch_shape)
    ends = map_parameters(lambda *tensors: torch.stack(tensors, dim), p, q)
    return _along(WassersteinBarycenter(), ends, torch.stack([1 - times, times], -1))


def barycenter_path(barycenter: Barycenter, experts: Gaussian, num_points: int) -> Posterior:
    """What a barycenter gives while the weight moves from each expert on to the next.

    Args:
        barycenter: How experts are fused.
        experts: Gaussians of batch shape ``(..., M)``, such as the posteriors of M modalities.
        num_points: Points from one expert to the next, both ends counted.

    Returns:
        Posteriors of batch shape ``(T, ...)``, with T = (M - 1) (num_points - 1) + 1.

    Raises:
        ValueError: If there are fewer than two points or experts.
    """
    num_experts = experts.batch_shape[-1]
    if num_points < 2 or num_experts < 2:
        raise ValueError(
            f"got num_points={num_points} and {num_experts} experts, expected at least two of each"
        )
    loc = parameters(experts)[0]
    # exact at the experts, where what is left of a weight would count as present
    steps = torch.arange((num_experts - 1) * (num_points - 1) + 1, device=loc.device)
    place = steps / (num_points - 1)
    positions = torch.arange(num_experts, device=loc.device)
    weights = (1 - (place.unsqueeze(-1) - positions).abs()).clamp(min=0)  # (T, M)
    return _along(barycenter, experts, weights)


def _along(barycenter: Barycenter, experts: Gaussian, weights: Tensor) -> Posterior:
    """Fuse under each of several weights ``(T, M)``, or under one of shape ``(M,)``."""
    if weights.ndim == 1:
        return barycenter(experts, weights)
    rows = len(experts.batch_shape) - 1
    return barycenter(experts, weights.reshape(len(weights), *[1] * rows, -1))
