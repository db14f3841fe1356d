"""Generation coherence: do generated samples show what they were generated from?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torchmetrics import Metric

from mmvae_bary.barycenters.subsets import powerset

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
        if len(modalities) < 2:
            raise ValueError(f"got modalities {list(modalities)}, expected at least two")
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
        result: dict[str, Tensor] = {}
        groups: dict[str, list[Tensor]] = {"coherence/mean": []}
        for target in self.modalities:
            shares = (getattr(self, f"correct_{target}") / self.total).unbind()
            for subset, share in zip(sources(self.modalities, target), shares, strict=True):
                result[f"coherence/{'+'.join(subset)}->{target}"] = share
                groups["coherence/mean"].append(share)
                groups.setdefault(f"coherence/mean/{len(subset)}", []).append(share)
                groups.setdefault(f"coherence/mean->{target}", []).append(share)
        return result | {key: torch.stack(shares).mean() for key, shares in groups.items()}


class JointCoherence(Metric):
    """Share of joint samples from the prior that every modality's classifier gives one class.

    Args:
        modalities: The modalities' names, in the model's order.
        classifiers: Modality name to a function from ``(N, *shape)`` to class logits ``(N, C)``.
            Modules among them must be in evaluation mode, on the device of the samples.

    References:
        Shi et al., NeurIPS 2019, section 4.
    """

    full_state_update = False
    higher_is_better = True

    correct: Tensor
    total: Tensor

    def __init__(
        self, modalities: Sequence[str], classifiers: Mapping[str, Callable[[Tensor], Tensor]]
    ) -> None:
        super().__init__()
        self.classifiers = _classifiers(modalities, classifiers)
        self.add_state("correct", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("total", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, generated: Mapping[str, Tensor]) -> None:
        """Classify joint samples: modality name to ``(N, *shape)``, row n from one latent."""
        classes = torch.stack(
            [classify(generated[name]).argmax(-1) for name, classify in self.classifiers.items()]
        )
        self.correct += (classes == classes[0]).all(0).sum()
        self.total += classes.shape[1]

    def compute(self) -> dict[str, Tensor]:
        """The share, from 0 to 1, as ``coherence/joint``."""
        return {"coherence/joint": self.correct / self.total}


def _classifiers(
    modalities: Sequence[str], classifiers: Mapping[str, Callable[[Tensor], Tensor]]
) -> dict[str, Callable[[Tensor], Tensor]]:
    if missing := [name for name in modalities if name not in classifiers]:
        raise ValueError(
            f"got no classifier for {missing}, expected one for each of {list(modalities)}"
        )
    return {name: classifiers[name] for name in modalities}
