"""Barycenters under any divergence, found by Newton's method (Eq. 4 of the paper)."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from mmvae_bary.barycenters.base import Barycenter, normalized, weighted_sum
from mmvae_bary.distributions import as_double, map_parameters, parameters, rebuild

if TYPE_CHECKING:
    from collections.abc import Callable

    from mmvae_bary.barycenters.base import Divergence
    from mmvae_bary.distributions import Gaussian

HALVINGS = 30  # of a step of Newton's method that leads uphill


class NumericalBarycenter(Barycenter):
    r"""The Gaussian that minimises any divergence from the experts (Eq. 4 of the paper).

    .. math:: \tilde q = \arg\min_q \sum_m \lambda_m \, d(q_m, q)

    One function of two distributions is all it takes. The problems of a batch are solved at once,
    in float64, by Newton's method on mean and log-scale: directions by conjugate gradients on
    products with the Hessian, lengths by halving. Gradients are implicit, of experts, weights and
    the divergence's own parameters alike, in the memory of one more evaluation. Weights are scaled
    to sum to one.

    Args:
        divergence: From an expert and a Gaussian of its kind, diagonal or full, to a tensor of
            their broadcast batch shape, twice differentiable, smallest where they agree.
        tolerance: The largest step, in standard deviations, at which Newton's method stops.
        max_iterations: Steps after which it stops all the same, with a warning.

    Example:
        >>> from mmvae_bary.distributions import diagonal_gaussian
        >>> from mmvae_bary.divergences import wasserstein
        >>> experts = diagonal_gaussian(torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [3.0]]))
        >>> NumericalBarycenter(wasserstein)(experts).stddev
        tensor([2.])
    """

    def __init__(
        self, divergence: Divergence, tolerance: float = 1e-7, max_iterations: int = 50
    ) -> None:
        super().__init__()
        self.divergence = divergence  # type: ignore[misc]
        self.tolerance = tolerance
        self.max_iterations = max_iterations

    def fuse(self, experts: Gaussian, weights: Tensor) -> Gaussian:
        weights, wide = as_double(normalized(weights)), map_parameters(as_double, experts)
        start = _average(wide, weights)

        def objective(x: Tensor) -> Tensor:
            q = map_parameters(lambda t: t.unsqueeze(len(start.batch_shape)), _move(start, x))
            return (weights * self.divergence(wide, q)).sum(-1)

        x = self._minimise(objective, start.mean.new_zeros(*start.batch_shape, _width(start)))
        return map_parameters(lambda t: t.to(experts.mean), _move(start, x))

    def _minimise(self, objective: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        for _ in range(self.max_iterations):
            gradient, multiply = _linearise(objective, x)
            step = -_conjugate_gradients(multiply, gradient.detach(), x.shape[-1])
            x, taken = _descend(objective, x, step)
            if not taken > self.tolerance:  # also where it is NaN
                break
        else:
            warnings.warn(
                f"NumericalBarycenter: step of {taken.item():.1e} after {self.max_iterations} "
                f"iterations, expected at most {self.tolerance:.1e}",
                stacklevel=2,
            )
        if not objective(x).requires_grad:
            return x
        gradient, multiply = _linearise(objective, x)
        result = x - gradient  # zero but for rounding; it carries the graph
        result.register_hook(
            lambda g: g if g is None else _conjugate_gradients(multiply, g, x.shape[-1])
        )
        return result


def _average(experts: Gaussian, weights: Tensor) -> Gaussian:
    """Where to start: means and scales averaged."""
    loc, scale = (t.detach() for t in parameters(experts))
    flat = weighted_sum(weights.detach(), scale.flatten(loc.ndim - 1))
    flat = flat.unflatten(-1, scale.shape[loc.ndim - 1 :])
    return rebuild(experts, weighted_sum(weights.detach(), loc), flat)


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


def _linearise(
    objective: Callable[[Tensor], Tensor], x: Tensor
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """The gradient, differentiable in what the objective closes over, and Hessian products."""
    with torch.enable_grad():
        variable = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(objective(variable).sum(), variable, create_graph=True)

    def multiply(v: Tensor) -> Tensor:
        return torch.autograd.grad(gradient, variable, v, retain_graph=True)[0]

    return gradient, multiply


def _conjugate_gradients(
    multiply: Callable[[Tensor], Tensor], right: Tensor, max_iterations: int
) -> Tensor:
    """Solve a batch of systems; where the curvature is not positive, stop or follow the right."""
    solution, residual, direction = torch.zeros_like(right), right, right
    square = residual.square().sum(-1, keepdim=True)
    enough = 1e-24 * square
    active = square > 0
    for number in range(2 * max_iterations):
        product = multiply(direction)
        curvature = (direction * product).sum(-1, keepdim=True)
        if not number:
            solution = torch.where(curvature > 0, solution, right)
        active = active & (curvature > 0) & (square > enough)
        if not active.any():
            break
        length = torch.where(active, square / torch.where(active, curvature, 1), 0)
        solution = solution + length * direction
        residual = residual - length * product
        after = residual.square().sum(-1, keepdim=True)
        direction = (
            residual + torch.where(active, after / torch.where(active, square, 1), 0) * direction
        )
        square = after
    return solution


@torch.no_grad()
def _descend(
    objective: Callable[[Tensor], Tensor], x: Tensor, step: Tensor
) -> tuple[Tensor, Tensor]:
    """Halve steps until they lead no longer uphill; the point and the largest step taken."""
    length = step.new_ones(*step.shape[:-1], 1)
    before = objective(x).unsqueeze(-1)
    slack = 1e-12 * before.abs() + 1e-15
    for _ in range(HALVINGS):
        after = objective(x + length * step).unsqueeze(-1)
        uphill = ~(after <= before + slack)
        if not uphill.any():
            break
        length = torch.where(uphill, length / 2, length)
    taken = length * step
    return x + taken, taken.abs().amax()
