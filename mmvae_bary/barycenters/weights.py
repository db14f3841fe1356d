"""How much each expert counts: fixed, learned, or read off the experts."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from mmvae_bary.barycenters.base import Barycenter
from mmvae_bary.barycenters.subsets import SubsetMixture
from mmvae_bary.distributions import (
    as_double,
    diagonal_gaussian,
    diagonal_parameters,
    narrowed,
    parameters,
)

if TYPE_CHECKING:
    from mmvae_bary.distributions import Gaussian, Posterior


class Weighting(nn.Module, ABC):
    """From experts to their weights, of which only the ratios count."""

    @abstractmethod
    def forward(self, experts: Gaussian) -> Tensor:
        """Weigh experts of batch shape ``(..., M)``.

        Returns:
            Positive weights that broadcast against ``(..., M)``, or against ``(..., M, D)`` where
            :attr:`Weighting.by_dimension`.
        """

    def __call__(self, experts: Gaussian) -> Tensor:
        """:meth:`forward`, with its types."""
        weights: Tensor = super().__call__(experts)
        return weights

    @property
    def by_dimension(self) -> bool:
        """Whether each latent dimension has weights of its own."""
        return False


class FixedWeights(Weighting):
    """The same weights for every sample.

    Args:
        values: One for each modality, in the model's order.

    Raises:
        ValueError: If there are none, or one is not a finite number above zero.
    """

    values: Tensor

    def __init__(self, values: Sequence[float]) -> None:
        super().__init__()
        if not values or not all(0 < value < math.inf for value in values):
            raise ValueError(f"got weights {list(values)}, expected finite numbers above zero")
        self.register_buffer("values", torch.tensor(values, dtype=torch.float))

    def forward(self, experts: Gaussian) -> Tensor:
        return _for_experts(self.values, experts)

    def extra_repr(self) -> str:
        return str(self.values.tolist())


class LearnedWeights(Weighting):
    r"""Weights that are learned, :math:`w = \mathrm{softmax}(a)`, all alike at the start.

    Args:
        num_modalities: Number of modalities M.
        latent_dim: Width of the shared latent, for weights of each dimension's own; None for one
            weight a modality.

    Raises:
        ValueError: If a number is below one.

    References:
        Cao and Fleet, Generalized Product of Experts for Automatic and Principled Fusion of
        Gaussian Process Predictions, 2014.
    """

    def __init__(self, num_modalities: int, latent_dim: int | None = None) -> None:
        super().__init__()
        if num_modalities < 1 or (latent_dim is not None and latent_dim < 1):
            raise ValueError(
                f"got num_modalities={num_modalities} and latent_dim={latent_dim}, expected at "
                "least 1"
            )
        shape = (num_modalities,) if latent_dim is None else (num_modalities, latent_dim)
        self.logits = nn.Parameter(torch.zeros(shape))

    @property
    def by_dimension(self) -> bool:
        return self.logits.ndim == 2

    def forward(self, experts: Gaussian) -> Tensor:
        if self.by_dimension and self.logits.shape[1:] != experts.event_shape:
            raise ValueError(
                f"got weights for {self.logits.shape[1]} dimensions, expected for the "
                f"{experts.event_shape[0]} of the latent"
            )
        return _for_experts(self.logits.softmax(0), experts)

    def extra_repr(self) -> str:
        return f"shape={tuple(self.logits.shape)}"


class PrecisionWeights(Weighting):
    r"""Weights read off the experts: the sharper one counts more.

    .. math:: w_m \propto |\Sigma_m|^{-\tau / D}

    the geometric mean of an expert's precisions over dimensions, to a power.

    Args:
        temper: The power :math:`\tau`; 0 gives uniform weights. An absent expert counts as the
            prior in what they are scaled by, which no ratio of weights depends on.
        learn: Learn the power.

    Raises:
        ValueError: If ``temper`` is not finite.
    """

    temper: Tensor

    def __init__(self, temper: float = 1.0, learn: bool = False) -> None:
        super().__init__()
        if not math.isfinite(temper):
            raise ValueError(f"got temper={temper}, expected a finite number")
        value = torch.tensor(temper)
        if learn:
            self.temper = nn.Parameter(value)
        else:
            self.register_buffer("temper", value)

    def forward(self, experts: Gaussian) -> Tensor:
        _, scale = parameters(experts)
        if isinstance(experts, MultivariateNormal):
            scale = scale.diagonal(dim1=-2, dim2=-1)
        # in float64, for the ratio of two precisions may leave the range of float32
        log_scales = as_double(scale).log().mean(-1)
        return narrowed((-2 * as_double(self.temper) * log_scales).softmax(-1), scale)

    def extra_repr(self) -> str:
        learned = isinstance(self.temper, nn.Parameter)
        return "learned temper" if learned else f"temper={self.temper.item():g}"


class WeightedBarycenter(Barycenter):
    """A barycenter whose experts do not count alike.

    Weights multiply those asked for, and are scaled to the sum of those: an absent expert stays
    absent, and a product counts as many experts as before. With weights for each latent
    dimension, each dimension is a barycenter of its own.

    Args:
        inner: The barycenter. A mixture takes no weights by dimension, and a mixture over subsets
            takes none: weigh its inner barycenter.
        weighting: How experts are weighed.

    Raises:
        ValueError: If ``inner`` is a mixture that does not take the weights.

    Example:
        >>> from mmvae_bary import WassersteinBarycenter
        >>> from mmvae_bary.distributions import diagonal_gaussian
        >>> experts = diagonal_gaussian(torch.tensor([[0.0], [4.0]]), torch.ones(2, 1))
        >>> WeightedBarycenter(WassersteinBarycenter(), FixedWeights([3, 1]))(experts).mean
        tensor([1.])
    """

    def __init__(self, inner: Barycenter, weighting: Weighting) -> None:
        super().__init__()
        if isinstance(inner, SubsetMixture):
            raise ValueError(
                "got SubsetMixture to be weighted, expected a SubsetMixture of a "
                "WeightedBarycenter"
            )
        if weighting.by_dimension and inner.returns_mixture:
            raise ValueError(
                f"got weights by dimension for {type(inner).__name__}, which returns a mixture, "
                "expected one weight a modality"
            )
        self.inner = inner
        self.weighting = weighting
        self.divergence = inner.divergence  # type: ignore[misc]
        self.returns_mixture = inner.returns_mixture  # type: ignore[misc]

    def fuse(self, experts: Gaussian, weights: Tensor) -> Posterior:
        factors = self.weighting(experts)
        if not self.weighting.by_dimension:
            products = _multiplied(as_double(weights), as_double(factors)).to(weights)
            return self.inner.fuse(experts, products)
        loc, scale = (x.mT.unsqueeze(-1) for x in diagonal_parameters(experts))  # (..., D, M, 1)
        weights = _multiplied(weights.unsqueeze(-2), factors.mT)  # (..., D, M)
        fused = self.inner.fuse(diagonal_gaussian(loc, scale), weights)
        return diagonal_gaussian(*(x.squeeze(-1) for x in parameters(fused)))


def _multiplied(weights: Tensor, factors: Tensor) -> Tensor:
    """Weights times factors, of the same sum as before; the weights where factors vanish."""
    products = weights * factors
    total = products.sum(-1, keepdim=True)
    shares = products / torch.where(total > 0, total, 1)
    scaled = torch.where(total > 0, shares * weights.sum(-1, keepdim=True), weights)
    return torch.where(weights > 0, scaled, 0)  # no gradient where absent


def _for_experts(weights: Tensor, experts: Gaussian) -> Tensor:
    if len(weights) != experts.batch_shape[-1]:
        raise ValueError(
            f"got weights for {len(weights)} modalities, expected for the "
            f"{experts.batch_shape[-1]} experts"
        )
    return weights.to(parameters(experts)[0])
