"""Generation coherence: do generated samples show what they were generated from?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from mmvae_bary.barycenters.subsets import powerset
from mmvae_bary.metrics.average_precision import average_precision, by_attribute, chance

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def sources(modalities: Sequence[str], target: str) -> list[tuple[str, ...]]:
    """The subsets that a target is generated from: those without it, in the order of the powerset.

    Example:
        >>> sources(["a", "b", "c"], "b")
        [('a',), ('c',), ('a', 'c')]
    """
    return [subset for subset in powerset(modalities) if target not in subset]


class CrossModalCoherence(Metric):
    """Share of generated samples that a classifier assigns to the true class of their source.

    For every non-empty subset S of the modalities and every target outside S.

    Args:
        modalities: The modalities' names, in the model's order.
        classifiers: Modality name to a function from ``(N, *shape)`` to class logits ``(N, C)``.
            Modules among them must be in evaluation mode, on the device of the samples.

    Raises:
        ValueError: If there are fewer than two modalities or one has no classifier.

    References:
        Shi et al., NeurIPS 2019; Sutter, Daunhawer and Vogt, ICLR 2021, section 4.

    Example:
        >>> metric = CrossModalCoherence(["a", "b"], {"a": lambda x: x, "b": lambda x: x})
        >>> digits = torch.eye(3)  # samples that are their own logits
        >>> metric.update({"a": digits[None], "b": digits.roll(1, 0)[None]}, torch.arange(3))
        >>> metric.compute()["coherence/b->a"], metric.compute()["coherence/a->b"]
        (tensor(1.), tensor(0.))
    """

    full_state_update = False
    higher_is_better = True

    total: Tensor

    def __init__(
        self, modalities: Sequence[str], classifiers: Mapping[str, Callable[[Tensor], Tensor]]
    ) -> None:
        super().__init__()
        self.modalities = tuple(modalities)
        self.classifiers = _classifiers(self.modalities, classifiers)
        for name in self.modalities:
            zeros = torch.zeros(len(sources(self.modalities, name)), dtype=torch.long)
            self.add_state(f"correct_{name}", zeros, dist_reduce_fx="sum")
        self.add_state("total", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, generated: Mapping[str, Tensor], label: Tensor) -> None:
        """Classify a batch.

        Args:
            generated: Target name to samples of shape ``(K, B, *shape)``, generated from its K
                :func:`sources`, in their order.
            label: True classes of shape ``(B,)``.
        """
        for name in self.modalities:
            samples = generated[name]
            logits = self.classifiers[name](samples.flatten(0, 1))
            hits = logits.argmax(-1).unflatten(0, samples.shape[:2]) == label
            setattr(self, f"correct_{name}", getattr(self, f"correct_{name}") + hits.sum(-1))
        self.total += len(label)

    def compute(self) -> dict[str, Tensor]:
        """Coherences from 0 to 1 by ``coherence/SOURCES->TARGET``, and their means.

        ``coherence/mean`` is the mean over all directions, ``coherence/mean/2`` the mean over
        those from two inputs, ``coherence/mean->TARGET`` the mean over those to one target.
        """
        shares = {
            (subset, target): share
            for target in self.modalities
            for subset, share in zip(
                sources(self.modalities, target),
                (getattr(self, f"correct_{target}") / self.total).unbind(),
                strict=True,
            )
        }
        result = {_key(*direction): share for direction, share in shares.items()}
        return result | _means(shares)


class AttributeCoherence(Metric):
    """Average precision of classifiers, on generated samples, for their source's attributes.

    The counterpart of :class:`CrossModalCoherence` where a label is many binary attributes.

    Args:
        modalities: The modalities' names, in the model's order.
        classifiers: Modality name to a function from ``(N, *shape)`` to logits ``(N, A)``. Modules
            among them must be in evaluation mode, on the device of the samples.
        attributes: The attributes' names.

    Raises:
        ValueError: If there are fewer than two modalities or one has no classifier.

    References:
        Sutter, Daunhawer and Vogt, ICLR 2021, appendix C; but on scores and over the whole set.
    """

    full_state_update = False
    higher_is_better = True

    label: list[Tensor]

    def __init__(
        self,
        modalities: Sequence[str],
        classifiers: Mapping[str, Callable[[Tensor], Tensor]],
        attributes: Sequence[str],
    ) -> None:
        super().__init__()
        self.modalities = tuple(modalities)
        self.classifiers = _classifiers(self.modalities, classifiers)
        self.attributes = tuple(attributes)
        for name in self.modalities:
            self.add_state(f"scores_{name}", [], dist_reduce_fx="cat")
        self.add_state("label", [], dist_reduce_fx="cat")

    def update(self, generated: Mapping[str, Tensor], label: Tensor) -> None:
        """Classify a batch.

        Args:
            generated: Target name to samples of shape ``(K, B, *shape)``, generated from its K
                :func:`sources`, in their order.
            label: Zeros and ones of shape ``(B, A)``.
        """
        for name in self.modalities:
            samples = generated[name]
            logits = self.classifiers[name](samples.flatten(0, 1)).unflatten(0, samples.shape[:2])
            getattr(self, f"scores_{name}").append(logits.transpose(0, 1))
        self.label.append(label)

    def compute(self) -> dict[str, Tensor]:
        """Average precisions from 0 to 1 by ``coherence/SOURCES->TARGET``, and their means.

        Each is the mean over the attributes, which follow by ``SOURCES->TARGET/ATTRIBUTE``, those
        left out that no sample has; means as in :class:`CrossModalCoherence`. What random scores
        reach is ``coherence/chance``, the mean over ``coherence/chance/ATTRIBUTE``, which is the
        share of samples that have it.
        """
        label = dim_zero_cat(self.label)
        result = dict(by_attribute("coherence/chance", self.attributes, chance(label)))
        means = {}
        for target in self.modalities:
            scores = dim_zero_cat(getattr(self, f"scores_{target}")).unbind(1)
            for subset, logits in zip(sources(self.modalities, target), scores, strict=True):
                key = _key(subset, target)
                result.update(by_attribute(key, self.attributes, average_precision(logits, label)))
                means[subset, target] = result[key]
        return result | _means(means)


class JointCoherence(Metric):
    """Share of joint samples from the prior that every modality's classifier gives one class.

    Of attributes: the share on which the classifiers agree whether it is there, for each.

    Args:
        modalities: The modalities' names, in the model's order.
        classifiers: Modality name to a function from ``(N, *shape)`` to class logits ``(N, C)``.
            Modules among them must be in evaluation mode, on the device of the samples.
        attributes: Names of the binary attributes; none where there is one class. On a rare one
            classifiers agree by chance, as both see it nowhere.

    Raises:
        ValueError: If there are fewer than two modalities or one has no classifier.

    References:
        Shi et al., NeurIPS 2019, section 4.
    """

    full_state_update = False
    higher_is_better = True

    correct: Tensor
    total: Tensor

    def __init__(
        self,
        modalities: Sequence[str],
        classifiers: Mapping[str, Callable[[Tensor], Tensor]],
        attributes: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.classifiers = _classifiers(modalities, classifiers)
        self.attributes = tuple(attributes)
        zeros = torch.zeros(len(self.attributes) or (), dtype=torch.long)
        self.add_state("correct", zeros, dist_reduce_fx="sum")
        self.add_state("total", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, generated: Mapping[str, Tensor]) -> None:
        """Classify joint samples: modality name to ``(N, *shape)``, row n from one latent."""
        logits = [classify(generated[name]) for name, classify in self.classifiers.items()]
        decisions = torch.stack([x > 0 if self.attributes else x.argmax(-1) for x in logits])
        self.correct += (decisions == decisions[0]).all(0).sum(0)
        self.total += decisions.shape[1]

    def compute(self) -> dict[str, Tensor]:
        """The share, from 0 to 1, as ``coherence/joint``; each attribute's as a key below."""
        share = self.correct / self.total
        if self.attributes:
            return dict(by_attribute("coherence/joint", self.attributes, share))
        return {"coherence/joint": share}


def _key(subset: tuple[str, ...], target: str) -> str:
    return f"coherence/{'+'.join(subset)}->{target}"


def _means(directions: Mapping[tuple[tuple[str, ...], str], Tensor]) -> dict[str, Tensor]:
    """The means over all directions, over those of so many inputs, and over those to a target."""
    groups: dict[str, list[Tensor]] = {"coherence/mean": []}
    for (subset, target), value in directions.items():
        groups["coherence/mean"].append(value)
        groups.setdefault(f"coherence/mean/{len(subset)}", []).append(value)
        groups.setdefault(f"coherence/mean->{target}", []).append(value)
    return {key: torch.stack(values).mean() for key, values in groups.items()}


def _classifiers(
    modalities: Sequence[str], classifiers: Mapping[str, Callable[[Tensor], Tensor]]
) -> dict[str, Callable[[Tensor], Tensor]]:
    if len(modalities) < 2:
        raise ValueError(f"got modalities {list(modalities)}, expected at least two")
    if missing := [name for name in modalities if name not in classifiers]:
        raise ValueError(
            f"got no classifier for {missing}, expected one for each of {list(modalities)}"
        )
    return {name: classifiers[name] for name in modalities}
