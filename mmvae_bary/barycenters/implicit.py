"""Fixed points and their gradients, without the iterations that led there."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable


def fixed_point(
    step: Callable[[Tensor], Tensor],
    start: Tensor,
    distance: Callable[[Tensor, Tensor], Tensor],
    tolerance: float,
    max_iterations: int,
) -> Tensor:
    r"""Iterate a map until it stands still, and return its fixed point with implicit gradients.

    With :math:`x = f(x, \theta)` and a gradient :math:`g` of :math:`x`, the gradient of
    :math:`\theta` is :math:`v^\top \partial f / \partial\theta`, where :math:`v` is the fixed
    point of :math:`v = g + v^\top \partial f / \partial x`; it is iterated like :math:`x`, in the
    memory of one step.

    Args:
        step: The map, differentiable in its argument and in what it closes over.
        start: Where to start.
        distance: Of two points, in the unit of the tolerance, one for each of a batch.
        tolerance: The largest distance between the last two points.
        max_iterations: Iterations after which to stop all the same, with a warning.

    References:
        Bai, Kolter and Koltun, Deep Equilibrium Models, NeurIPS 2019.
    """
    with torch.no_grad():
        point = _iterate(step, start, distance, tolerance, max_iterations, "barycenter")
    result = step(point)
    if result.requires_grad:
        variable = point.detach().requires_grad_()
        image = step(variable)

        def adjoint(gradient: Tensor | None) -> Tensor | None:
            if gradient is None:
                return None

            def pull(v: Tensor) -> Tensor:
                return gradient + torch.autograd.grad(image, variable, v, retain_graph=True)[0]

            return _iterate(pull, gradient, distance, tolerance, max_iterations, "its gradient")

        result.register_hook(adjoint)
    return result


def _iterate(
    step: Callable[[Tensor], Tensor],
    point: Tensor,
    distance: Callable[[Tensor, Tensor], Tensor],
    tolerance: float,
    max_iterations: int,
    what: str,
) -> Tensor:
    for _ in range(max_iterations):
        after = step(point)
        residual = distance(after, point).amax()
        point = after
        if not residual > tolerance:  # also where it is NaN
            return point
    warnings.warn(
        f"{what}: residual {residual.item():.1e} after {max_iterations} iterations, expected at "
        f"most {tolerance:.1e}",
        stacklevel=2,
    )
    return point
