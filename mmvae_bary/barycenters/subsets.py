"""Mixtures over the subsets of modalities (Remark 3 and Appendix A.4 of the paper)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from mmvae_bary.barycenters.base import Barycenter, check_barycenter, may_look, normalized
from mmvae_bary.barycenters.kl import mixture
from mmvae_bary.barycenters.lazy import LazyMixture, exceed_caches
from mmvae_bary.checks import check_one_of
from mmvae_bary.distributions import (
    Mixture,
    append_standard,
    as_double,
    parameters,
    unsqueeze_batch,
)
from mmvae_bary.divergences import kl

if TYPE_CHECKING:
    from mmvae_bary.distributions import Gaussian, Posterior

Conditional = Literal["component", "mixture"]
MOST_MODALITIES = 12  # whose subsets are enumerated
MOST_DRAWN = 50  # modalities whose subsets have exact numbers in float64


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


def evaluated_subsets(modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """The subsets that evaluation is given: all, or of more than 12 modalities some.

    Then each alone, all but one, and all, as there are too many others.

    Example:
        >>> len(evaluated_subsets("abcdefghijkl")), len(evaluated_subsets("abcdefghijklm"))
        (4095, 27)
    """
    if len(modalities) <= MOST_MODALITIES:
        return powerset(modalities)
    sizes = (1, len(modalities) - 1, len(modalities))
    return [subset for size in sizes for subset in combinations(modalities, size)]


def evaluated_members(num_modalities: int, device: torch.device) -> Tensor:
    """The subsets of :func:`evaluated_subsets`, in its order, as zeros and ones ``(K, M)``."""
    if num_modalities <= MOST_MODALITIES:
        return membership(num_modalities, device)
    alone = torch.eye(num_modalities, device=device)
    return torch.cat([alone, 1 - alone.flip(0), alone.new_ones(1, num_modalities)])


def draw_subsets(present: Tensor, count: int) -> Tensor:
    """Draw non-empty subsets of what is present, each as likely as another.

    The subsets of a row, in an order, are cut into K equal parts, and one is drawn from each.

    Args:
        present: Booleans of shape ``(..., M)``.
        count: Number K of subsets for each row.

    Returns:
        Zeros and ones of shape ``(..., K, M)``; of zeros where nothing is present.

    Raises:
        ValueError: If M is above 50, whose subsets float64 cannot count.

    Example:
        >>> present = torch.tensor([True, False, True])
        >>> draw_subsets(present, 3)[:, 1].any(), draw_subsets(present, 3).any(-1).all()
        (tensor(False), tensor(True))
    """
    if present.shape[-1] > MOST_DRAWN:
        raise ValueError(f"got {present.shape[-1]} modalities, expected at most {MOST_DRAWN}")
    number = _number_of_subsets(present)
    within = torch.rand(*number.shape[:-1], count, dtype=number.dtype, device=number.device)
    level = (torch.arange(count, device=number.device) + within) / count  # (..., K)
    code = ((level * number).long() + 1).minimum(number.long()).to(present.device)
    place = present.cumsum(-1) - 1  # among those present
    chosen = (code.unsqueeze(-1) >> place.clamp(min=0).unsqueeze(-2)) & 1
    return chosen * present.unsqueeze(-2)


def _number_of_subsets(present: Tensor) -> Tensor:
    """How many non-empty subsets there are of what is present, in float64: ``(..., 1)``."""
    number: Tensor = 2 ** as_double(present.sum(-1, keepdim=True)) - 1
    return number


class SubsetWeights(nn.Module, ABC):
    """From subsets to their weights in a mixture, of which only the ratios count."""

    @abstractmethod
    def forward(self, members: Tensor) -> Tensor:
        """Weigh subsets ``(K, M)``, zeros and ones, smaller ones first: positive, ``(K,)``."""


class SizeWeights(SubsetWeights):
    """Weights by the number of modalities in a subset.

    Args:
        values: The weight of each subset of one modality, of two, and so on.

    Raises:
        ValueError: If there are none, or one is negative or not finite, or all are zero.
    """

    values: Tensor

    def __init__(self, values: Sequence[float]) -> None:
        super().__init__()
        if not all(0 <= value < math.inf for value in values) or not any(values):
            raise ValueError(
                f"got size weights {list(values)}, expected finite numbers, none negative and at "
                "least one above zero"
            )
        self.register_buffer("values", torch.tensor(values, dtype=torch.float))

    def forward(self, members: Tensor) -> Tensor:
        if len(self.values) != members.shape[-1]:
            raise ValueError(
                f"got weights for {len(self.values)} sizes, expected {members.shape[-1]}, one for "
                "each number of modalities"
            )
        return self.values[members.sum(-1).long() - 1]

    def extra_repr(self) -> str:
        return str(self.values.tolist())


class LearnedSubsetWeights(SubsetWeights):
    r"""A learned weight for each subset, :math:`\mathrm{softmax}(a)`, all alike at the start.

    Args:
        num_modalities: Number of modalities M, of which :math:`2^M - 1` weights are learned.

    Raises:
        ValueError: If it is below one or above 12, whose subsets can only be drawn.
    """

    def __init__(self, num_modalities: int) -> None:
        super().__init__()
        if not 1 <= num_modalities <= MOST_MODALITIES:
            raise ValueError(
                f"got num_modalities={num_modalities}, expected 1 to {MOST_MODALITIES}"
            )
        self.logits = nn.Parameter(torch.zeros(2**num_modalities - 1))

    def forward(self, members: Tensor) -> Tensor:
        if len(self.logits) != len(members):
            raise ValueError(
                f"got weights for {len(self.logits)} subsets, expected for {len(members)}"
            )
        return self.logits.softmax(0)


class SubsetMixture(Barycenter):
    r"""Mixture, over every non-empty subset of modalities, of what the inner barycenter returns.

    .. math::
        \tilde q = \arg\min_q \sum_k \lambda_k \mathrm{KL}(\tilde q_k \| q), \qquad
        \tilde q_k = \arg\min_q \sum_{j \in X_k} \lambda_j \, d(q_j, q)

    Subsets with an absent modality have no weight; the others share it evenly, or as
    ``subset_weights`` say. With :class:`ProductOfExperts` inside this is MoPoE, with
    :class:`WassersteinBarycenter` it is MWB.

    Args:
        inner: The barycenter of each subset, one that returns a Gaussian.
        conditional: What evaluation means by ``q(z | x_S)``: ``"component"``, the inner
            barycenter of exactly S, as in published tables, or ``"mixture"``, the mixture over
            the powerset of S, which training uses.
        subset_weights: How subsets are weighed; all alike if None.
        prior_weight: Weight of the prior as one more component, in units of a subset's mean
            weight; 1 makes the empty set one of the paper's :math:`2^M` subsets.
        max_subsets: Draw so many subsets for each sample and call, each as likely as another,
            instead of enumerating all: draws from the mixture and its bound of the KL keep their
            means, at a cost that does not grow with :math:`2^M`.

    Raises:
        ValueError: If an argument is out of its range, ``inner`` returns a mixture, or drawn
            subsets are to be weighed; when called, of more than 12 modalities, whose subsets can
            only be drawn, or more than 50.

    References:
        Sutter, Daunhawer and Vogt, Generalized Multimodal ELBO, ICLR 2021 (MoPoE).
        Qiu et al., Multimodal Variational Autoencoder: a Barycentric View, AAAI 2025 (MWB).
    """

    divergence = staticmethod(kl)
    returns_mixture = True

    def __init__(
        self,
        inner: Barycenter,
        conditional: Conditional = "component",
        subset_weights: SubsetWeights | None = None,
        prior_weight: float = 0.0,
        max_subsets: int | None = None,
    ) -> None:
        super().__init__()
        check_one_of(Conditional, conditional=conditional)
        check_barycenter("inner", inner)
        if inner.returns_mixture:
            raise ValueError(
                f"got inner={type(inner).__name__}, which returns a mixture, expected a "
                "barycenter that returns a Gaussian"
            )
        if not 0 <= prior_weight < math.inf:
            raise ValueError(
                f"got prior_weight={prior_weight}, expected a finite number that is not negative"
            )
        if max_subsets is not None and (max_subsets < 1 or subset_weights is not None):
            raise ValueError(
                f"got max_subsets={max_subsets} and subset_weights="
                f"{type(subset_weights).__name__}, expected at least 1 and None: drawn subsets "
                "count alike"
            )
        self.inner = inner
        self.conditional_is_component = conditional == "component"
        self.subset_weights = subset_weights
        self.prior_weight = prior_weight
        self.max_subsets = max_subsets

    def fuse(self, experts: Gaussian, weights: Tensor) -> Mixture:
        if self.max_subsets is not None:  # each sample draws its own
            shape = torch.broadcast_shapes(weights.shape, experts.batch_shape)
            weights = weights.expand(shape)
        members, available = self._subsets(weights)
        inside = torch.where(members > 0, weights.unsqueeze(-2), 0)  # no gradient where outside
        if self._may_be_lazy(experts, inside, available):
            return LazyMixture(self.inner, experts, inside, normalized(available))
        components = self.inner.fuse(unsqueeze_batch(experts), inside)
        if isinstance(components, Mixture):
            raise TypeError(f"got {type(self.inner).__name__} as inner, which returned a mixture")
        if self.prior_weight:
            components = append_standard(components)
            share = self.prior_weight * self._unit(weights > 0, available)
            available = torch.cat([available, share], -1)
        return mixture(components, available)

    def conditional(self, experts: Gaussian, weights: Tensor | None = None) -> Posterior:
        if self.conditional_is_component:
            return self.inner(experts, weights)
        return self(experts, weights)

    def _may_be_lazy(self, experts: Gaussian, members: Tensor, weights: Tensor) -> bool:
        """Whether a :class:`LazyMixture` is right, and saves memory that costs time.

        Few components stay in caches, fusing full covariances costs more than their memory, and
        the gradient of the weights wants all components at once, as do GPUs, which may not look
        for what is to be replaced, and compilers.
        """
        return (
            may_look(parameters(experts)[0])
            and exceed_caches(experts, members)
            and self.inner.by_rows
            and next(self.inner.parameters(), None) is None  # which subclasses may have
            and not isinstance(experts, MultivariateNormal)
            and torch.is_grad_enabled()
            and any(x.requires_grad for x in parameters(experts))
            and not (members.requires_grad or weights.requires_grad)
            and not self.prior_weight
        )

    def _subsets(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """The subsets, ``(..., K, M)``, and their weights, ``(..., K)``."""
        num_modalities = weights.shape[-1]
        if self.max_subsets is not None:
            members = draw_subsets(weights > 0, self.max_subsets).to(weights)
            return members, torch.ones_like(members[..., 0])
        if num_modalities > MOST_MODALITIES:
            raise ValueError(
                f"got {num_modalities} modalities, of which 2^{num_modalities} - 1 subsets are "
                "too many to enumerate, expected max_subsets"
            )
        members = membership(num_modalities, weights.device).to(weights)
        absent = (weights == 0).to(weights)
        available = (absent @ members.mT == 0).to(weights)
        if self.subset_weights is not None:
            weighed = available * self.subset_weights(members)
            some = (weighed > 0).any(-1, keepdim=True)  # else all that is available counts alike
            available = torch.where(some, weighed, available)
        return members, available

    def _unit(self, present: Tensor, available: Tensor) -> Tensor:
        """The mean weight of a subset, ``(..., 1)``, of all of which only some may be drawn."""
        if self.max_subsets is None:
            count = (available > 0).sum(-1, keepdim=True).clamp(min=1)
            return available.sum(-1, keepdim=True) / count
        # drawn ones count one each, and stand for all there are
        return (self.max_subsets / _number_of_subsets(present).clamp(min=1)).to(available)

    def extra_repr(self) -> str:
        drawn = "" if self.max_subsets is None else f"max_subsets={self.max_subsets}"
        prior = f"prior_weight={self.prior_weight}" if self.prior_weight else ""
        conditional = "" if self.conditional_is_component else "conditional='mixture'"
        return ", ".join(filter(None, [conditional, prior, drawn]))
