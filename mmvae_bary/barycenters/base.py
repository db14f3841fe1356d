"""The strategy that fuses unimodal posteriors into one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Protocol

import torch
from torch import Tensor, nn

from mmvae_bary.distributions import (
    Mixture,
    at_least_float32,
    map_parameters,
    parameters,
    standard_gaussian,
    where,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.distributions import Distribution

    from mmvae_bary.distributions import Gaussian, Posterior


class Divergence(Protocol):
    """A function ``d(expert, q)`` of two distributions, of their broadcast batch shape."""

    def __call__(self, p: Distribution, q: Distribution, /) -> Tensor: ...


class Barycenter(nn.Module, ABC):
    r"""Fuse Gaussian experts into a posterior (Eq. 4 of the paper).

    .. math:: \tilde q = \arg\min_q \sum_{m=1}^M \lambda_m \, d(q_m, q)

    A subclass names its ``divergence`` :math:`d` and implements :meth:`fuse`.

    Weights say how much each expert counts, and **a weight of zero means absent**: the expert's
    values, even NaN, reach neither the answer nor, by a gradient, the encoder. A subset, a missing
    modality and an ablation are therefore weights, and all subsets of a batch are one call with
    weights of shape ``(K, 1, M)``. Where a row has no expert at all, the posterior is the prior,
    :math:`\mathcal{N}(0, I)`.

    Fusion is in float32 or float64 under any autocast.
    """

    divergence: ClassVar[Divergence]
    returns_mixture: ClassVar[bool] = False
    by_rows: ClassVar[bool] = False
    """Whether what :meth:`fuse` says of a sample depends on that sample's experts and weights
    alone, so that a mixture over subsets may fuse a few samples at a time, when it needs them.
    A barycenter with parameters, as a subclass may have, is fused at once all the same."""

    @property
    def summary(self) -> str:
        """One line, as ``SubsetMixture(WassersteinBarycenter())``, of what it is made of."""
        return _in_one_line(self)

    def forward(self, experts: Gaussian, weights: Tensor | None = None) -> Posterior:
        """Fuse the experts.

        Args:
            experts: Gaussians of batch shape ``(..., M)`` and event shape ``(D,)``.
            weights: Non-negative, of a shape that broadcasts against ``(..., M)``; None is all
                one.

        Returns:
            The posterior, of the batch shape ``(...)`` that experts and weights broadcast to.

        Raises:
            TypeError: If the experts are not Gaussians.
            ValueError: If the experts have no dimension to fuse, or the weights do not broadcast
                against them, are negative, NaN or infinite, or are one vector ``(M,)`` of zeros.
                Values are looked at on the CPU only, uncompiled: a device would stall.
        """
        with torch.autocast(parameters(experts)[0].device.type, enabled=False):
            experts = map_parameters(at_least_float32, experts)
            weights = _checked(weights, experts)
            posterior = self._fuse_finite(experts, weights)
            if weights.ndim == 1:  # one setting for all rows, not all zero
                return posterior
            return _replace(posterior, ~(weights > 0).any(-1), standard_gaussian)

    def __call__(self, experts: Gaussian, weights: Tensor | None = None) -> Posterior:
        """:meth:`forward`, with its types."""
        posterior: Posterior = super().__call__(experts, weights)
        return posterior

    def conditional(self, experts: Gaussian, weights: Tensor | None = None) -> Posterior:
        """The posterior that evaluation means by ``q(z | x_S)``, with S the experts present.

        Unlike the joint posterior that training uses, it may leave out the smaller subsets of S.
        Arguments and return are those of :meth:`Barycenter.forward`.
        """
        return self(experts, weights)

    @abstractmethod
    def fuse(self, experts: Gaussian, weights: Tensor) -> Posterior:
        """Fuse experts whose absent values are harmless.

        Args:
            experts: Gaussians of batch shape ``(..., M)``.
            weights: Non-negative, broadcasting against ``(..., M)``, zero where absent. A row of
                zeros must give something finite, which is replaced by the prior.
        """

    def _fuse_finite(self, experts: Gaussian, weights: Tensor) -> Posterior:
        """Fuse what is present and finite; where a broken expert is present, the answer is NaN.

        The same experts may meet several weights at once, in one product of matrices, where a
        broken one would spoil the rows where it is absent, as zero times NaN is NaN; nor could
        an eigendecomposition take it. So it is taken out, and put back as NaN.
        """
        extra = max(0, weights.ndim - len(experts.batch_shape))
        present = weights > 0
        used = present.flatten(end_dim=extra - 1).any(0) if extra else present
        loc, scale = parameters(experts)
        finite = _is_finite(loc) & _is_finite(scale.flatten(loc.ndim - 1))
        unfit = ~(used & finite)
        if not _nowhere(unfit):
            experts = where(unfit, standard_gaussian(experts), experts)
        posterior = self.fuse(experts, weights)
        return _replace(posterior, (present & ~finite).any(-1), _nan)


def _in_one_line(module: nn.Module) -> str:
    parts = [
        _in_one_line(child) if name == "inner" else f"{name}={_in_one_line(child)}"
        for name, child in module.named_children()
    ]
    said = ", ".join(filter(None, [*parts, module.extra_repr()]))
    return f"{module._get_name()}({said})"


def check_barycenter(name: str, given: object) -> None:
    """Refuse what is no barycenter, such as its class or its name.

    Raises:
        TypeError: Naming the argument and what came.
    """
    if not isinstance(given, Barycenter):
        raise TypeError(f"got {name}={given!r}, expected a Barycenter, as WassersteinBarycenter()")


def normalized(weights: Tensor) -> Tensor:
    """Scale weights to sum to one over the last dimension; where all are zero the first gets all.

    So a row without experts stays finite, forward and backward, until it is replaced. A weight of
    zero has no gradient: that by which an absent expert would count may overflow.
    """
    total = weights.sum(-1, keepdim=True)
    first = torch.eye(1, weights.shape[-1], dtype=weights.dtype, device=weights.device)[0]
    shares = torch.where(weights > 0, weights / torch.where(total > 0, total, 1), 0)
    return torch.where(total > 0, shares, first)


def weighted_sum(weights: Tensor, values: Tensor) -> Tensor:
    """Sum over experts: ``(..., M)`` and ``(..., M, D)`` to ``(..., D)``.

    As a matrix product for all subsets, where a product and a sum would hold every subset's
    experts in memory.
    """
    if weights.ndim > 1 and values.ndim > 2 and values.shape[-3] == 1:
        return weights @ values.squeeze(-3)  # one set of experts, laid out better than by einsum
    return torch.einsum("...m,...md->...d", weights, values)


def weighted_matrices(weights: Tensor, matrices: Tensor) -> Tensor:
    """Sum over experts: ``(..., M)`` and ``(..., M, D, D)`` to ``(..., D, D)``."""
    flat = weighted_sum(weights, matrices.flatten(-2))
    return flat.reshape(*flat.shape[:-1], *matrices.shape[-2:])


def may_look(tensor: Tensor) -> bool:
    """Whether values may be looked at.

    Only on a CPU, as another device would stall, and not in what ``torch.compile`` makes into
    a graph, which would break there.
    """
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def _nowhere(condition: Tensor) -> bool:
    """Whether a condition is known to hold nowhere, so that passes over the data are spared."""
    return may_look(condition) and not bool(condition.any())


def _is_finite(tensor: Tensor) -> Tensor:
    """Whether all of the last dimension is, in a tenth of the time of ``isfinite``."""
    return tensor.detach().abs().amax(-1) < torch.inf


def _nan(posterior: Posterior) -> Gaussian:
    """A Gaussian like the posterior, or like its components, of NaN."""

    def nan_like(tensor: Tensor) -> Tensor:
        return tensor.new_full((1,), torch.nan).expand_as(tensor)

    return map_parameters(nan_like, standard_gaussian(posterior))


def _replace(
    posterior: Posterior, condition: Tensor, make: Callable[[Posterior], Gaussian]
) -> Posterior:
    """Put another Gaussian where the condition holds, into every component of a mixture."""
    if _nowhere(condition):
        return posterior
    by = make(posterior)
    if isinstance(posterior, Mixture):
        condition = condition.unsqueeze(-1)
        components = where(condition, by, posterior.components)
        # nor may what is replaced by NaN reach, by a gradient, what the weights come from
        weights = torch.where(condition, posterior.weights.detach(), posterior.weights)
        return Mixture(components, weights)
    return where(condition, by, posterior)


def _checked(weights: Tensor | None, experts: Gaussian) -> Tensor:
    loc, shape = parameters(experts)[0], experts.batch_shape
    if not shape or len(experts.event_shape) != 1:
        raise ValueError(
            f"got experts of batch shape {tuple(shape)} and event shape "
            f"{tuple(experts.event_shape)}, expected (..., M) and (D,)"
        )
    if weights is None:
        return loc.new_ones(shape[-1:])
    weights = weights.to(loc)
    if not _broadcasts(weights.shape, shape):
        raise ValueError(
            f"got weights of shape {tuple(weights.shape)}, expected one that broadcasts against "
            f"the experts' batch shape {tuple(shape)}, whose last dimension is the experts"
        )
    if may_look(weights):
        if not bool(((weights >= 0) & (weights < torch.inf)).all()):
            raise ValueError(f"got weights {weights.tolist()}, expected finite and none negative")
        if weights.ndim == 1 and not bool(weights.any()):
            raise ValueError(f"got weights {weights.tolist()}, expected at least one above zero")
    return weights


def _broadcasts(weights: torch.Size, experts: torch.Size) -> bool:
    common = min(len(weights), len(experts))
    if not common or weights[-1] != experts[-1]:
        return False
    pairs = zip(weights[-common:], experts[-common:], strict=True)
    return all(a == b or 1 in {a, b} for a, b in pairs)
