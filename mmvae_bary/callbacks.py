"""Callbacks that judge a model during and after a run, draw its samples and keep its results."""

from __future__ import annotations

import json
import os
import platform
import re
import time
from abc import ABC, abstractmethod
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor, nn

from mmvae_bary.barycenters.subsets import powerset
from mmvae_bary.data import MultimodalDataModule
from mmvae_bary.distributions import Mixture, derive_seed, seeded
from mmvae_bary.estimators import grouped_across_items
from mmvae_bary.metrics import (
    AttributeCoherence,
    AttributeProbe,
    CrossModalCoherence,
    JointCoherence,
    LinearProbe,
    LogLikelihood,
    ModalityClassifiers,
)
from mmvae_bary.metrics.coherence import sources
from mmvae_bary.metrics.linear_probe import Probe
from mmvae_bary.model import Encoding, MultimodalVAE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch.distributions import Distribution
    from torchmetrics import Metric

    from mmvae_bary.batch import Batch

Representation = Literal["component", "mean"]
ProposalDensity = Literal["mixture", "component"]
# What keeps classifiers from judging, in the words of whoever finds it
BELOW_GATE = "below their gate"
NO_CLASSIFIERS = "a configuration without a CoherenceCallback"


class MetricCallback(Callback, ABC):
    """Feed torchmetrics from the encodings that validation and test steps return.

    Validation figures are logged as ``val/KEY``, test figures as ``KEY``. All draws are seeded by
    the batch, so that a figure depends on the weights and the data alone, and not on how many
    processes share the batches.

    Args:
        seed: Seed of the draws.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.metrics: list[Metric] = []

    @abstractmethod
    def start(self, data: MultimodalDataModule, model: MultimodalVAE) -> list[Metric]:
        """Make the metrics of an evaluation; called under a fixed seed."""

    @abstractmethod
    def update(self, model: MultimodalVAE, batch: Batch, encoding: Encoding) -> None:
        """Feed the metrics a batch; called under a seed of the batch's own."""

    def _start(self, trainer: Trainer, model: LightningModule) -> None:
        assert isinstance(model, MultimodalVAE)
        with seeded(self.seed, model.device):
            self.metrics = self.start(_data(trainer), model)
        for metric in self.metrics:
            metric.to(model.device)

    def _update(
        self, trainer: Trainer, model: LightningModule, encoding: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(model, MultimodalVAE)
        with seeded(derive_seed(self.seed, model.batch_number(batch_idx)), model.device):
            self.update(model, batch, encoding)

    def _log(self, model: LightningModule, prefix: str) -> None:
        for metric in self.metrics:
            for key, value in metric.compute().items():
                # already one value in all processes; sync_dist tells Lightning so
                model.log(prefix + key, value.float(), sync_dist=True)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start(trainer, pl_module)

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start(trainer, pl_module)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._update(trainer, pl_module, outputs, batch, batch_idx)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._update(trainer, pl_module, outputs, batch, batch_idx)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._log(pl_module, "val/")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._log(pl_module, "")


class LinearProbeCallback(MetricCallback):
    """A linear probe on the latent representation of every subset of modalities.

    Its accuracy or, where a label is binary attributes, its average precision.

    Args:
        num_rows: Training tuples the probe is fitted on, drawn without replacement, the same for
            every subset.
        seed: Seed of the rows and of the draws.
        representation: Of a mixture: the mean of one ``"component"`` drawn per item, as in
            published tables, or the mixture's ``"mean"``. A Gaussian is represented by its mean.
    """

    def __init__(
        self, num_rows: int = 500, seed: int = 0, representation: Representation = "component"
    ) -> None:
        super().__init__(seed)
        if representation not in get_args(Representation):
            raise ValueError(
                f"got representation={representation!r}, expected one of "
                f"{get_args(Representation)}"
            )
        self.num_rows = num_rows
        self.representation = representation

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse too many rows before time is spent."""
        if stage != "predict":
            _data(trainer).probe_dataloader(self.num_rows, self.seed)

    def start(self, data: MultimodalDataModule, model: MultimodalVAE) -> list[Metric]:
        rows, labels = [], []
        for batch in data.probe_dataloader(self.num_rows, self.seed):
            encoding = model.encode_modalities(batch.inputs, batch.present)
            rows.append(self._represent(model.conditionals(encoding)))
            labels.append(_label(batch))
        self.probe: Probe = (
            AttributeProbe(model.names, data.attributes)
            if data.attributes
            else LinearProbe(model.names, data.num_classes)
        )
        self.probe.fit(torch.cat(rows, 1), torch.cat(labels))
        return [self.probe]

    def update(self, model: MultimodalVAE, batch: Batch, encoding: Encoding) -> None:
        self.probe.update(self._represent(model.conditionals(encoding)), _label(batch))

    def _represent(self, posterior: Distribution) -> Tensor:
        if isinstance(posterior, Mixture) and self.representation == "component":
            return posterior.choose().mean
        return posterior.mean


class CoherenceCallback(MetricCallback):
    """Cross-modal and joint coherence, judged by a classifier for each modality.

    One z is drawn from q(z | x_S) for every item and subset S, every target outside S is decoded
    from it, and the mean of p(x | z) is classified. Classifiers are trained on first use, kept
    beside the data, and always judge in evaluation mode.

    Args:
        classifiers: Modality name to a network from ``(N, *shape)`` to the logits of classes or
            of attributes.
        max_steps: Steps for which the classifiers are trained, all at once.
        gate: Score on the test set below which a classifier is called unfit to judge, one or by
            modality: the accuracy or, of attributes, the mean average precision.
        seed: Seed of the draws.
    """

    def __init__(
        self,
        classifiers: dict[str, nn.Module],
        max_steps: int = 1000,
        gate: float | dict[str, float] = 0.9,
        seed: int = 0,
    ) -> None:
        super().__init__(seed)
        self.classifiers = ModalityClassifiers(classifiers, max_steps)
        self.gate = gate if isinstance(gate, dict) else dict.fromkeys(classifiers, gate)
        if set(self.gate) != set(classifiers):
            raise ValueError(
                f"gate: got {list(self.gate)}, expected a number or one for each of "
                f"{list(classifiers)}"
            )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Train the classifiers, or load them where that was done before."""
        if stage == "predict":
            return
        assert isinstance(pl_module, MultimodalVAE)
        networks = self.classifiers.networks
        if set(networks) != set(pl_module.names):
            raise ValueError(
                f"classifiers: got {list(networks)}, expected one for each of "
                f"{list(pl_module.names)}"
            )
        path = self.fit_classifiers(trainer)
        trainer.strategy.barrier("classifiers")
        if not self.classifiers.load(path, trainer.strategy.root_device):
            raise FileNotFoundError(
                f"got no classifiers at {path}, expected those that the first process keeps "
                "there: all processes need one cache"
            )
        measure = _measure(_data(trainer)).replace("_", " ")
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
        judges, data = self.classifiers, _data(trainer)
        if set(judges.networks) != set(data.modalities):
            raise ValueError(
                f"classifiers: got {list(judges.networks)}, expected one for each modality of the "
                f"data: {list(data.modalities)}"
            )
        device, bfloat16 = trainer.strategy.root_device, trainer.precision == "bf16-mixed"
        path = judges.path(data.cache, data.fingerprint("train"), bfloat16=bfloat16)
        if not trainer.is_global_zero:
            return path
        if not judges.load(path, device):
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
            else CrossModalCoherence(model.names, networks)
        )
        self.joint = JointCoherence(model.names, networks, data.attributes)
        subsets = powerset(model.names)
        self.source_rows = {
            name: torch.tensor(
                [subsets.index(subset) for subset in sources(model.names, name)],
                device=model.device,
            )
            for name in model.names
        }
        return [self.cross_modal, self.joint]

    def update(self, model: MultimodalVAE, batch: Batch, encoding: Encoding) -> None:
        z = model.conditionals(encoding).rsample()  # (K, B, D)
        generated = {
            name: model.decode_modality(name, z[rows]).mean
            for name, rows in self.source_rows.items()
        }
        self.cross_modal.update(generated, _label(batch))
        self.joint.update(model.generate(num_samples=len(batch)))


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

    def __init__(
        self,
        num_samples: int = 12,
        num_items: int | None = None,
        proposal: ProposalDensity = "mixture",
        grouped: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(seed)
        if num_samples < 1 or (num_items is not None and num_items < 1):
            raise ValueError(
                f"got num_samples={num_samples} and num_items={num_items}, expected at least 1"
            )
        if proposal not in get_args(ProposalDensity):
            raise ValueError(
                f"got proposal={proposal!r}, expected one of {get_args(ProposalDensity)}"
            )
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
        if batch.present is not None:
            raise ValueError(
                "log-likelihood: got a batch with missing modalities, expected complete samples"
            )
        weights = model.log_weights(
            batch.inputs, encoding, self.num_samples, one_component=self.one_component
        )
        for metric in self.metrics:
            metric.update(weights[..., : self.num_left])

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        assert isinstance(pl_module, MultimodalVAE)
        self.num_left = len(batch)
        if self.num_items is not None:
            first = pl_module.batch_number(batch_idx) * _data(trainer).eval_batch_size
            self.num_left = self.num_items - first
        if self.num_left > 0:
            self._update(trainer, pl_module, outputs, batch, batch_idx)

    def on_validation_epoch_start(self, *args: Any, **kwargs: Any) -> None: ...

    def on_validation_batch_end(self, *args: Any, **kwargs: Any) -> None: ...

    def on_validation_epoch_end(self, *args: Any, **kwargs: Any) -> None: ...


class SampleGridCallback(Callback):
    """Draw what is generated in each direction, after the test, into ``samples/`` of the run.

    Real samples of the sources stand above, generated samples of the target below. Weights &
    Biases gets the same pictures.

    Args:
        num_columns: Test tuples in a grid.
        num_samples: Generated rows below them.
        seed: Seed of the draws.
    """

    def __init__(self, num_columns: int = 10, num_samples: int = 5, seed: int = 0) -> None:
        self.num_columns = num_columns
        self.num_samples = num_samples
        self.seed = seed

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the grids."""
        folder = run_folder(trainer) / "samples"
        if trainer.fast_dev_run or not trainer.is_global_zero:  # type: ignore[attr-defined]
            return
        assert isinstance(pl_module, MultimodalVAE)
        data = _data(trainer)
        folder.mkdir(parents=True, exist_ok=True)
        batch = data.sample_batch(self.num_columns)
        for target in pl_module.names:
            for subset in sources(pl_module.names, target):
                with seeded(self.seed, pl_module.device):
                    samples = pl_module.generate(batch.inputs, subset, [target], self.num_samples)
                rows = [(name, batch.inputs[name]) for name in subset]
                rows += [(target, sample) for sample in samples[target]]
                self._save(trainer, rows, data.alphabets, folder, "+".join(subset), target)
        with seeded(self.seed, pl_module.device):
            joint = pl_module.generate(num_samples=self.num_columns)
        self._save(trainer, list(joint.items()), data.alphabets, folder, "prior", "all")

    def _save(
        self,
        trainer: Trainer,
        rows: list[tuple[str, Tensor]],
        alphabets: Mapping[str, str],
        folder: Path,
        source: str,
        target: str,
    ) -> None:
        # matplotlib takes a second to import, which importing this package should not take
        from mmvae_bary.plotting import sample_grid

        figure = sample_grid(rows, alphabets, f"{source} → {target}")
        path = folder / f"{source}_to_{target}.png"
        figure.savefig(path, dpi=120)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image(f"samples/{source}->{target}", [str(path)])


class ResultsCallback(Callback):
    """After the test, print a table like the paper's and write ``results.json`` to the run."""

    def __init__(self) -> None:
        self.seconds = {"fit": 0.0, "test": 0.0}
        self.progress = {"steps": 0, "epochs": 0}
        self.fit_started: float | None = None
        self.test_started = 0.0

    def state_dict(self) -> dict[str, Any]:
        """The seconds of fitting so far, which a resumed run goes on counting."""
        return {"fit": self.seconds["fit"] + self._since_fit_started()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting from a checkpoint's seconds."""
        self.seconds["fit"] = state_dict["fit"]

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Remember how far the checkpoint's training had come; a test does not restore that."""
        self.progress = {"steps": checkpoint["global_step"], "epochs": checkpoint["epoch"]}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self.fit_started = time.perf_counter()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self.seconds["fit"] += self._since_fit_started()
        self.fit_started = None
        self.progress = {"steps": trainer.global_step, "epochs": trainer.current_epoch}

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self.test_started = time.perf_counter()

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print and write."""
        folder = run_folder(trainer)
        if not trainer.is_global_zero:
            return
        assert isinstance(pl_module, MultimodalVAE)
        self.seconds["test"] = time.perf_counter() - self.test_started
        figures = {key: value.item() for key, value in trainer.callback_metrics.items()}
        meta = self._meta(trainer, pl_module)
        _print_table(pl_module.names, _measure(_data(trainer)), figures, meta)
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        folder.mkdir(parents=True, exist_ok=True)
        beside = folder / f"results.{os.getpid()}.part"
        beside.write_text(json.dumps({**figures, "meta": meta}, indent=2) + "\n", encoding="utf-8")
        beside.replace(folder / "results.json")
        rank_zero_info(f"The run is in {folder}")

    def _since_fit_started(self) -> float:
        return 0.0 if self.fit_started is None else time.perf_counter() - self.fit_started

    def _meta(self, trainer: Trainer, model: MultimodalVAE) -> dict[str, Any]:
        packages = ("mmvae-bary", "torch", "lightning", "torchmetrics")
        data, scores = _data(trainer), {}
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, CoherenceCallback):
                scores = callback.classifiers.score
        return {
            "model": type(model).__name__,
            "barycenter": re.sub(r"\s+|\(inner\): ", "", repr(model.barycenter)),
            "data": type(data).__name__,
            "data_notes": data.notes,
            "seed": int(os.environ["PL_GLOBAL_SEED"]) if "PL_GLOBAL_SEED" in os.environ else None,
            **self.progress,
            "precision": str(trainer.precision),
            "device": _device_name(model.device),
            "processes": trainer.world_size,
            "seconds": {stage: round(seconds, 1) for stage, seconds in self.seconds.items()},
            f"classifier_{_measure(data)}": scores,
            "versions": {name: version(name) for name in packages}
            | {"python": platform.python_version()},
        }


def _measure(data: MultimodalDataModule) -> str:
    """What probes and classifiers are judged by, as it stands in the figures' keys."""
    return "average_precision" if data.attributes else "accuracy"


def run_folder(trainer: Trainer) -> Path:
    """The folder of a run, which its loggers and checkpoints share; to call in all processes."""
    return Path(trainer.log_dir or trainer.default_root_dir)


def _data(trainer: Trainer) -> MultimodalDataModule:
    data = trainer.datamodule  # type: ignore[attr-defined]
    if not isinstance(data, MultimodalDataModule):
        raise TypeError(
            f"got a trainer with datamodule {type(data).__name__}, expected a "
            "MultimodalDataModule: pass it as Trainer.fit(model, datamodule=...)"
        )
    return data


def _label(batch: Batch) -> Tensor:
    if batch.label is None or batch.present is not None:
        raise ValueError(
            "probe and coherence: got a batch without labels or with missing modalities, "
            "expected complete samples with labels"
        )
    return batch.label


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} {device.type}, {torch.get_num_threads()} threads"


def _print_table(
    names: tuple[str, ...], measure: str, figures: dict[str, float], meta: dict[str, Any]
) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{meta['model']}, {meta['barycenter']}, on {meta['data']}, test set")
    table.add_column("given")
    table.add_column("probe", justify="right")
    for name in names:
        table.add_column(f"→ {name}", justify="right")
    table.add_column("log p(X)", justify="right")

    def add(row: str, probe: str, keys: list[str]) -> None:
        cells = [_cell(figures.get(key)) for key in [probe, *keys]]
        table.add_row(row, *cells, _cell(figures.get(f"log_likelihood/{row}"), ".1f"))

    for subset in map("+".join, powerset(names)):
        keys = [f"coherence/{subset}->{name}" for name in names]
        add(subset, f"probe/{measure}/{subset}", keys)
    table.add_section()
    add("mean", f"probe/{measure}/mean", [f"coherence/mean->{name}" for name in names])
    if "coherence/chance" in figures:
        add("chance (base rates)", "probe/chance", ["coherence/chance"] * len(names))
    scores = [meta[f"classifier_{measure}"].get(name) for name in names]
    table.add_row("classifier, real data", "", *map(_cell, scores))
    table.caption = "; ".join(
        [
            f"probe: {measure.replace('_', ' ')} of a linear probe. →: coherence of what is "
            f"generated, its classifier's {measure.replace('_', ' ')}, mean "
            f"{_cell(figures.get('coherence/mean'))}",
            "log p(X): log-likelihood of all modalities, z drawn given some, in nats",
            f"classifiers agree on what the prior gives: {_cell(figures.get('coherence/joint'))}",
            *meta["data_notes"],
        ]
    )
    Console().print(table)


def _cell(value: float | None, form: str = ".3f") -> str:
    return "" if value is None else format(value, form)
