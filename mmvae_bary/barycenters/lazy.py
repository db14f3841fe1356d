"""Mixtures whose components are fused when they are needed, a few rows at a time."""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from mmvae_bary.distributions import Mixture, parameters, rebuild, unsqueeze_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mmvae_bary.barycenters.base import Barycenter
    from mmvae_bary.distributions import Gaussian

FUSED_ELEMENTS = 2**19  # of the scales fused at once: 2 MiB in float32, which caches hold


def exceed_caches(experts: Gaussian, members: Tensor) -> bool:
    """Whether the components of K subsets, ``(..., K, M)``, are more than are fused at once."""
    rows = torch.broadcast_shapes((*experts.batch_shape[:-1], 1), members.shape[:-1])
    number: int = rows.numel() * experts.event_shape.numel()
    return number > FUSED_ELEMENTS


class LazyMixture(Mixture):
    """A mixture over subsets that does without having all its components in memory.

    A training step draws from one component of a row, which is fused alone, and averages a
    divergence over all, which is computed for a few rows at a time, together with its gradient:
    on a CPU the memory of all components costs more than their arithmetic. Whatever else is
    asked of the mixture fuses them all, from the experts as they then are; draws and averages do
    not go through those components, and leave them without gradients of their own.

    Args:
        inner: The barycenter of each subset, one that works ``by_rows``.
        experts: Gaussians of batch shape ``(..., M)``.
        members: What each of K subsets weighs the experts by, of shape ``(..., K, M)``. They and
            the weights have no gradients.
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
        with torch.inference_mode(False), torch.enable_grad():  # whoever is the first to ask
            return self._fuse(unsqueeze_batch(self._experts), self._members)

    def take(self, index: Tensor) -> Gaussian:
        """As :meth:`Mixture.take`."""
        if index.numel() > self.weights.numel():  # more draws than components
            return super().take(index)
        chosen = index[..., None, None].expand(*index.shape, 1, self._members.shape[-1])
        members = self._members.expand(*index.shape, *self._members.shape[-2:])
        return self._fuse(self._experts, members.take_along_dim(chosen, -2).squeeze(-2))

    def average(self, function: Callable[[Gaussian], Tensor]) -> Tensor:
        """As :meth:`Mixture.average`, a few rows of the first batch dimension at a time."""
        if not self.batch_shape or not torch.is_grad_enabled():
            return super().average(function)

        def of_rows(members: Tensor, weights: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
            experts = unsqueeze_batch(rebuild(self._experts, loc, scale))
            return Mixture(self._fuse(experts, members), weights).average(function)

        loc, scale = parameters(self._experts)
        first = loc.ndim - 2  # the dimension of the experts
        tensors = [x.expand(*self.batch_shape, *x.shape[first:]) for x in (loc, scale)]
        row = self.weights.shape[1:].numel() * scale.shape[first + 1 :].numel()
        size = max(1, FUSED_ELEMENTS // max(1, row))
        parts = [x.split(size) for x in (self._members, self.weights, *tensors)]
        with torch.autocast(loc.device.type, enabled=False):  # of the gradients as well
            values = [
                _WithGradient.apply(partial(of_rows, members, weights), loc, scale)
                for members, weights, loc, scale in zip(*parts, strict=True)
            ]
        return torch.cat(values)

    def _fuse(self, experts: Gaussian, weights: Tensor) -> Gaussian:
        with torch.autocast(weights.device.type, enabled=False):
            fused: Gaussian = self._inner.fuse(experts, weights)  # type: ignore[assignment]
        return fused


class _WithGradient(torch.autograd.Function):
    """A function of rows whose gradient is computed at once, while its values are in caches."""

    @staticmethod
    def forward(ctx: Any, function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
        with torch.enable_grad():
            inputs = [
                x.detach().requires_grad_(needed)
                for x, needed in zip(tensors, ctx.needs_input_grad[1:], strict=True)
            ]
            value = function(*inputs)
            gradients = torch.autograd.grad(value.sum(), _followed(inputs), materialize_grads=True)
        ctx.function = function
        ctx.save_for_backward(*tensors, *gradients)
        return value.detach()

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor | None, ...]:
        by_row = gradient[0]
        number = len(ctx.needs_input_grad) - 1
        tensors, found = ctx.saved_tensors[:number], ctx.saved_tensors[number:]
        if torch.is_grad_enabled():  # this gradient is to be differentiated
            value = ctx.function(*tensors)
            by_input = torch.autograd.grad(
                value, _followed(tensors), by_row, create_graph=True, materialize_grads=True
            )
        else:
            by_input = tuple(_times(x, by_row) for x in found)
        rest = iter(by_input)
        return None, *(next(rest) if needed else None for needed in ctx.needs_input_grad[1:])


def _followed(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [x for x in tensors if x.requires_grad]


def _times(slope: Tensor, by_row: Tensor) -> Tensor:
    return slope * by_row.reshape(*by_row.shape, *[1] * (slope.ndim - by_row.ndim))
