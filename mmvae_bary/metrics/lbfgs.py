"""L-BFGS for a batch of convex problems, each with a memory and a step length of its own."""

from __future__ import annotations

import warnings
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

MEMORY = 10  # steps remembered
HALVINGS = 20  # of a step that leads too far
STEEPEST = 0.5  # that it may lead up where it ends, of how steeply it leads down where it begins


class Problems(Protocol):
    """K convex objectives of points ``(K, C, D)``, of each by way of logits linear in it."""

    def logits(self, point: Tensor) -> Tensor:
        """Whatever is linear in the point, of shape ``(K, ...)``."""

    def slope(self, point: Tensor, logits: Tensor, direction: Tensor, along: Tensor) -> Tensor:
        """The derivative in a direction, along which logits change so: shape ``(K, 1, 1)``."""

    def gradient(self, point: Tensor, logits: Tensor) -> Tensor:
        """The point's shape."""


class _Step(NamedTuple):
    """A step that was taken, the gradient's change along it, and one over their product."""

    moved: Tensor
    change: Tensor
    rate: Tensor


@torch.no_grad()
def lbfgs(problems: Problems, point: Tensor, tolerance: Tensor, max_iterations: int) -> Tensor:
    """The points at which problems are smallest.

    Steps are judged by slopes alone: near the minimum the differences of values are rounding.
    Along a step logits are known, so it takes two products of matrices.

    Args:
        problems: What to minimise.
        point: Where to start, of shape ``(K, C, D)``.
        tolerance: The largest entry of a gradient at which a problem is solved: ``(K, 1, 1)``.
        max_iterations: Steps after which to stop all the same.

    References:
        Nocedal and Wright, Numerical Optimization, 2006, algorithm 7.4.
    """
    logits = problems.logits(point)
    gradient = problems.gradient(point, logits)
    memory: deque[_Step] = deque(maxlen=MEMORY)
    for _ in range(max_iterations):
        unsolved = _largest(gradient) > tolerance
        if not unsolved.any():
            break
        direction = -_scaled(gradient, memory)
        along = problems.logits(direction)
        steepest = STEEPEST * _dot(gradient, direction).abs()
        length = unsolved.to(point)
        for _ in range(HALVINGS):
            end = point + length * direction, logits + length * along
            far = problems.slope(*end, direction, along) > steepest
            if not (far & unsolved).any():
                break
            length = torch.where(far, length / 2, length)
        moved = length * direction
        point, logits = point + moved, logits + length * along
        after = problems.gradient(point, logits)
        memory.append(_step(moved, after - gradient))
        gradient = after
    else:
        worst = (_largest(gradient) / tolerance).argmax()
        warnings.warn(
            f"L-BFGS: gradient of {_largest(gradient).flatten()[worst].item():.1e} after "
            f"{max_iterations} steps, expected at most {tolerance.flatten()[worst].item():.1e}",
            stacklevel=2,
        )
    return point


def _scaled(gradient: Tensor, steps: Sequence[_Step]) -> Tensor:
    """The gradient times the approximate inverse of the Hessian that the steps tell of."""
    if not steps:
        return gradient / gradient.abs().sum((1, 2), keepdim=True).clamp(min=1)
    shares = []
    for moved, change, rate in reversed(steps):
        shares.append(rate * _dot(moved, gradient))
        gradient = gradient - shares[-1] * change
    last = steps[-1]
    scale = 1 / (last.rate * _dot(last.change, last.change))
    gradient = gradient * torch.where(last.rate > 0, scale, 1)
    for (moved, change, rate), share in zip(steps, reversed(shares), strict=True):
        gradient = gradient + (share - rate * _dot(change, gradient)) * moved
    return gradient


def _step(moved: Tensor, change: Tensor) -> _Step:
    product = _dot(moved, change)
    return _Step(moved, change, torch.where(product > 0, 1 / product, 0))


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((1, 2), keepdim=True)


def _largest(gradient: Tensor) -> Tensor:
    return gradient.abs().amax((1, 2), keepdim=True)
