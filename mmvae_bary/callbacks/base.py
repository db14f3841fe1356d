"""What callbacks that judge a model share: metrics fed by its steps, and a run's parts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch import Callback, LightningModule, Trainer

from mmvae_bary.checks import check_at_least
from mmvae_bary.data import MultimodalDataModule
from mmvae_bary.distributions import derive_seed, run_seed, seeded
from mmvae_bary.model import Encoding, MultimodalVAE

if TYPE_CHECKING:
    from torch import Tensor
    from torchmetrics import Metric

    from mmvae_bary.batch import Batch


class MetricCallback(Callback, ABC):
    """Feed torchmetrics from the encodings that validation and test steps return.

    A subclass with ``in_validation = False`` judges in the test alone.

    Validation figures are logged as ``val/KEY``, test figures as ``KEY``. All draws are seeded by
    the batch, so that a figure depends on the weights and the data alone, and not on how many
    processes share the batches.

    Args:
        seed: Seed of the draws, together with the one of Lightning's ``seed_everything``, so that
            runs of several seeds differ in them.
    """

    in_validation = True

    def __init__(self, seed: int = 0) -> None:
        check_at_least(0, seed=seed)
        self.seed = seed
        self.metrics: list[Metric] = []

    @property
    def stream(self) -> int:
        """Where the draws of an evaluation start."""
        return derive_seed(self.seed, run_seed())

    @abstractmethod
    def start(self, data: MultimodalDataModule, model: MultimodalVAE) -> list[Metric]:
        """Make the metrics of an evaluation; called under a fixed seed."""

    @abstractmethod
    def update(self, model: MultimodalVAE, batch: Batch, encoding: Encoding) -> None:
        """Feed the metrics a batch; called under a seed of the batch's own."""

    def _start(self, trainer: Trainer, model: LightningModule) -> None:
        assert isinstance(model, MultimodalVAE)
        # Lightning enters the precision for steps alone
        with seeded(self.stream, model.device), trainer.precision_plugin.forward_context():
            self.metrics = self.start(data_of(trainer), model)
        for metric in self.metrics:
            metric.to(model.device)

    def _update(
        self, trainer: Trainer, model: LightningModule, encoding: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(model, MultimodalVAE)
        with seeded(derive_seed(self.stream, model.batch_number(batch_idx)), model.device):
            self.update(model, batch, encoding)

    def _log(self, model: LightningModule, prefix: str) -> None:
        for metric in self.metrics:
            for key, value in metric.compute().items():
                # already one value in all processes; sync_dist tells Lightning so
                model.log(prefix + key, value.float(), sync_dist=True)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.in_validation:
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
        if self.in_validation:
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
        if self.in_validation:
            self._log(pl_module, "val/")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._log(pl_module, "")


def measure_of(data: MultimodalDataModule) -> str:
    """What probes and classifiers are judged by, as it stands in the figures' keys."""
    return "average_precision" if data.attributes else "accuracy"


def run_folder(trainer: Trainer) -> Path:
    """The folder of a run, which its loggers and checkpoints share; to call in all processes."""
    return Path(trainer.log_dir or trainer.default_root_dir)


def data_of(trainer: Trainer) -> MultimodalDataModule:
    """The data of a run.

    Raises:
        TypeError: If it is not a data module of this library.
    """
    data = trainer.datamodule  # type: ignore[attr-defined]
    if not isinstance(data, MultimodalDataModule):
        raise TypeError(
            f"got a trainer with datamodule {type(data).__name__}, expected a "
            "MultimodalDataModule: pass it as Trainer.fit(model, datamodule=...)"
        )
    return data


def label_of(batch: Batch) -> Tensor:
    """The labels of a batch.

    Raises:
        ValueError: If it has none.
    """
    if batch.label is None:
        raise ValueError("probe and coherence: got a batch without labels, expected labels")
    return batch.label
