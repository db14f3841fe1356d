"""Pictures of what a model generates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger

from mmvae_bary.callbacks.base import data_of, run_folder
from mmvae_bary.checks import check_at_least
from mmvae_bary.distributions import seeded
from mmvae_bary.metrics.coherence import shown_sources
from mmvae_bary.model import MultimodalVAE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from mmvae_bary.batch import Batch


class SampleGridCallback(Callback):
    """Draw what is generated in each direction, after the test, into ``samples/`` of the run.

    Of modalities that are pictures or texts, from the tuples that have the sources.

    Real samples of the sources stand above a line, generated samples of the target below; the
    last grid of a target is given all modalities, itself among them. Of more than five modalities
    a target is drawn from each other one alone, from all others, and from all. Weights & Biases
    and TensorBoard get the same pictures.

    Args:
        num_columns: Test tuples in a grid.
        num_samples: Generated rows below them.
        seed: Seed of the draws.

    Raises:
        ValueError: If a number is too small.
    """

    def __init__(self, num_columns: int = 10, num_samples: int = 5, seed: int = 0) -> None:
        check_at_least(1, num_columns=num_columns, num_samples=num_samples)
        check_at_least(0, seed=seed)
        self.num_columns = num_columns
        self.num_samples = num_samples
        self.seed = seed

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the grids."""
        folder = run_folder(trainer) / "samples"
        if trainer.fast_dev_run or not trainer.is_global_zero:  # type: ignore[attr-defined]
            return
        assert isinstance(pl_module, MultimodalVAE)
        from mmvae_bary.plotting import drawable  # see _save

        data = data_of(trainer)
        shapes = {name: modality.shape for name, modality in pl_module.modalities.items()}
        drawn = drawable(shapes, data.alphabets)
        if not drawn:
            return
        folder.mkdir(parents=True, exist_ok=True)
        batch = data.sample_batch(self.num_columns)
        for target in drawn:
            for subset in shown_sources(drawn, target):
                whole = _that_have(subset, batch)
                if not len(whole):
                    continue
                with seeded(self.seed, pl_module.device):
                    samples = pl_module.generate(whole, subset, [target], self.num_samples)
                rows = [(name, whole.inputs[name]) for name in subset]
                rows += [(target, sample) for sample in samples[target]]
                self._save(trainer, rows, data.alphabets, folder, subset, target)
        with seeded(self.seed, pl_module.device):
            joint = pl_module.generate(targets=drawn, num_samples=self.num_columns)
        self._save(trainer, list(joint.items()), data.alphabets, folder, (), "all")

    def _save(
        self,
        trainer: Trainer,
        rows: list[tuple[str, Tensor]],
        alphabets: Mapping[str, str],
        folder: Path,
        given: tuple[str, ...],
        target: str,
    ) -> None:
        # matplotlib takes a second to import, which importing this package should not take
        from matplotlib import image

        from mmvae_bary.plotting import sample_grid

        source = "+".join(given) or "prior"
        figure = sample_grid(rows, alphabets, f"{source} → {target}", len(given))
        path = folder / f"{source}_to_{target}.png"
        figure.savefig(path, dpi=120)
        key = f"samples/{source}->{target}"
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image(key, [str(path)])
            elif isinstance(logger, TensorBoardLogger):
                pixels, step = image.imread(path), trainer.global_step
                logger.experiment.add_image(key, pixels, step, dataformats="HWC")


def _that_have(subset: Sequence[str], batch: Batch) -> Batch:
    """Those samples of a batch that lack none of a subset."""
    if batch.present is None:
        return batch
    places = [list(batch.inputs).index(name) for name in subset]
    return batch[batch.present[:, places].all(-1)]
