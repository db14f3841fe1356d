"""Mixtures whose components are fused when they are needed, a few rows at a time."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributions import Distribution

from mmvae_bary.distributions import Mixture, parameters, rebuild, unsqueeze_batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from mmvae_bary.barycenters.base import Barycenter
    from mmvae_bary.distributions import Gaussian

FUSED_ELEMENTS = 2**19  # of the scales fused at once: 2 MiB in float32, which caches hold


class LazyMixture(Mixture):
    """A mixture over subsets that does without having all its components in memory.

    A training step draws from one component of a row, which is fused alone, and averages a
    divergence over all, which is computed for a few rows at a time, together with its gradient:
    on a CPU the memory of all components costs more than their arithmetic. Whatever else is
    asked of the mixture fuses them all.

    Args:
        inner: The barycenter of each subset, one that works ``by_rows``.
        experts: Gaussians of batch shape ``(..., M)``.
        members: What each of K subsets weighs the experts by, of shape ``(..., K, M)``.
        weights: The subsets' weights, of shape ``(..., K)``, sum to one.
    """

    def __init__(
        self, inner: Barycenter, experts: Gaussian, members: Tensor, weights: Tensor
    ) -> None:
        self._inner = inner
        self._experts = experts
        shape = torch.broadcast_shapes((*experts.batch_shape[:-1], 1), members.shape[:-1])
        self._members = members.expand(*shape, -1)
        self.weights = weights.expand(shape)
        Distribution.__init__(self, shape[:-1], experts.event_shape, validate_args=False)

    @cached_property
    def components(self) -> Gaussian:
        """All components, of batch shape ``(..., K)``."""
        with torch.enable_grad():  # whoever asks first, others may want gradients
            return self._fuse(unsqueeze_batch(self._experts), self._members)

    def take(self, index: Tensor) -> Gaussian:
        """As :meth:`Mixture.take`."""
        chosen = index[..., None, None].expand(*index.shape, 1, self._members.shape[-1])
        members = self._members.expand(*index.shape, *self._members.shape[-2:])
        return self._fuse(self._experts, members.take_along_dim(chosen, -2).squeeze(-2))

    def average(self, function: Callable[[Gaussian], Tensor]) -> Tensor:
        """As :meth:`Mixture.average`; it can be differentiated once."""
        if not self.batch_shape:
            return super().average(function)

        def of_rows(loc: Tensor, scale: Tensor, members: Tensor, weights: Tensor) -> Tensor:
            experts = unsqueeze_batch(rebuild(self._experts, loc, scale))
            return Mixture(self._fuse(experts, members), weights).average(function)

        loc, scale = parameters(self._experts)
        first = loc.ndim - 2  # the dimension of the experts
        tensors = [x.expand(*self.batch_shape, *x.shape[first:]) for x in (loc, scale)]
        row = self.weights[0].numel() * scale.shape[first + 1 :].numel()
        parts = [
            x.split(max(1, FUSED_ELEMENTS // row)) for x in (*tensors, self._members, self.weights)
        ]
        with torch.autocast(loc.device.type, enabled=False):  # of the gradients as well
            values = [_WithGradient.apply(of_rows, *part) for part in zip(*parts, strict=True)]
        return torch.cat(values)

    def _fuse(self, experts: Gaussian, weights: Tensor) -> Gaussian:
        with torch.autocast(weights.device.type, enabled=False):
            fused: Gaussian = self._inner.fuse(experts, weights)  # type: ignore[assignment]
        return fused


class _WithGradient(torch.autograd.Function):
    """A function of rows whose gradient is computed at once, while its values are in caches."""

    @staticmethod
    def forward(ctx: Any, function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
        needed = ctx.needs_input_grad[1:]
        with torch.enable_grad():
            inputs = [x.detach().requires_grad_(n) for x, n in zip(tensors, needed, strict=True)]
            value = function(*inputs)
            followed = [x for x, n in zip(inputs, needed, strict=True) if n]
            gradients = torch.autograd.grad(value.sum(), followed, materialize_grads=True)
        ctx.needed = needed
        ctx.save_for_backward(*gradients)
        return value.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor | None, ...]:
        by_row = gradient[0]
        slopes = iter(ctx.saved_tensors)

        def times(slope: Tensor) -> Tensor:
            return slope * by_row.reshape(*by_row.shape, *[1] * (slope.ndim - by_row.ndim))

        return None, *(times(next(slopes)) if needed else None for needed in ctx.needed)
