"""Generation coherence: do generated samples show what they were generated from?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from mmvae_bary.barycenters.subsets import evaluated_subsets
from mmvae_bary.metrics.average_precision import average_precision, by_attribute, chance
from mmvae_bary.metrics.classifiers import is_right

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MOST_SHOWN = 5  # modalities, of which every direction is drawn


def sources(modalities: Sequence[str], target: str) -> list[tuple[str, ...]]:
    """The subsets that a target is generated from: those evaluated without it, in their order.

    Example:
        >>> sources(["a", "b", "c"], "b")
        [('a',), ('c',), ('a', 'c')]
    """
    return [subset for subset in evaluated_subsets(modalities) if target not in subset]


def judged_sources(modalities: Sequence[str], target: str) -> list[tuple[str, ...]]:
    """What coherence is told for: the :func:`sources` of a target, and all modalities last.

    Example:
        >>> judged_sources(["a", "b"], "b")
        [('a',), ('a', 'b')]
    """
    return [*sources(modalities, target), tuple(modalities)]


def shown_sources(modalities: Sequence[str], target: str) -> list[tuple[str, ...]]:
    """The sources of a target that pictures are drawn of, all modalities last.

    Those judged, of up to five modalities; of more, each alone and all but the target.

    Example:
        >>> shown_sources(["a", "b"], "b")
        [('a',), ('a', 'b')]
    """
    if len(modalities) <= MOST_SHOWN:
        return judged_sources(modalities, target)
    others = tuple(name for name in modalities if name != target)
    return [*((name,) for name in others), others, tuple(modalities)]


class CrossModalCoherence(Metric):
    """Share of generated samples that a classifier assigns to the true class of their source.

    For every target and every non-empty subset S of the other modalities, and of all of them,
    the target among them, which no mean counts.

    Args:
        modalities: The modalities' names, in the model's order.
        classifiers: Modality name to a function from ``(N, *shape)`` to class logits ``(N, C)``.
            Modules among them must be in evaluation mode, on the device of the samples.
        num_samples: Samples generated from each item and subset.
        num_classes: Number of classes, to tell the share for each class too; not told if None.

    Raises:
        ValueError: If there are fewer than two modalities or one has no classifier.

    References:
        Shi et al., NeurIPS 2019; Sutter, Daunhawer and Vogt, ICLR 2021, section 4.

    Example:
        >>> metric = CrossModalCoherence(["a", "b"], {"a": lambda x: x, "b": lambda x: x})
        >>> digits = torch.eye(3).expand(1, 2, 3, 3)  # samples that are their own logits
        >>> metric.update({"a": digits, "b": digits.roll(1, -1)}, torch.arange(3))
        >>> metric.compute()["coherence/b->a"], metric.compute()["coherence/a->b"]
        (tensor(1.), tensor(0.))
    """

    full_state_update = False
    higher_is_better = True

    group: Tensor
    row: Tensor
    correct: Tensor
    squares: Tensor
    items: Tensor

    def __init__(
        self,
        modalities: Sequence[str],
        classifiers: Mapping[str, Callable[[Tensor], Tensor]],
        num_samples: int = 1,
        num_classes: int | None = None,
    ) -> None:
        super().__init__()
        self.modalities = tuple(modalities)
        self.classifiers = _classifiers(self.modalities, classifiers)
        self.num_samples = num_samples
        self.num_classes = num_classes
        self.groups = _groups(self.modalities)
        pairs = [(g, row) for g, rows in enumerate(self.groups.values()) for row in rows]
        self.register_buffer("group", torch.tensor([g for g, _ in pairs]), persistent=False)
        self.register_buffer("row", torch.tensor([row for _, row in pairs]), persistent=False)
        groups, classes = len(self.groups), num_classes or 1
        # counts, so that no figure depends on the order of batches or processes
        for name, shape in (
            ("correct", (groups, classes)),
            ("squares", (groups,)),
            ("items", (groups, classes)),
        ):
            self.add_state(name, torch.zeros(shape, dtype=torch.long), dist_reduce_fx="sum")

    def update(
        self,
        generated: Mapping[str, Tensor],
        label: Tensor,
        there: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Classify a batch.

        Args:
            generated: Target name to samples of shape ``(S, K, B, *shape)``, S of each item from
                its K :func:`judged_sources`, in their order.
            label: True classes of shape ``(B,)``.
            there: Target name to booleans of shape ``(K, B)``: which of its sources an item has;
                all if None. A mean over directions is of the items that have all of them.
        """
        hits = []
        for name in self.modalities:
            samples = generated[name]
            logits = self.classifiers[name](samples.flatten(0, 2))
            found = is_right(logits.unflatten(0, samples.shape[:3]), label)
            hits.append(found.sum(0))
        directions = torch.cat(hits)  # (R, B), each from 0 to S
        counted = directions.new_ones(len(self.groups), len(label))
        if there is not None:
            absent = ~torch.cat([there[name] for name in self.modalities])
            counted = (self._sums(absent.to(counted)) == 0).to(counted)
        counts = self._sums(directions) * counted
        place = label if self.num_classes else torch.zeros_like(label)
        self.correct = self.correct.index_add(1, place, counts)
        self.squares = self.squares + counts.square().sum(-1)
        self.items = self.items.index_add(1, place, counted)

    def compute(self) -> dict[str, Tensor]:
        """Coherences from 0 to 1 by ``coherence/SOURCES->TARGET``, and their means.

        ``coherence/mean`` is the mean over all directions whose target is not given,
        ``coherence/mean/2`` the mean over those from two inputs, ``coherence/mean->TARGET`` the
        mean over those to one target. Below each its ``standard_error``, from the spread over
        items, where there are two or more, and ``class_C``, the share for the items of a class.
        What no item has is left out.
        """
        size = torch.bincount(self.group) * self.num_samples  # trials for an item
        total = self.items.sum(-1)
        share = self.correct.sum(-1) / (total * size)
        variance = self.squares / (total * size.square()) - share.square()
        error = (variance.clamp(min=0) / (total - 1)).sqrt()
        by_class = self.correct / (self.items * size.unsqueeze(-1))
        result = {}
        for place, (key, count) in enumerate(zip(self.groups, total.tolist(), strict=True)):
            if not count:
                continue
            result[key] = share[place]
            if count > 1:
                result[f"{key}/standard_error"] = error[place]
            if self.num_classes:
                known = {f"{key}/class_{c}": x for c, x in enumerate(by_class[place].unbind())}
                result.update({name: x for name, x in known.items() if not x.isnan()})
        return result

    def _sums(self, directions: Tensor) -> Tensor:
        """Sums over the directions ``(R, B)`` of each figure, of shape ``(groups, B)``."""
        sums = directions.new_zeros(len(self.groups), directions.shape[1])
        return sums.index_add(0, self.group, directions[self.row])


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
            self.add_state(f"scores_{name}", [], dist_reduce_fx="cat")  # (N, K, A)
            self.add_state(f"there_{name}", [], dist_reduce_fx="cat")  # (N, K)
        self.add_state("label", [], dist_reduce_fx="cat")

    def update(
        self,
        generated: Mapping[str, Tensor],
        label: Tensor,
        there: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Classify a batch.

        Args:
            generated: Target name to samples of shape ``(S, K, B, *shape)``, S of each item from
                its K :func:`judged_sources`, in their order.
            label: Zeros and ones of shape ``(B, A)``.
            there: Target name to booleans of shape ``(K, B)``: which of its sources an item has;
                all if None.
        """
        for name in self.modalities:
            samples = generated[name]
            logits = self.classifiers[name](samples.flatten(0, 2)).unflatten(0, samples.shape[:3])
            full = torch.ones(samples.shape[1:3], dtype=torch.bool, device=samples.device)
            has = full if there is None else there[name]  # (K, B)
            getattr(self, f"scores_{name}").append(logits.transpose(1, 2).flatten(0, 1))
            getattr(self, f"there_{name}").append(has.mT.repeat(len(samples), 1))
        self.label.append(label.repeat(len(generated[self.modalities[0]]), 1))

    def compute(self) -> dict[str, Tensor]:
        """Average precisions from 0 to 1 by ``coherence/SOURCES->TARGET``, and their means.

        Each is the mean over the attributes, which follow by ``SOURCES->TARGET/ATTRIBUTE``, those
        left out that no sample has; means as in :class:`CrossModalCoherence`, but each direction
        on the items that have its source. A precision is one of all samples together and has no
        standard error over them. What random scores reach is ``coherence/chance``, the mean over
        ``coherence/chance/ATTRIBUTE``, which is the share of samples that have it. What no item
        has is left out.
        """
        label = dim_zero_cat(self.label)
        result = dict(by_attribute("coherence/chance", self.attributes, chance(label)))
        directions = [
            average_precision(scores[there], label[there])
            for target in self.modalities
            for scores, there in zip(
                dim_zero_cat(getattr(self, f"scores_{target}")).unbind(1),
                dim_zero_cat(getattr(self, f"there_{target}")).unbind(1),
                strict=True,
            )
        ]
        precision = torch.stack(directions)  # (R, A)
        for key, rows in _groups(self.modalities).items():
            figures = precision[rows].mean(0)
            if not figures.isnan().all():
                result.update(by_attribute(key, self.attributes, figures))
        return result


class JointCoherence(Metric):
    """Share of joint samples from the prior that every modality's classifier gives one class.

    Of attributes: the share on which the classifiers agree whether it is there, for each. Where a
    logit is not finite they do not agree.

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
    squares: Tensor
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
        for name, shape in (
            ("correct", (len(self.attributes) or 1,)),
            ("squares", ()),
            ("total", ()),
        ):
            self.add_state(name, torch.zeros(shape, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, generated: Mapping[str, Tensor]) -> None:
        """Classify joint samples: modality name to ``(N, *shape)``, row n from one latent."""
        logits = [classify(generated[name]) for name, classify in self.classifiers.items()]
        decisions = [x > 0 if self.attributes else x.argmax(-1, keepdim=True) for x in logits]
        known = torch.stack([x.isfinite().all(-1, keepdim=True) for x in logits]).all(0)
        agreed = torch.stack([x == decisions[0] for x in decisions]).all(0) & known  # (N, A or 1)
        self.correct += agreed.sum(0)
        self.squares += agreed.sum(1).square().sum()
        self.total += len(agreed)

    def compute(self) -> dict[str, Tensor]:
        """The share, from 0 to 1, as ``coherence/joint``; each attribute's as a key below.

        And its ``standard_error``, from the spread over samples, where there are two or more.
        """
        shares = self.correct / self.total
        result = {"coherence/joint": (mean := shares.mean())}
        if self.total > 1:
            variance = self.squares / (self.total * len(shares) ** 2) - mean.square()
            error = (variance.clamp(min=0) / (self.total - 1)).sqrt()
            result["coherence/joint/standard_error"] = error
        if self.attributes:
            result.update(by_attribute("coherence/joint", self.attributes, shares))
        return result


def _groups(modalities: Sequence[str]) -> dict[str, list[int]]:
    """What is told: a figure's key to the directions that it is the mean of.

    Each direction by itself and, of those whose target is not given, all of them, those of so many
    inputs, and those to a target. They are counted target by target, each from its
    :func:`judged_sources`.
    """
    directions = [(s, name) for name in modalities for s in judged_sources(modalities, name)]
    groups = {f"coherence/{'+'.join(s)}->{name}": [r] for r, (s, name) in enumerate(directions)}
    for row, (subset, target) in enumerate(directions):
        if target in subset:
            continue
        groups.setdefault("coherence/mean", []).append(row)
        groups.setdefault(f"coherence/mean/{len(subset)}", []).append(row)
        groups.setdefault(f"coherence/mean->{target}", []).append(row)
    return groups


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
