"""Mixtures over the subsets of modalities (Remark 3 and Appendix A.4 of the paper)."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Literal, get_args

import torch

from mmvae_bary.barycenters.base import Barycenter
from mmvae_bary.barycenters.kl import MixtureOfExperts, mixture
from mmvae_bary.distributions import Mixture, unsqueeze_batch
from mmvae_bary.divergences import kl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from mmvae_bary.distributions import Gaussian, Posterior

Conditional = Literal["component", "mixture"]


def powerset(modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """The non-empty subsets of the modalities, by size and then by position.

    Example:
        >>> powerset(["a", "b"])
        [('a',), ('b',), ('a', 'b')]
    """
    sizes = range(1, len(modalities) + 1)
    return [subset for size in sizes for subset in combinations(modalities, size)]


def membership(num_modalities: int, device: torch.device) -> Tensor:
    """The subsets of :func:`powerset`, in its order, as zeros and ones of shape ``(K, M)``.

    Made on the device, so that it waits for no transfer.

    Example:
        >>> membership(2, torch.device("cpu"))
        tensor([[1., 0.],
                [0., 1.],
                [1., 1.]])
    """
    codes = torch.arange(2**num_modalities - 1, 0, -1, device=device)
    shifts = torch.arange(num_modalities - 1, -1, -1, device=device)
    members = (codes.unsqueeze(-1) >> shifts) & 1
    return members[members.sum(-1).argsort(stable=True)].float()


class SubsetMixture(Barycenter):
    r"""Mixture, over every non-empty subset of modalities, of what the inner barycenter returns.

    .. math::
        \tilde q = \arg\min_q \sum_k \lambda_k \mathrm{KL}(\tilde q_k \| q), \qquad
        \tilde q_k = \arg\min_q \sum_{j \in X_k} \lambda_j \, d(q_j, q)

    Subsets with an absent modality have no weight; the others share it evenly. With
    :class:`~mmvae_bary.ProductOfExperts` inside this is MoPoE, with
    :class:`~mmvae_bary.WassersteinBarycenter` it is MWB.

    Args:
        inner: The barycenter of each subset, one that returns a Gaussian.
        conditional: What evaluation means by ``q(z | x_S)``: ``"component"``, the inner
            barycenter of exactly S, as in published tables, or ``"mixture"``, the mixture over
            the powerset of S, which training uses.

    Raises:
        ValueError: If ``conditional`` is neither, or ``inner`` returns a mixture.

    References:
        Sutter, Daunhawer and Vogt, Generalized Multimodal ELBO, ICLR 2021 (MoPoE).
        Qiu et al., Multimodal Variational Autoencoder: a Barycentric View, AAAI 2025 (MWB).
    """

    divergence = staticmethod(kl)

    def __init__(self, inner: Barycenter, conditional: Conditional = "component") -> None:
        super().__init__()
        if conditional not in get_args(Conditional):
            raise ValueError(
                f"got conditional={conditional!r}, expected one of {get_args(Conditional)}"
            )
        if isinstance(inner, MixtureOfExperts | SubsetMixture):
            raise ValueError(
                f"got inner={type(inner).__name__}, which returns a mixture, expected a "
                "barycenter that returns a Gaussian"
            )
        self.inner = inner
        self.conditional_is_component = conditional == "component"

    def fuse(self, experts: Gaussian, weights: Tensor) -> Mixture:
        members = membership(weights.shape[-1], weights.device).to(weights)  # (K, M)
        absent = (weights == 0).to(weights)
        available = (absent @ members.mT == 0).to(weights)  # (..., K)
        weights = members * weights.unsqueeze(-2)  # (..., K, M)
        components = self.inner.fuse(unsqueeze_batch(experts), weights)
        if isinstance(components, Mixture):
            raise TypeError(f"got {type(self.inner).__name__} as inner, which returned a mixture")
        return mixture(components, available)

    def conditional(self, experts: Gaussian, weights: Tensor | None = None) -> Posterior:
        if self.conditional_is_component:
            return self.inner(experts, weights)
        return self(experts, weights)
