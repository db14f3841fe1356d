"""The strategy that fuses unimodal posteriors into one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Protocol

import torch
from torch import Tensor, nn

from mmvae_bary.distributions import map_parameters, parameters, standard_gaussian, where

if TYPE_CHECKING:
    from torch.distributions import Distribution

    from mmvae_bary.distributions import Gaussian


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

    def forward(self, experts: Gaussian, weights: Tensor | None = None) -> Distribution:
        """Fuse the experts.

        Args:
            experts: Gaussians of batch shape ``(..., M)`` and event shape ``(D,)``.
            weights: Non-negative, of a shape that broadcasts against ``(..., M)``; None is all
                one.

        Returns:
            The posterior, of the batch shape ``(...)`` that experts and weights broadcast to.

        Raises:
            TypeError: If the experts are not Gaussians.
            ValueError: If the weights do not fit the experts, are negative, NaN or infinite, or
                are one vector ``(M,)`` of zeros. Values are looked at on the CPU only: elsewhere
                that would stall the device.
        """
        with torch.autocast(parameters(experts)[0].device.type, enabled=False):
            experts = map_parameters(_at_least_float32, experts)
            weights = _checked(weights, experts)
            present = weights > 0
            if (extra := weights.ndim - len(experts.batch_shape)) > 0:
                present = present.flatten(end_dim=extra - 1).any(0)
            return self.fuse(where(present, experts, standard_gaussian(experts)), weights)

    def __call__(self, experts: Gaussian, weights: Tensor | None = None) -> Distribution:
        """:meth:`forward`, with its types."""
        posterior: Distribution = super().__call__(experts, weights)
        return posterior

    def conditional(self, experts: Gaussian, weights: Tensor | None = None) -> Distribution:
        """The posterior that evaluation means by ``q(z | x_S)``, with S the experts present.

        Unlike the joint posterior that training uses, it may leave out the smaller subsets of S.
        Arguments and return are those of :meth:`forward`.
        """
        return self(experts, weights)

    @abstractmethod
    def fuse(self, experts: Gaussian, weights: Tensor) -> Distribution:
        """Fuse experts that are finite wherever they are absent, N(0, I) to be exact.

        Args:
            experts: Gaussians of batch shape ``(..., M)``.
            weights: Non-negative, broadcasting against ``(..., M)``, zero where absent.
        """


def normalized(weights: Tensor) -> Tensor:
    """Scale weights to sum to one over the last dimension.

    Where all are zero the first gets all: absent experts stand at the prior by then, and so the
    barycenter is the prior.
    """
    total = weights.sum(-1, keepdim=True)
    first = torch.eye(1, weights.shape[-1], dtype=weights.dtype, device=weights.device)[0]
    return torch.where(total > 0, weights / torch.where(total > 0, total, 1), first)


def weighted_sum(weights: Tensor, values: Tensor) -> Tensor:
    """Sum over experts: ``(..., M)`` and ``(..., M, D)`` to ``(..., D)``.

    As an einsum this is one matrix product for all subsets, where a product and a sum would hold
    every subset's experts in memory.
    """
    return torch.einsum("...m,...md->...d", weights, values)


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in {torch.float16, torch.bfloat16} else tensor


def _checked(weights: Tensor | None, experts: Gaussian) -> Tensor:
    loc = parameters(experts)[0]
    if weights is None:
        return loc.new_ones(experts.batch_shape[-1:])
    if weights.ndim == 0 or weights.shape[-1] != experts.batch_shape[-1]:
        raise ValueError(
            f"got weights of shape {tuple(weights.shape)}, expected the last dimension to be the "
            f"{experts.batch_shape[-1]} experts of batch shape {tuple(experts.batch_shape)}"
        )
    if weights.device.type == "cpu":
        if not bool(((weights >= 0) & (weights < torch.inf)).all()):
            raise ValueError(f"got weights {weights.tolist()}, expected finite and none negative")
        if weights.ndim == 1 and not bool(weights.any()):
            raise ValueError(f"got weights {weights.tolist()}, expected at least one above zero")
    return weights.to(loc)
