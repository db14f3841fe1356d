"""Checkpoints that are whole whenever a process ends, and one where a run is told to stop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor, nn

from mmvae_bary.checks import read_checkpoint
from mmvae_bary.writing import save_whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lightning.fabric.utilities.types import _PATH


class RunCheckpoint(ModelCheckpoint):
    """Lightning's ``ModelCheckpoint``, which a preempted run leaves its state in too.

    A SIGTERM, as clusters send it before they take a machine away, ends training after the step at
    hand, with that step in ``last.ckpt``. So does the end of training, however rarely checkpoints
    are asked for. Arguments are those of ``ModelCheckpoint``.
    """

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the last step, unless it was; nothing of a ``fast_dev_run``."""
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return  # of which Lightning's own would leave last.ckpt
        super().on_train_end(trainer, pl_module)
        if self.save_last and self._last_global_step_saved != trainer.global_step:
            self._keep_last(trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Save where it is the end of a step; elsewhere weights and optimiser may not agree."""
        super().on_exception(trainer, pl_module, exception)
        if isinstance(exception, SIGTERMException) and trainer.training:
            self._keep_last(trainer)

    def _keep_last(self, trainer: Trainer) -> None:
        if self.dirpath and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            last = Path(self.dirpath) / f"{self.CHECKPOINT_NAME_LAST}{self.FILE_EXTENSION}"
            trainer.save_checkpoint(last)
            self.last_model_path = str(last)


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside and moves it into place, in the same folder.

    Lightning's own is written into the system's folder for temporary files, from where a move may
    be a copy, which can be cut short.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any | None = None
    ) -> None:
        """Save to a path, or to a URL as Lightning does."""
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        save_whole(target, checkpoint)


def read_weights(path: Path, *, resumed: bool = False) -> Mapping[str, Tensor]:
    """The weights in a checkpoint, left on the disk until they are looked at.

    Args:
        path: The file.
        resumed: Whether training is to go on from it, which takes more than weights.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no checkpoint, or holds more than it may, or less than is needed.
    """
    if not path.is_file():
        raise FileNotFoundError(f"ckpt_path: got {str(path)!r}, expected a checkpoint file")
    try:
        content = read_checkpoint(path)
    except ValueError as error:
        raise ValueError(f"ckpt_path: {error}") from None
    lacking = [key for key in ("optimizer_states", "lr_schedulers", "loops") if key not in content]
    if resumed and lacking:
        raise ValueError(
            f"ckpt_path: got {path} without {lacking[0]}, expected a whole checkpoint to go on "
            "training from: weights alone can be tested"
        )
    weights: Mapping[str, Tensor] = content["state_dict"]
    return weights


def check_weights(path: Path, weights: Mapping[str, Tensor], model: nn.Module) -> None:
    """Refuse a checkpoint of another model, before time is spent.

    Raises:
        ValueError: Naming the file, and the first weight that does not fit.
    """
    expected = model.state_dict()
    for name in {**expected, **weights}:
        came, wanted = (
            tuple(getattr(found[name], "shape", ())) if name in found else "none"
            for found in (weights, expected)
        )
        if came != wanted:
            raise ValueError(
                f"ckpt_path: got {path} with {name} of shape {came}, expected {wanted}: it is of "
                "another model"
            )
