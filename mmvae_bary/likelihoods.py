"""Likelihoods p(x | z): modules that turn a decoder's output into a distribution of the data."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, distributions, nn

from mmvae_bary.distributions import (
    SaturatingNormal,
    at_least_float32,
    largest,
    saturated,
    standardized,
)

LARGEST_LOG = 30.0  # of a count's mean

if TYPE_CHECKING:
    from torch.distributions import Distribution


class Likelihood(nn.Module, ABC):
    """From a decoder's output to the distribution of a modality.

    Whatever the precision of the decoder, the distribution is in float32 (or float64). Of any
    finite output its log-density and gradients are finite: log-densities saturate.
    """

    def forward(self, output: Tensor, event_ndim: int) -> Distribution:
        """Build the distribution.

        Args:
            output: Decoder output of shape ``(*batch, *shape)``, unconstrained.
            event_ndim: The number of dimensions of ``shape``, the modality's.

        Returns:
            A distribution with batch shape ``batch`` and event shape ``shape``.
        """
        p = self.elementwise(at_least_float32(output))
        return distributions.Independent(p, event_ndim - len(p.event_shape), validate_args=False)

    @abstractmethod
    def elementwise(self, output: Tensor) -> Distribution:
        """The distribution of every element by itself."""

    def num_variables(self, shape: Sequence[int]) -> int:
        """The number of observed variables in a sample of the given shape."""
        return math.prod(shape)


class _ScaledLikelihood(Likelihood):
    """A likelihood with positive scales, fixed or learned with the model."""

    def __init__(
        self, scale: float = 1.0, learnable: bool = False, shape: Sequence[int] = ()
    ) -> None:
        super().__init__()
        if not scale > 0:
            raise ValueError(f"{type(self).__name__}: got scale={scale}, expected a positive one")
        log_scale = torch.full(tuple(shape), math.log(scale))
        if learnable:
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale)

    @property
    def scale(self) -> Tensor:
        """The scales, of the shape they were asked for: a scalar unless there are several."""
        return self.log_scale.exp()

    def extra_repr(self) -> str:
        kind = "learnable" if isinstance(self.log_scale, nn.Parameter) else "fixed"
        return f"scale={self.scale.mean().item():.4g}, {kind}"


class Normal(_ScaledLikelihood):
    """Gaussian noise around the decoder's output.

    Args:
        scale: The standard deviation, in the unit of the data.
        learnable: Learn the standard deviation, from ``scale`` on.
        shape: That of a sample, for a standard deviation of each variable's own; one for all
            where it is empty.

    Example:
        >>> Normal(0.5)(torch.zeros(2, 3, 8, 8), event_ndim=3).log_prob(torch.zeros(3, 8, 8)).shape
        torch.Size([2])
    """

    def elementwise(self, output: Tensor) -> Distribution:
        return SaturatingNormal(output, self.scale.to(output), validate_args=False)


class Laplace(_ScaledLikelihood):
    """Laplace noise around the decoder's output.

    Args:
        scale: The scale ``b``, whose noise has the standard deviation ``b * sqrt(2)``.
        learnable: Learn the scale, from ``scale`` on.
        shape: That of a sample, for a scale of each variable's own; one for all where it is empty.
    """

    def elementwise(self, output: Tensor) -> Distribution:
        return _SaturatingLaplace(output, self.scale.to(output), validate_args=False)


class Bernoulli(Likelihood):
    """Binary data; the decoder's output is the logit of one."""

    def elementwise(self, output: Tensor) -> Distribution:
        return distributions.Bernoulli(logits=_logits(output), validate_args=False)


class Categorical(Likelihood):
    """One-hot data over the last dimension; the decoder's output is the logits.

    A text of eight characters over 27 symbols has the shape ``(8, 27)`` and is eight variables.
    """

    def elementwise(self, output: Tensor) -> Distribution:
        return _OneHotCategorical(_logits(output))

    def num_variables(self, shape: Sequence[int]) -> int:
        return math.prod(shape[:-1])


class Poisson(Likelihood):
    """Counts; the decoder's output is the logarithm of the rate."""

    def elementwise(self, output: Tensor) -> Distribution:
        return distributions.Poisson(_log_mean(output).exp(), validate_args=False)


class NegativeBinomial(_ScaledLikelihood):
    r"""Overdispersed counts; the decoder's output is the logarithm of the mean.

    The variance is :math:`\mu + \mu^2 / r`; the inverse dispersion :math:`r` is the scale.

    Args:
        scale: The inverse dispersion, from which it is learned.
        learnable: Learn the inverse dispersion.
        shape: That of a sample, for a dispersion of each variable's own; one for all where it is
            empty.
    """

    def __init__(
        self, scale: float = 1.0, learnable: bool = True, shape: Sequence[int] = ()
    ) -> None:
        super().__init__(scale, learnable, shape)

    def elementwise(self, output: Tensor) -> Distribution:
        logits = _log_mean(output) - self.log_scale
        return distributions.NegativeBinomial(
            self.scale.to(output), logits=logits, validate_args=False
        )


class _SaturatingLaplace(distributions.Laplace):
    def log_prob(self, value: Tensor) -> Tensor:
        log_scale = at_least_float32(self.scale).log() + math.log(2)
        return -standardized(value, self.loc, self.scale).abs() - log_scale


class _OneHotCategorical(distributions.OneHotCategorical):
    """Without torch's check of the logits, which cannot be turned off and stalls a device."""

    def __init__(self, logits: Tensor) -> None:
        self._categorical = distributions.Categorical(logits=logits, validate_args=False)
        shape = logits.shape
        distributions.Distribution.__init__(self, shape[:-1], shape[-1:], validate_args=False)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> _OneHotCategorical:
        return _OneHotCategorical(self.logits.expand(*batch_shape, -1))


def _logits(output: Tensor) -> Tensor:
    """So that their differences, and sums of those over a batch, are finite."""
    return saturated(output, largest(output.dtype))


def _log_mean(output: Tensor) -> Tensor:
    """Within what counts can be: beyond, a wild output would overflow."""
    return output.clamp(-LARGEST_LOG, LARGEST_LOG)
