"""The progress bar of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from rich.progress import TextColumn

if TYPE_CHECKING:
    from rich.progress import Task
    from rich.text import Text


class RunProgressBar(RichProgressBar):
    """Lightning's, which counts steps where a run has a number of steps and none of epochs.

    Lightning would count epochs up to one of -2. The number of the run's folder, which it shows
    beside, stands in the line that a run ends with.
    """

    def configure_columns(self, trainer: Trainer) -> list[Any]:
        """What stands in the bar; called by Lightning."""
        _, *others = super().configure_columns(trainer)
        return [_Stage(trainer), *others]

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """What stands behind the bar; called by Lightning."""
        metrics = super().get_metrics(trainer, pl_module)
        return {name: value for name, value in metrics.items() if name != "v_num"}


class _Stage(TextColumn):
    def __init__(self, trainer: Trainer) -> None:
        super().__init__("{task.description}")
        self.trainer = trainer

    def render(self, task: Task) -> Text:
        text = super().render(task)
        if self.trainer.max_epochs == -1 and text.plain.startswith("Epoch"):
            text.plain = f"Step {self.trainer.global_step}/{self.trainer.max_steps}"
        return text
