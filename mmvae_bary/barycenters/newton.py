"""Gaussians that minimise an objective, found by Newton's method for a batch at once."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from mmvae_bary.distributions import map_parameters, parameters, rebuild, uncompiled, where

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mmvae_bary.distributions import Gaussian

HALVINGS = 30  # of a step of Newton's method that leads uphill
FORCING, LOOSEST = 1e-4, 0.1  # residuals of a Newton direction relative to the gradient
EXACT = 1e-12  # and of the system that an implicit gradient solves


@uncompiled
def minimise(
    objective: Callable[[Gaussian], Tensor],
    starts: Sequence[Gaussian],
    tolerance: float,
    max_iterations: int,
) -> Gaussian:
    r"""The Gaussian at which an objective is smallest, with implicit gradients.

    Newton's method on mean and log-scale in units of the start: directions by conjugate gradients
    on products with the Hessian, lengths by halving. The gradient of what the objective closes
    over is :math:`-H^{-1} \partial^2 f / \partial x \partial\theta` at the minimum, however it
    was found, and takes the memory of one more evaluation. Whether to stop is asked after each
    step, for which a GPU is waited for.

    Args:
        objective: From a Gaussian of the starts' kind and batch shape ``(...)`` to values of that
            shape, twice differentiable; a row's value depends on that row alone.
        starts: Where to start, in float64: each row at the one where its objective is lowest.
        tolerance: The largest step, in standard deviations of the start, at which to stop.
        max_iterations: Steps after which to stop all the same, with a warning.
    """
    start = _lowest(objective, starts)
    dim = start.event_shape[0]

    def value(x: Tensor) -> Tensor:
        return objective(_move(start, x))

    x = start.mean.new_zeros(*start.batch_shape, _width(start))
    for _ in range(max_iterations):
        problem = _linearise(value, x, dim)
        step = -_solve(problem, problem.gradient.detach())
        x, taken = _descend(value, x, step, dim)
        if not (taken > tolerance).any():  # a row of NaN stands still
            break
    else:
        largest = taken.nan_to_num().amax().item()
        warnings.warn(
            f"barycenter: step of {largest:.1e} after {max_iterations} iterations, expected "
            f"at most {tolerance:.1e}",
            stacklevel=3,  # past what keeps it from being compiled
        )
    with torch.enable_grad():
        followed = value(x).requires_grad
    if followed and torch.is_grad_enabled():
        problem = _linearise(value, x, dim)
        x = x - (problem.gradient - problem.gradient.detach())  # zero, but it carries the graph
        x.register_hook(lambda g: g if g is None else _solve(problem, g, EXACT))
    return _move(start, x)


@torch.no_grad()
def _lowest(objective: Callable[[Gaussian], Tensor], starts: Sequence[Gaussian]) -> Gaussian:
    best = map_parameters(Tensor.detach, starts[0])
    lowest = objective(best)
    for start in starts[1:]:
        value = objective(start)
        best = where(value < lowest, start, best)
        lowest = torch.where(value < lowest, value, lowest)
    return best


def _width(p: Gaussian) -> int:
    """How many numbers make up a Gaussian: mean, log-scales and what is below a full scale's."""
    dim = p.event_shape[0]
    return dim + dim * (dim + 1) // 2 if isinstance(p, MultivariateNormal) else 2 * dim


def _move(start: Gaussian, x: Tensor) -> Gaussian:
    """The Gaussian that stands at ``x`` seen from the start, in the start's own units."""
    loc, scale = parameters(start)
    dim = loc.shape[-1]
    shift, log_scale, below = x[..., :dim], x[..., dim : 2 * dim], x[..., 2 * dim :]
    if not isinstance(start, MultivariateNormal):
        return rebuild(start, loc + scale * shift, scale * log_scale.exp())
    rows, columns = torch.tril_indices(dim, dim, -1, device=x.device)
    factor = torch.diag_embed(log_scale.exp())
    places = torch.zeros_like(factor)
    places[..., rows, columns] = below
    moved = (scale @ shift.unsqueeze(-1)).squeeze(-1)
    return rebuild(start, loc + moved, scale @ (factor + places))


class _Problem(NamedTuple):
    """An objective near a point.

    Attributes:
        gradient: Shape ``(..., N)``, differentiable in what the objective closes over.
        multiply: Products with the Hessian.
        precondition: Products with an approximate, positive definite inverse of the Hessian.
    """

    gradient: Tensor
    multiply: Callable[[Tensor], Tensor]
    precondition: Callable[[Tensor], Tensor]


def _linearise(value: Callable[[Tensor], Tensor], x: Tensor, dim: int) -> _Problem:
    with torch.enable_grad():
        variable = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(value(variable).sum(), variable, create_graph=True)

    def multiply(v: Tensor) -> Tensor:
        return torch.autograd.grad(gradient, variable, v, retain_graph=True)[0]

    return _Problem(gradient, multiply, _preconditioner(multiply, x, dim))


def _preconditioner(
    multiply: Callable[[Tensor], Tensor], x: Tensor, dim: int
) -> Callable[[Tensor], Tensor]:
    """Invert the Hessian's blocks of a dimension's mean and log-scale, and a mean beyond.

    They are read off products with vectors of signs; so the blocks are exact, and conjugate
    gradients done in one step, where a divergence adds up over dimensions.
    """
    signs = torch.arange(1, x.shape[-1] + 1, device=x.device).square().mul(2.4).cos().sign().to(x)
    place = torch.arange(x.shape[-1], device=x.device)

    def probe(first: int, last: int) -> Tensor:
        some = torch.where((place >= first) & (place < last), signs, 0.0)
        return multiply(some.expand_as(x)) * signs

    by_mean, by_scale = probe(0, dim), probe(dim, 2 * dim)
    a, b = _positive(by_mean[..., :dim]), _positive(by_scale[..., dim : 2 * dim])
    bound = 0.9 * (a * b).sqrt()
    mixed = by_scale[..., :dim] * signs[:dim] * signs[dim : 2 * dim]
    c = mixed.clamp(min=-bound, max=bound)
    determinant = a * b - c.square()
    rest = x[..., 2 * dim :]
    if rest.shape[-1]:
        beyond = probe(2 * dim, x.shape[-1])[..., 2 * dim :]
        rest = _positive(beyond.mean(-1, keepdim=True))

    def precondition(v: Tensor) -> Tensor:
        mean, scale = v[..., :dim], v[..., dim : 2 * dim]
        blocks = (b * mean - c * scale) / determinant, (a * scale - c * mean) / determinant
        return torch.cat([*blocks, v[..., 2 * dim :] / rest], -1)

    return precondition


def _positive(curvature: Tensor) -> Tensor:
    """Curvatures by their size, none far below the largest: so that no step is wild."""
    size = curvature.abs()
    largest = size.amax(-1, keepdim=True).clamp(min=torch.finfo(size.dtype).tiny)
    return size.maximum(1e-12 * largest)


def _solve(problem: _Problem, right: Tensor, relative: float | None = None) -> Tensor:
    """Solve a batch of systems with the Hessian by preconditioned conjugate gradients.

    To a residual relative to the right-hand side; if None, to the closer the smaller the step is
    already, for a long one is not worth exactness. Where the curvature is not positive, stop, or
    follow the preconditioned right-hand side.
    """
    residual, solution = right, torch.zeros_like(right)
    preconditioned = direction = problem.precondition(right)
    square = (residual * preconditioned).sum(-1, keepdim=True)
    if relative is None:
        enough = square * square.sqrt().clamp(FORCING**2, LOOSEST**2)
    else:
        enough = square * relative**2
    active = square > 0
    for number in range(2 * right.shape[-1]):
        product = problem.multiply(direction)
        curvature = (direction * product).sum(-1, keepdim=True)
        if not number:
            solution = torch.where(curvature > 0, solution, direction)
        active = active & (curvature > 0) & (square > enough)
        if not active.any():
            break
        length = torch.where(active, square / torch.where(active, curvature, 1), 0)
        solution = solution + length * direction
        residual = residual - length * product
        preconditioned = problem.precondition(residual)
        after = (residual * preconditioned).sum(-1, keepdim=True)
        share = torch.where(active, after / torch.where(active, square, 1), 0)
        direction, square = preconditioned + share * direction, after
    return solution


@torch.no_grad()
def _descend(
    value: Callable[[Tensor], Tensor], x: Tensor, step: Tensor, dim: int
) -> tuple[Tensor, Tensor]:
    """Halve steps until they lead no longer uphill; the point and the largest step taken.

    To begin with no scale changes by more than a factor of e^2, beyond which a quadratic model
    says nothing.
    """
    length = (2 / step[..., dim:].abs().amax(-1, keepdim=True)).clamp(max=1)
    before = value(x).unsqueeze(-1)
    slack = 1e-12 * before.abs() + 1e-15
    for _ in range(HALVINGS):
        after = value(x + length * step).unsqueeze(-1)
        uphill = ~(after <= before + slack) & before.isfinite()
        if not uphill.any():
            break
        length = torch.where(uphill, length / 2, length)
    taken = length * step
    return x + taken, taken.abs().amax(-1)
