"""Fixed points and their gradients, without the iterations that led there."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmvae_bary.distributions import uncompiled

if TYPE_CHECKING:
    from collections.abc import Callable


class FixedPoint:
    r"""Iterate a map until it stands still; the fixed point has implicit gradients.

    With :math:`x = f(x, \theta)` and a gradient :math:`g` of :math:`x`, the gradient of
    :math:`\theta` is :math:`v^\top \partial f / \partial\theta`, where :math:`v` is the fixed
    point of :math:`v = g + v^\top \partial f / \partial x`; it is iterated like :math:`x`. What is
    kept for it are the graphs of two steps; it cannot be differentiated again. Whether to stop is
    asked after each step, for which a GPU is waited for.

    Args:
        tolerance: The last step, relative to the point in the norm of its last two dimensions, at
            which to stop.
        max_iterations: Iterations after which to stop all the same, with a warning.

    Raises:
        ValueError: If either is not above zero.

    References:
        Bai, Kolter and Koltun, Deep Equilibrium Models, NeurIPS 2019.
    """

    def __init__(self, tolerance: float, max_iterations: int) -> None:
        check_limits(tolerance, max_iterations)
        self.tolerance = tolerance
        self.max_iterations = max_iterations

    @uncompiled
    def __call__(self, step: Callable[[Tensor], Tensor], start: Tensor) -> Tensor:
        """The fixed point of ``step``, which is differentiable in all that it closes over."""
        with torch.no_grad():
            point = self._iterate(step, start, "barycenter")
        result = step(point)
        if result.requires_grad:
            variable = point.detach().requires_grad_()
            image = step(variable)

            def adjoint(gradient: Tensor | None) -> Tensor | None:
                if gradient is None:
                    return None

                def pull(v: Tensor) -> Tensor:
                    return gradient + torch.autograd.grad(image, variable, v, retain_graph=True)[0]

                return self._iterate(pull, gradient, "gradient of a barycenter")

            result.register_hook(adjoint)
        return result

    def _iterate(self, step: Callable[[Tensor], Tensor], point: Tensor, what: str) -> Tensor:
        for _ in range(self.max_iterations):
            after = step(point)
            residual = _relative(after, point)
            point = after
            if not (residual > self.tolerance).any():  # a row of NaN stands still
                return point
        largest = residual.nan_to_num().amax().item()
        warnings.warn(
            f"{what}: residual {largest:.1e} after {self.max_iterations} iterations, "
            f"expected at most {self.tolerance:.1e}",
            stacklevel=2,
        )
        return point


def check_limits(tolerance: float, max_iterations: int) -> None:
    """Refuse an iteration that could not stop, or not start.

    Raises:
        ValueError: If either is not above zero.
    """
    if not tolerance > 0 or max_iterations < 1:
        raise ValueError(
            f"got tolerance={tolerance} and max_iterations={max_iterations}, expected both above "
            "zero"
        )


def _relative(after: Tensor, before: Tensor) -> Tensor:
    size = torch.linalg.matrix_norm(after).clamp(min=torch.finfo(after.dtype).tiny)
    distance: Tensor = torch.linalg.matrix_norm(after - before) / size
    return distance
