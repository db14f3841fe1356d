"""Callbacks that judge the latent, what is generated from it, its quality and its likelihood."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor, nn

from mmvae_bary.callbacks.base import (
    MetricCallback,
    data_of,
    label_of,
    measure_of,
)
from mmvae_bary.checks import check_at_least, check_one_of
from mmvae_bary.distributions import Mixture
from mmvae_bary.estimators import grouped_across_items
from mmvae_bary.metrics import (
    AttributeCoherence,
    AttributeProbe,
    ClassifierFeatures,
    CrossModalCoherence,
    FrechetDistance,
    InceptionFeatures,
    JointCoherence,
    LinearProbe,
    LogLikelihood,
    ModalityClassifiers,
    ReconstructionQuality,
)
from mmvae_bary.metrics.coherence import judged_sources, sources
from mmvae_bary.metrics.linear_probe import Probe
from mmvae_bary.modality import is_picture
from mmvae_bary.model import Encoding, MultimodalVAE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from torch.distributions import Distribution
    from torchmetrics import Metric

    from mmvae_bary.batch import Batch
    from mmvae_bary.data import MultimodalDataModule

Representation = Literal["component", "mean"]
ProposalDensity = Literal["mixture", "component"]
# What keeps classifiers from judging, in the words of whoever finds it
BELOW_GATE = "below their gate"
NO_CLASSIFIERS = "a configuration without a CoherenceCallback"


class LinearProbeCallback(MetricCallback):
    """A linear probe on the latent representation of every subset of modalities.

    Its accuracy or, where a label is binary attributes, its average precision.

    Args:
        num_rows: Training tuples the probe is fitted on, drawn without replacement, the same for
            every subset, which takes those that have it whole; all tuples if None.
        seed: Seed of the rows and of the draws.
        representation: Of a mixture: the mean of one ``"component"`` drawn per item, as in
            published tables, or the mixture's ``"mean"``. A Gaussian is represented by its mean.
    """

    def __init__(
        self,
        num_rows: int | None = 500,
        seed: int = 0,
        representation: Representation = "component",
    ) -> None:
        super().__init__(seed)
        check_one_of(Representation, representation=representation)
        self.num_rows = num_rows
        self.representation = representation

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse too many rows before time is spent."""
        if stage != "predict":
            data_of(trainer).probe_dataloader(self.num_rows, self.stream)

    def start(self, data: MultimodalDataModule, model: MultimodalVAE) -> list[Metric]:
        rows, labels, there = [], [], []
        for batch in data.probe_dataloader(self.num_rows, self.stream):
            encoding = model.encode_batch(batch)
            rows.append(self._represent(model.conditionals(encoding)))
            labels.append(label_of(batch))
            there.append(model.has_subsets(encoding, len(batch)))
        self.probe: Probe = (
            AttributeProbe(model.names, data.attributes)
            if data.attributes
            else LinearProbe(model.names, data.num_classes)
        )
        self.probe.fit(torch.cat(rows, 1), torch.cat(labels), torch.cat(there, 1))
        return [self.probe]

    def update(self, model: MultimodalVAE, batch: Batch, encoding: Encoding) -> None:
        rows = self._represent(model.conditionals(encoding))
        self.probe.update(rows, label_of(batch), model.has_subsets(encoding, len(batch)))

    def _represent(self, posterior: Distribution) -> Tensor:
        if isinstance(posterior, Mixture) and self.representation == "component":
            return posterior.choose().mean
        return posterior.mean


class CoherenceCallback(MetricCallback):
    """Cross-modal and joint coherence, judged by a classifier for each modality.

    Latents are drawn from q(z | x_S) for every item and subset S, every target outside S is
    decoded from them, and given all every target, and the mean of p(x | z) is classified.
    Classifiers are trained on first use, kept beside the data, and always judge in evaluation
    mode. The test tells the coherence of each class, or attribute, too.

    Args:
        classifiers: Modality name to a network from ``(N, *shape)`` to the logits of classes or
            of attributes.
        max_steps: Steps for which the classifiers are trained, all at once.
        gate: Score on the test set below which a classifier is called unfit to judge, one or by
            modality: the accuracy or, of attributes, the mean average precision.
        seed: Seed of the draws.
        num_samples: Latents drawn for every item and subset, one in published tables.

    Raises:
        ValueError: If the gate is not one for each classifier, or ``num_samples`` below one.
    """

    def __init__(
        self,
        classifiers: dict[str, nn.Module],
        max_steps: int = 1000,
        gate: float | dict[str, float] = 0.9,
        seed: int = 0,
        num_samples: int = 1,
    ) -> None:
        super().__init__(seed)
        check_at_least(1, num_samples=num_samples)
        self.num_samples = num_samples
        self.classifiers = ModalityClassifiers(classifiers, max_steps)
        self.gate = gate if isinstance(gate, dict) else dict.fromkeys(classifiers, gate)
        _one_each("gate", self.gate, classifiers)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Train the classifiers, or load them where that was done before."""
        if stage == "predict":
            return
        assert isinstance(pl_module, MultimodalVAE)
        networks = self.classifiers.networks
        _one_each("classifiers", networks, pl_module.names)
        if stage == "fit":  # refuse batches that the data do not fill before time is spent
            data_of(trainer).train_dataloader()
        path = self.fit_classifiers(trainer)
        trainer.strategy.barrier("classifiers")
        if not self.classifiers.load(path, trainer.strategy.root_device):
            raise FileNotFoundError(
                f"got no classifiers at {path}, expected those that the first process keeps "
                "there: all processes need one cache"
            )
        measure = measure_of(data_of(trainer)).replace("_", " ")
        for name in self.unfit:
            rank_zero_warn(
                f"the classifier of {name!r} has a test {measure} of "
                f"{self.classifiers.score[name]:.3f}, below the gate of {self.gate[name]}: "
                f"coherence towards {name!r} means little"
            )

    def fit_classifiers(self, trainer: Trainer) -> Path:
        """Train and measure the classifiers unless that was done before, on the first process.

        Args:
            trainer: Says on which device, and has the data, which is set up.

        Returns:
            The file they are kept in.

        Raises:
            ValueError: If they are not those of the data's modalities.
        """
        judges, data = self.classifiers, data_of(trainer)
        _one_each("classifiers", judges.networks, data.modalities)
        device, bfloat16 = trainer.strategy.root_device, trainer.precision == "bf16-mixed"
        path = judges.path(data.cache, data.fingerprint("train"), bfloat16=bfloat16)
        if not trainer.is_global_zero:
            return path
        if not judges.load(path, device):
            judges.check(data.sample_batch(1), getattr(data, "num_classes", None))
            rank_zero_info(f"Training the classifiers that judge coherence, to keep in {path}")
            train = data.endless_batches("train", judges.batch_size)
            judges.fit(train, device, bfloat16=bfloat16)
        if judges.measured_on != data.fingerprint("test"):
            judges.measure(data.batches("test", data.eval_batch_size), data.fingerprint("test"))
            judges.save(path)
        return path

    @property
    def unfit(self) -> list[str]:
        """The modalities whose classifier is below its gate."""
        return [name for name, score in self.classifiers.score.items() if score < self.gate[name]]

    def start(self, data: MultimodalDataModule, model: MultimodalVAE) -> list[Metric]:
        networks = dict(self.classifiers.networks.items())
        self.cross_modal: CrossModalCoherence | AttributeCoherence = (
            AttributeCoherence(model.names, networks, data.attributes)
            if data.attributes
            else CrossModalCoherence(
                model.names,
                networks,
                self.num_samples,
                getattr(data, "num_classes", None) if model.trainer.testing else None,
            )
        )
        self.joint = JointCoherence(model.names, networks, data.attributes)
        self.source_rows = source_rows(model, judged_sources)
        return [self.cross_modal, self.joint]

    def update(self, model: MultimodalVAE, batch: Batch, encoding: Encoding) -> None:
        z = model.conditionals(encoding).rsample((self.num_samples,))  # (S, K, B, D)
        generated = {
            name: model.decode_modality(name, z[:, rows]).mean
            for name, rows in self.source_rows.items()
        }
        given = model.has_subsets(encoding, len(batch))  # (K, B)
        there = {name: given[rows] for name, rows in self.source_rows.items()}
        self.cross_modal.update(generated, label_of(batch), there)
        self.joint.update(model.generate(num_samples=self.num_samples * len(batch)))


class LogLikelihoodCallback(MetricCallback):
    """Importance-sampled log-likelihoods of the test set given every subset of modalities.

    In the test alone: every latent of every subset goes through every decoder, many times what
    the other figures cost, and the validation step has logged the ELBO already. Needs no labels.

    Args:
        num_samples: Latents drawn for every item and subset.
        num_items: Judge the first so many test tuples, all if None, as the whole set may take
            hours without a GPU. The first ones, so that all models are judged on the same; the
            standard errors logged beside the figures tell whether they are enough.
        proposal: Of a mixture: importance weights by the exact density of the ``"mixture"``, or
            by that of one ``"component"`` drawn per item, as in published tables.
        grouped: Log the reference code's biased figures too, as ``log_likelihood_grouped/...``;
            see :func:`~mmvae_bary.estimators.grouped_across_items`. They depend on the data's
            ``eval_batch_size``, which was 64.
        seed: Seed of the draws.

    Raises:
        ValueError: If a number is below one or the proposal unknown.
    """

    in_validation = False

    def __init__(
        self,
        num_samples: int = 12,
        num_items: int | None = None,
        proposal: ProposalDensity = "mixture",
        grouped: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(seed)
        check_at_least(1, num_samples=num_samples, num_items=num_items)
        check_one_of(ProposalDensity, proposal=proposal)
        self.num_samples = num_samples
        self.num_items = num_items
        self.one_component = proposal == "component"
        self.grouped = grouped

    def start(self, data: MultimodalDataModule, model: MultimodalVAE) -> list[Metric]:
        metrics: list[Metric] = [LogLikelihood(model.names)]
        if self.grouped:
            prefix = "log_likelihood_grouped"
            metrics.append(LogLikelihood(model.names, grouped_across_items, prefix))
        return metrics

    def update(self, model: MultimodalVAE, batch: Batch, encoding: Encoding) -> None:
        if self.grouped and batch.present is not None:  # it mixes items
            raise ValueError("grouped: got samples with a mask, expected none to lack a modality")
        weights = model.log_weights(
            batch.inputs, encoding, self.num_samples, one_component=self.one_component
        )
        given = model.has_subsets(encoding, len(batch))  # (K, B)
        # all modalities, then each alone; a list of indices would be copied, for which a GPU waits
        targets = given.roll(1, 0)[: 1 + len(model.names)]
        there = given.unsqueeze(1) & targets
        for metric in self.metrics:
            metric.update(weights[..., : self.num_left], there[..., : self.num_left])

    def _update(
        self, trainer: Trainer, model: LightningModule, encoding: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(model, MultimodalVAE)
        self.num_left = len(batch)
        if self.num_items is not None:
            first = model.batch_number(batch_idx) * data_of(trainer).eval_batch_size
            self.num_left = self.num_items - first
        if self.num_left > 0:
            super()._update(trainer, model, encoding, batch, batch_idx)


class QualityCallback(MetricCallback):
    """Fréchet distances of what is generated, and errors of what is reconstructed, in the test.

    It stands beside a :class:`CoherenceCallback`, whose classifiers' features it takes.

    Fréchet distances from the test set for every direction, and from the prior, in the features
    of the classifiers that judge coherence; mean squared error, peak signal-to-noise ratio and
    structural similarity of each modality reconstructed from itself and from all, text left out.

    Args:
        inception: File of Inception-v3's weights, ``pt_inception-2015-12-05-6726825d.pth`` of
            torch-fidelity, whose features then judge pictures, as in published distances (FID).
            Takes ``pip install 'mmvae-bary[fid]'``.
        seed: Seed of the draws.

    Raises:
        FileNotFoundError: If there is no such file.
    """

    in_validation = False

    def __init__(self, inception: str | None = None, seed: int = 0) -> None:
        super().__init__(seed)
        if inception is not None and not Path(inception).is_file():
            raise FileNotFoundError(f"inception: got {inception!r}, expected a file of weights")
        self.inception = inception

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse what has no features before time is spent."""
        if stage == "predict":
            return
        assert isinstance(pl_module, MultimodalVAE)
        classifiers = judges(trainer)
        if classifiers is None:
            raise ValueError(f"QualityCallback: got {NO_CLASSIFIERS}, expected one")
        self.features: dict[str, nn.Module] = {
            name: ClassifierFeatures(network) for name, network in classifiers.networks.items()
        }
        if self.inception is not None:
            network = InceptionFeatures(self.inception)
            for name, modality in pl_module.modalities.items():
                if is_picture(modality.shape):
                    self.features[name] = network

    def start(self, data: MultimodalDataModule, model: MultimodalVAE) -> list[Metric]:
        for network in self.features.values():
            network.to(model.device)
        shapes = {name: m.shape for name, m in model.modalities.items()}
        self.source_rows = source_rows(model, sources)
        self.frechet = FrechetDistance(model.names, self.features)
        judged = {name: shape for name, shape in shapes.items() if name not in data.alphabets}
        self.reconstruction = ReconstructionQuality(model.names, judged)
        return [self.frechet, self.reconstruction]

    def update(self, model: MultimodalVAE, batch: Batch, encoding: Encoding) -> None:
        z = model.conditionals(encoding).rsample()  # (K, B, D)
        generated, reconstructed = {}, {}
        for place, name in enumerate(model.names):
            generated[name] = model.decode_modality(name, z[self.source_rows[name]]).mean
            private = encoding.private.get(name)
            sample = None if private is None else private.rsample((2,))
            # from the modality alone, and from all
            drawn = torch.stack([z[place], z[-1]])
            reconstructed[name] = model.decode_modality(name, drawn, sample).mean
        prior = model.generate(num_samples=len(batch))
        present = there = both = None
        if batch.present is not None:
            has = model.has_subsets(encoding, len(batch))  # (K, B), each modality alone first
            present = dict(zip(model.names, has, strict=False))
            there = {name: has[rows] for name, rows in self.source_rows.items()}
            both = {name: torch.stack([flags, has[-1]]) for name, flags in present.items()}
        self.frechet.update(batch.inputs, generated, prior, present, there)
        self.reconstruction.update(batch.inputs, reconstructed, both)


def judges(trainer: Trainer) -> ModalityClassifiers | None:
    """The classifiers of a trainer's CoherenceCallback, or None where it has none."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, CoherenceCallback):
            return callback.classifiers
    return None


def _one_each(what: str, given: Iterable[str], names: Iterable[str]) -> None:
    if set(given) != set(names):
        raise ValueError(f"{what}: got {list(given)}, expected one for each of {list(names)}")


def source_rows(
    model: MultimodalVAE, of: Callable[[Sequence[str], str], list[tuple[str, ...]]]
) -> dict[str, Tensor]:
    """Where the subsets that each target is generated from stand among the model's."""
    place = {subset: row for row, subset in enumerate(model.subsets)}
    return {
        name: torch.tensor([place[s] for s in of(model.names, name)], device=model.device)
        for name in model.names
    }
