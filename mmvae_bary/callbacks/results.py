"""What a run ends with: a table and ``results.json``."""

from __future__ import annotations

import json
import os
import platform
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info

from mmvae_bary.callbacks.base import data_of, measure_of, run_folder
from mmvae_bary.callbacks.evaluation import judges
from mmvae_bary.metrics.summary import (
    shown,
    summary_columns,
    summary_rows,
    summary_title,
    summary_words,
)
from mmvae_bary.model import MultimodalVAE
from mmvae_bary.pretrained import PACKAGE
from mmvae_bary.writing import write_whole

if TYPE_CHECKING:
    from mmvae_bary.metrics.summary import Row


class ResultsCallback(Callback):
    """After the test, print a table like the paper's and write ``results.json`` to the run.

    Weights & Biases gets the table too. ``Trainer.validate`` prints one of the validation set.
    """

    def __init__(self) -> None:
        self.seconds = {"fit": 0.0, "test": 0.0}
        self.progress = {"steps": 0, "epochs": 0}
        self.fit_started: float | None = None
        self.test_started = 0.0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse a test that could not be made of the data before time is spent on a fit."""
        data = data_of(trainer)
        if stage == "fit" and "test" in data.datasets:
            data.test_dataloader()

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
        epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
        self.progress = {"steps": checkpoint["global_step"], "epochs": epochs}

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
        rows = _show(pl_module.names, measure_of(data_of(trainer)), figures, meta, "test")
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        folder.mkdir(parents=True, exist_ok=True)
        content = json.dumps({**figures, "meta": meta}, indent=2)
        write_whole(folder / "results.json", content + "\n")
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                table = [[given, *values] for given, values in rows]
                logger.log_table("results", summary_columns(pl_module.names), table)
        rank_zero_info(f"The run is in {folder}")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print what ``mmvae validate`` found; validations within a fit are logged alone."""
        if not trainer.is_global_zero or trainer.state.fn != TrainerFn.VALIDATING:
            return
        assert isinstance(pl_module, MultimodalVAE)
        figures = {key: value.item() for key, value in trainer.callback_metrics.items()}
        meta = self._meta(trainer, pl_module)
        _show(pl_module.names, measure_of(data_of(trainer)), figures, meta, "validation")

    def _since_fit_started(self) -> float:
        return 0.0 if self.fit_started is None else time.perf_counter() - self.fit_started

    def _meta(self, trainer: Trainer, model: MultimodalVAE) -> dict[str, Any]:
        packages = (PACKAGE, "torch", "lightning", "torchmetrics")
        data, classifiers = data_of(trainer), judges(trainer)
        return {
            "model": type(model).__name__,
            "barycenter": model.barycenter.summary,
            "data": type(data).__name__,
            "notes": [
                *(["weights that were never trained"] if not self.progress["steps"] else []),
                *data.notes,
                *(classifiers.notes if classifiers else []),
            ],
            "seed": int(os.environ["PL_GLOBAL_SEED"]) if "PL_GLOBAL_SEED" in os.environ else None,
            **self.progress,
            "precision": str(trainer.precision),
            "device": _device_name(model.device),
            "processes": trainer.world_size,
            "seconds": {stage: round(seconds, 1) for stage, seconds in self.seconds.items()},
            f"classifier_{measure_of(data)}": classifiers.score if classifiers else {},
            "versions": {name: version(name) for name in packages}
            | {"python": platform.python_version()},
        }


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} {device.type}, {torch.get_num_threads()} threads"


def _show(
    names: tuple[str, ...],
    measure: str,
    figures: dict[str, float],
    meta: dict[str, Any],
    split: Literal["validation", "test"],
) -> list[Row]:
    """Print the table of a split; its rows."""
    from rich import get_console
    from rich.table import Table

    prefix = {"validation": "val/", "test": "test/"}[split]
    figures = {key.removeprefix(prefix): value for key, value in figures.items()}
    rows = summary_rows(names, measure, figures)
    judged = "coherence/mean" in figures
    references = _references(names, measure, figures, meta) if judged else []
    words = summary_words(names, [*rows, *references])
    console = get_console()  # the one that shows Lightning's bars, which stay below
    console.print(summary_title(meta, split), style="italic", markup=False, highlight=False)
    table = Table()
    for position, column in enumerate(words.header):
        table.add_column(column, justify="right" if position else "left")
    for number, cells in enumerate(words.rows, 2):
        table.add_row(*cells, end_section=number == len(rows))
    if len(words.header) > 1:  # else nothing was judged
        console.print(table)
    legend = "; ".join([*_legend(measure, figures), *meta["notes"]])
    console.print(legend, style="dim", markup=False, highlight=False)
    return rows


def _references(
    names: tuple[str, ...], measure: str, figures: dict[str, float], meta: dict[str, Any]
) -> list[Row]:
    """What coherence is to be read against: chance, where it is known, and real data."""
    scores = [meta[f"classifier_{measure}"].get(name) for name in names]
    real: Row = ("classifier, real data", [None, *scores, None])
    if "coherence/chance" not in figures:
        return [real]
    chance = [figures.get("probe/chance"), *[figures["coherence/chance"]] * len(names), None]
    return [("chance (base rates)", chance), real]


def _legend(measure: str, figures: dict[str, float]) -> list[str]:
    words = measure.replace("_", " ")
    said = {
        f"probe/{measure}/mean": f"probe: {words} of a linear probe",
        "coherence/mean": f"→: coherence, its classifier's {words} on what is generated, in the "
        f"mean over directions {shown(figures.get('coherence/mean'))}",
        "log_likelihood/mean": "log p(X): log-likelihood of all modalities, z drawn given some, "
        "in nats",
        "coherence/joint": "classifiers agree on what the prior gives: "
        f"{shown(figures.get('coherence/joint'))}",
    }
    terms = [
        f"{key.replace('/', ' of ')} {value:.1f}"
        for key, value in figures.items()
        if key in {"loss", "kl"} or key.startswith("reconstruction/")
    ]
    return [*(text for key, text in said.items() if key in figures), *terms]
