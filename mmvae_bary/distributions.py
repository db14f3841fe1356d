"""Diagonal and full Gaussians as torch distributions, mixtures of them, and seeded draws.

A Gaussian is an ``Independent(Normal)`` with one event dimension (diagonal) or a
``MultivariateNormal`` (full covariance); every helper takes both and returns what it was given.

Densities, moments of mixtures and their gradients saturate at :func:`largest` where float32 would
overflow. Gradients in float16 may still become infinite, which is what gradient scalers look for.
"""

from __future__ import annotations

import math
import os
from contextlib import contextmanager
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar, cast

import numpy as np
import torch
from torch import Size, Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal, constraints

from mmvae_bary.markup import Words, html_table, sizes, span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

F = TypeVar("F", bound="Callable[..., Any]")
DiagonalGaussian: TypeAlias = "Independent[Normal]"
Gaussian: TypeAlias = "DiagonalGaussian | MultivariateNormal"
Posterior: TypeAlias = "Gaussian | Mixture"


def diagonal_gaussian(loc: Tensor, scale: Tensor) -> DiagonalGaussian:
    """The Gaussian with independent coordinates of mean ``loc`` and standard deviation ``scale``.

    Args:
        loc: Means of shape ``(..., D)``.
        scale: Standard deviations of shape ``(..., D)``, positive.

    Returns:
        A distribution with batch shape ``(...)`` and event shape ``(D,)``.

    Example:
        >>> diagonal_gaussian(torch.zeros(3, 2), torch.ones(3, 2)).batch_shape
        torch.Size([3])
    """
    return _Diagonal(SaturatingNormal(loc, scale, validate_args=False), 1, validate_args=False)


def full_gaussian(loc: Tensor, scale_tril: Tensor) -> MultivariateNormal:
    """The Gaussian of mean ``loc`` and covariance ``scale_tril @ scale_tril.mT``.

    Args:
        loc: Means of shape ``(..., D)``.
        scale_tril: Cholesky factors of shape ``(..., D, D)``, lower triangular.
    """
    return _Full(loc, scale_tril=scale_tril, validate_args=False)


def standard_gaussian(p: Distribution) -> Gaussian:
    """The standard normal like ``p``, or like its components where it is a mixture.

    It takes no memory for the batch: its parameters are expanded views.
    """
    if isinstance(p, Mixture):
        p = p.components
    loc, scale = parameters(p)
    unit = scale.new_ones(1)
    if scale.ndim > loc.ndim:
        unit = torch.eye(loc.shape[-1], dtype=scale.dtype, device=scale.device)
    return rebuild(p, loc.new_zeros(1).expand_as(loc), unit.expand_as(scale))


def parameters(p: Distribution) -> tuple[Tensor, Tensor]:
    """Mean and scale of a Gaussian.

    Returns:
        The mean, of shape ``(..., D)``, and the standard deviations, of shape ``(..., D)``, of a
        diagonal Gaussian or the Cholesky factor, of shape ``(..., D, D)``, of a full one.

    Raises:
        TypeError: If ``p`` is not a Gaussian of either kind.
    """
    if isinstance(p, MultivariateNormal):
        return p.loc, p.scale_tril
    if isinstance(p, Independent) and isinstance(p.base_dist, Normal):
        return p.base_dist.loc, p.base_dist.scale
    raise TypeError(
        f"got a {type(p).__name__}, expected a Gaussian: Independent(Normal) or MultivariateNormal"
    )


def diagonal_parameters(p: Distribution) -> tuple[Tensor, Tensor]:
    """Mean and standard deviations, each of shape ``(..., D)``, of a diagonal Gaussian.

    Raises:
        TypeError: If ``p`` is not a diagonal Gaussian.
    """
    if isinstance(p, MultivariateNormal):
        raise TypeError("got a MultivariateNormal, expected a diagonal Gaussian")
    return parameters(p)


def rebuild(like: Distribution, loc: Tensor, scale: Tensor) -> Gaussian:
    """A Gaussian of the family of ``like`` from what :func:`parameters` returns."""
    if isinstance(like, MultivariateNormal):
        return full_gaussian(loc, scale)
    return diagonal_gaussian(loc, scale)


def map_parameters(function: Callable[..., Tensor], *gaussians: Gaussian) -> Gaussian:
    """Apply a function of the batch dimensions to the parameters of Gaussians of one family."""
    locs, scales = zip(*map(parameters, gaussians), strict=True)
    return rebuild(gaussians[0], function(*locs), function(*scales))


def stack(gaussians: Sequence[Gaussian]) -> Gaussian:
    """Stack Gaussians of batch shape ``(...)`` to one of batch shape ``(..., M)``."""
    dim = len(gaussians[0].batch_shape)
    return map_parameters(lambda *tensors: torch.stack(tensors, dim), *gaussians)


def where(condition: Tensor, p: Gaussian, q: Gaussian) -> Gaussian:
    """Take ``p`` where the condition, of their batch shape, holds, and ``q`` elsewhere."""
    return map_parameters(lambda a, b: torch.where(_lift(condition, a, p), a, b), p, q)


def unsqueeze_batch(p: Gaussian) -> Gaussian:
    """Give a Gaussian of batch shape ``(..., M)`` the batch shape ``(..., 1, M)``."""
    dim = len(p.batch_shape) - 1
    return map_parameters(lambda tensor: tensor.unsqueeze(dim), p)


def unsqueeze_last(p: Gaussian) -> Gaussian:
    """Give a Gaussian of batch shape ``(...)`` the batch shape ``(..., 1)``."""
    dim = len(p.batch_shape)
    return map_parameters(lambda tensor: tensor.unsqueeze(dim), p)


def append_standard(p: Gaussian) -> Gaussian:
    """Append a standard normal to Gaussians of batch shape ``(..., K)``."""
    dim = len(p.batch_shape) - 1

    def append(tensor: Tensor, standard: Tensor) -> Tensor:
        return torch.cat([tensor, standard.narrow(dim, 0, 1)], dim)

    return map_parameters(append, p, standard_gaussian(p))


def select(p: Posterior, index: int) -> Posterior:
    """The distributions at an index of the first batch dimension."""
    if isinstance(p, Mixture):
        return Mixture(map_parameters(lambda x: x[index], p.components), p.weights[index])
    return map_parameters(lambda tensor: tensor[index], p)


def log_density(p: Distribution, value: Tensor) -> Tensor:
    """The log-density, in nats; of full covariances in float64, for torch squares their scales."""
    if not isinstance(p, MultivariateNormal):
        density: Tensor = p.log_prob(value)
        return density
    wide = full_gaussian(*map(as_double, parameters(p)))
    return narrowed(wide.log_prob(as_double(value)), p.loc)


def at_least_float32(tensor: Tensor) -> Tensor:
    """The tensor in float32 where it is in half precision, unchanged elsewhere."""
    return tensor.float() if tensor.dtype in {torch.float16, torch.bfloat16} else tensor


def as_double(tensor: Tensor) -> Tensor:
    """The tensor in float64; on the CPU where its device, as Apple's, has none.

    Its gradient saturates at :func:`largest` of the tensor's precision.
    """
    tensor = at_least_float32(tensor)
    if tensor.dtype == torch.float64:
        return tensor
    wide: Tensor = _AsDouble.apply(tensor)
    return wide


def narrowed(tensor: Tensor, like: Tensor) -> Tensor:
    """A tensor in float64, in the precision of another but at least float32.

    It saturates there at :func:`largest`; its gradient is what it would be without.
    """
    if like.dtype == torch.float64:
        return tensor
    dtype = at_least_float32(like).dtype
    return saturated(tensor, largest(dtype)).to(dtype).to(like.device)


def largest(dtype: torch.dtype) -> float:
    """At what numbers saturate: 2^-30 of the largest there is, 3.2e29 in float32.

    So that their sum over a batch is finite as well.
    """
    return torch.finfo(dtype).max * 2.0**-30


def saturated(tensor: Tensor, limit: float) -> Tensor:
    """The tensor between -limit and limit; its gradient is what it would be without."""
    result: Tensor = _Saturated.apply(tensor, limit)
    return result


def standardized(value: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    r"""Deviations in units of the scale, whose squares and gradients saturate.

    .. math:: (x - \mu) / \sigma

    The deviations, in float32 or wider, saturate at the root of :func:`largest`, 5.6e14 in
    float32; their gradients are what they would be without, but not above :func:`largest`.
    """
    result: Tensor = _Standardized.apply(*map(at_least_float32, (value, loc, scale)))
    return result


class _AsDouble(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        ctx.dtype, ctx.device = tensor.dtype, tensor.device
        return (tensor.cpu() if tensor.is_mps else tensor).double()

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> Tensor:
        limit = largest(ctx.dtype)
        return gradient[0].clamp(-limit, limit).to(ctx.dtype).to(ctx.device)


class _Saturated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, limit: float) -> Tensor:
        return tensor.clamp(-limit, limit)

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor, None]:
        return gradient[0], None


class _Standardized(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
        deviation = (value - loc) / scale
        limit = math.sqrt(largest(deviation.dtype))
        # compiled by torch 2.11, what was changed in place has no gradient, but a view of it has
        deviation = deviation.clamp_(-limit, limit).view_as(deviation)
        ctx.save_for_backward(deviation, scale)
        return deviation

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        deviation, scale = ctx.saved_tensors
        limit = largest(deviation.dtype)
        by_value = (gradient[0] / scale).clamp(-limit, limit)
        by_scale = None
        if ctx.needs_input_grad[2]:  # seldom of a likelihood
            by_scale = -(by_value * deviation).clamp(-limit, limit)
        return by_value, -by_value, by_scale


def take(p: Gaussian, index: Tensor) -> Gaussian:
    """Take one of the Gaussians along the last batch dimension.

    Args:
        p: Gaussians of batch shape ``(..., K)``.
        index: Integers in ``[0, K)`` of shape ``(*sample_shape, ...)``.

    Returns:
        Gaussians whose batch shape is the shape of ``index``.
    """

    def pick(tensor: Tensor) -> Tensor:
        event = tensor.shape[len(p.batch_shape) :]
        source = tensor.expand(*index.shape, p.batch_shape[-1], *event)
        chosen = index.reshape(*index.shape, *[1] * (1 + len(event)))
        chosen = chosen.expand(*index.shape, 1, *event)
        return source.take_along_dim(chosen, index.ndim).squeeze(index.ndim)

    return map_parameters(pick, p)


def _lift(condition: Tensor, tensor: Tensor, p: Gaussian) -> Tensor:
    return condition.reshape(*condition.shape, *[1] * (tensor.ndim - len(p.batch_shape)))


class SaturatingNormal(Normal):
    """A normal distribution whose log-density is finite, and so are its gradients.

    Where torch squares a scale, which leaves the range of float32 beyond 1e-19 and 1e19, this
    squares the deviation in units of the scale, which is :func:`standardized`.
    """

    sample = Distribution.sample  # Normal's looks for negative scales, for which a GPU waits

    def log_prob(self, value: Tensor) -> Tensor:
        """The log-density, in nats, in float32 or wider; not below -1.6e29 for that in float32."""
        log_scale = at_least_float32(self.scale).log() + math.log(2 * math.pi) / 2
        return standardized(value, self.loc, self.scale).square().mul(-0.5) - log_scale


class _Diagonal(Independent):  # type: ignore[type-arg]
    @property
    def stddev(self) -> Tensor:
        """Not the root of a variance, which may overflow."""
        scale: Tensor = self.base_dist.stddev
        return scale

    def _repr_html_(self) -> str:
        return _shown("diagonal Gaussian", self)


class _Full(MultivariateNormal):
    def _repr_html_(self) -> str:
        return _shown("Gaussian of full covariance", self)


class Mixture(Distribution):
    r"""A finite mixture with reparametrised, stratified draws and an exact density.

    .. math:: q(z) = \sum_{k=1}^K w_k \, q_k(z)

    ``torch.distributions.MixtureSameFamily`` has no ``rsample`` and gives a component of weight
    zero a density; here it has none.

    Args:
        components: Gaussians of batch shape ``(..., K)``.
        weights: Shape ``(..., K)``, non-negative, sum to one over the last dimension.

    Example:
        >>> components = diagonal_gaussian(torch.tensor([[-1.0], [1.0]]), torch.ones(2, 1))
        >>> mixture = Mixture(components, torch.tensor([0.5, 0.5]))
        >>> mixture.mean, mixture.variance, mixture.rsample((5,)).shape
        (tensor([0.]), tensor([2.]), torch.Size([5, 1]))
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, components: Gaussian, weights: Tensor) -> None:
        self._components = components
        self.weights = weights.expand(components.batch_shape)
        shape = components.batch_shape[:-1]
        super().__init__(shape, components.event_shape, validate_args=False)

    @property
    def components(self) -> Gaussian:
        """The components, of batch shape ``(..., K)``."""
        return self._components

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> Mixture:
        """The same mixture with its batch dimensions expanded, without a copy."""
        shape = Size(batch_shape) + self.components.batch_shape[-1:]
        return Mixture(self.components.expand(shape), self.weights.expand(shape))

    def choose(self, sample_shape: Sequence[int] = ()) -> Gaussian:
        """Draw one component for every draw of the mixture.

        The draws are stratified: ``n`` evenly spaced levels of the cumulated weights, shifted
        together by a random amount, go to the ``n`` draws in random order. Every draw sees each
        component with exactly its weight, and together they hold each as evenly as ``n`` allows.

        Returns:
            The chosen Gaussians, of batch shape ``(*sample_shape, *batch_shape)``.
        """
        shape = (*sample_shape, *self.batch_shape)
        n = prod(shape)
        device = self.weights.device
        position = (torch.randperm(n, device=device) + torch.rand(1, device=device)) / n
        cumulated = self.weights.detach().cumsum(-1)
        # kept below one, lest rounding choose a component past the last of positive weight
        level = position.reshape(*shape, 1).clamp(max=1 - 1e-6) * cumulated[..., -1:]
        return self.take((level >= cumulated[..., :-1]).sum(-1))

    def take(self, index: Tensor) -> Gaussian:
        """One component for every draw, by numbers of shape ``(*sample_shape, *batch_shape)``."""
        return take(self.components, index)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw samples of shape ``(*sample_shape, *batch_shape, D)``.

        The gradient reaches the parameters of the chosen components, not the weights.
        """
        return self.choose(sample_shape).rsample()

    def log_prob(self, value: Tensor) -> Tensor:
        """The exact log-density, in nats, at points of shape ``(..., D)``."""
        positive = self.weights > 0
        log_weights = torch.where(positive, self.weights, 1.0).log()
        densities = log_density(self.components, value.unsqueeze(-1 - len(self.event_shape)))
        terms = (log_weights + densities).masked_fill(~positive, -torch.inf)
        return torch.logsumexp(terms, -1)

    def weight_ratio(self, value: Tensor) -> Tensor:
        r"""One at every draw, with the gradient for the weights that draws do not have.

        .. math:: \nabla_w \mathbb{E}_q[f(z)] = \mathbb{E}_q[f(z) \nabla_w \log q(z)]

        Args:
            value: Draws of shape ``(..., D)``.

        Returns:
            Ones of shape ``(...)``, whose gradient is that of the log-density in the weights.
        """
        components = map_parameters(Tensor.detach, self.components)
        density = Mixture(components, self.weights).log_prob(value.detach())
        return (density - density.detach()).exp()

    def average(self, function: Callable[[Gaussian], Tensor]) -> Tensor:
        """The weighted mean over the components of a function of each, of shape ``(...)``.

        Args:
            function: From Gaussians to a tensor of their batch shape. It depends on them alone,
                row by row, for it may be given some rows at a time.
        """
        return self._mean_of(function(self.components).unsqueeze(-1)).squeeze(-1)

    @property
    def mean(self) -> Tensor:
        """The mean, of shape ``(*batch_shape, D)``."""
        return self._mean_of(self.components.mean)

    @property
    def variance(self) -> Tensor:
        """The variance of each coordinate, of shape ``(*batch_shape, D)``; it may saturate."""
        return narrowed(self._variance(), self.weights)

    @property
    def stddev(self) -> Tensor:
        """The standard deviation of each coordinate, of shape ``(*batch_shape, D)``."""
        return narrowed(self._variance().sqrt(), self.weights)

    def entropy_bounds(self) -> tuple[Tensor, Tensor]:
        r"""A lower and an upper bound of the entropy, in nats, which has no closed form.

        .. math:: \sum_k w_k H(q_k) \le H(q) \le \sum_k w_k H(q_k) - \sum_k w_k \log w_k
        """
        lower = self.average(lambda components: components.entropy())
        return lower, lower + torch.special.entr(self.weights).sum(-1)

    def __repr__(self) -> str:
        return f"Mixture({self.components.batch_shape[-1]} x {self.components})"

    def _repr_html_(self) -> str:
        full = isinstance(self.components, MultivariateNormal)
        family = "Gaussians of full covariance" if full else "diagonal Gaussians"
        return _shown(f"mixture of {self.weights.shape[-1]} {family}", self, weights=self.weights)

    def _variance(self) -> Tensor:
        """In float64, which holds the squares of all that float32 does."""
        wide = map_parameters(as_double, self.components)
        spread = wide.mean - as_double(self.mean).unsqueeze(-2)
        return self._mean_of(wide.variance + spread.square())

    def _mean_of(self, values: Tensor) -> Tensor:
        weights = self.weights.unsqueeze(-1)
        return torch.where(weights > 0, weights * values, 0.0).sum(-2)


def _shown(family: str, p: Distribution, **more: Tensor) -> str:
    """A table for notebooks: what a distribution is, and the range of its parameters."""
    numbers = {"mean": p.mean, "standard deviation": p.stddev, **more}
    rows = [
        ["batch", sizes(p.batch_shape) or "one"],
        ["width", str(p.event_shape[-1])],
        *([name, span(tensor)] for name, tensor in numbers.items()),
    ]
    return html_table(Words([], rows), family)


def uncompiled(function: F) -> F:
    """A function that ``torch.compile`` leaves out of its graphs, as it cannot trace it.

    What takes as many steps as it takes, for one.
    """
    return cast("F", torch.compiler.disable(function))


def derive_seed(*numbers: int) -> int:
    """One seed for a combination of non-negative numbers, such as a run's seed and an epoch.

    Example:
        >>> derive_seed(0, 1) == derive_seed(0, 1), derive_seed(0, 1) == derive_seed(1, 0)
        (True, False)
    """
    state = np.random.SeedSequence(numbers).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def run_seed() -> int:
    """What Lightning's ``seed_everything`` was called with; zero where it was not."""
    return int(os.environ.get("PL_GLOBAL_SEED", 0))


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Make the draws in the block depend on ``seed`` alone, and leave the streams as they were.

    The streams are those of the CPU and, where the device is one, of that CUDA device. Of several
    CUDA devices the others start anew.

    Example:
        >>> with seeded(0, torch.device("cpu")):
        ...     first = torch.rand(3)
        >>> with seeded(0, torch.device("cpu")):
        ...     assert torch.equal(first, torch.rand(3))
    """
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        # torch.manual_seed starts the streams of every device anew
        (torch.default_generator if device.type == "cpu" else torch).manual_seed(seed)
        yield
