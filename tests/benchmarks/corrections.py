"""How far each mistake of the reference code moves a figure of trained models.

What it does in evaluation is done to finished runs of ``mmvae reproduce``, in training to models
that are trained anew, which takes minutes each. Run
``python -m tests.benchmarks.corrections FOLDER/MoPoEVAE/seed_* FOLDER/MoEVAE/seed_*``, and
``python -m tests.benchmarks.corrections --train 3``.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor
from torch.distributions import Distribution, OneHotCategorical
from torchmetrics import Metric

from mmvae_bary import (
    CoherenceCallback,
    LinearProbeCallback,
    LogLikelihoodCallback,
    MultimodalVAE,
)
from mmvae_bary.barycenters import ProductOfExperts, SubsetMixture
from mmvae_bary.callbacks.checkpoints import read_weights
from mmvae_bary.callbacks.evaluation import judges
from mmvae_bary.cli import MultimodalCLI, _cli
from mmvae_bary.data import MultimodalDataModule
from mmvae_bary.data.base import BatchIndices, BatchLoader
from mmvae_bary.distributions import Gaussian, Mixture, take
from mmvae_bary.likelihoods import Likelihood

Figures = Mapping[str, float]
# means over all subsets or directions
PROBE, COHERENCE, LIKELIHOOD = "probe/accuracy/mean", "coherence/mean", "log_likelihood/mean"
Row = tuple[str, str, float, float]  # a mistake, the figure it moves, with it and without
BARYCENTER = "--model.init_args.barycenter"


class JudgesInTraining(CoherenceCallback):
    """Classifiers left in training mode, their dropout on."""

    def start(self, data: MultimodalDataModule, model: MultimodalVAE) -> list[Metric]:
        for network in self.classifiers.networks.values():
            network.train()
        return super().start(data, model)


class WithReplacement(LinearProbeCallback):
    """Rows of the probe drawn with replacement."""

    def start(self, data: MultimodalDataModule, model: MultimodalVAE) -> list[Metric]:
        def drawn(num_rows: int, seed: int) -> BatchLoader:
            generator = torch.Generator().manual_seed(seed)
            rows = torch.randint(len(data.datasets["train"]), (num_rows,), generator=generator)
            return BatchLoader(data.datasets["train"], BatchIndices(rows, data.eval_batch_size))

        data.probe_dataloader = drawn  # type: ignore[method-assign, assignment]
        try:
            return super().start(data, model)
        finally:
            del data.probe_dataloader


class Inverted(Likelihood):
    """A log-softmax handed over as probabilities: the likeliest symbol is the most negative."""

    def elementwise(self, output: Tensor) -> Distribution:
        odds = -output.log_softmax(-1)
        return OneHotCategorical(odds / odds.sum(-1, keepdim=True), validate_args=False)

    def num_variables(self, shape: Sequence[int]) -> int:
        return int(torch.Size(shape[:-1]).numel())


class BlockMixture(Mixture):
    """Draws whose component is that of their position in the batch."""

    def choose(self, sample_shape: Sequence[int] = ()) -> Gaussian:
        size, count = self.batch_shape[-1], self.weights.shape[-1]
        block = torch.arange(size, device=self.weights.device) // max(size // count, 1)
        index = block.clamp(max=count - 1).expand(*sample_shape, *self.batch_shape)
        return take(self.components, index)


class ByBlocks(SubsetMixture):
    """MoPoE's mixture, from which blocks of the batch are drawn."""

    def __init__(self) -> None:
        super().__init__(ProductOfExperts(prior="full_set"))

    def fuse(self, experts: Gaussian, weights: Tensor) -> Mixture:
        q = super().fuse(experts, weights)
        return BlockMixture(q.components, q.weights)


def tested(cli: MultimodalCLI, *callbacks: Callback) -> Figures:
    """Figures of a model."""
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=list(callbacks),
    )  # fmt: skip
    return trainer.test(cli.model, cli.datamodule, verbose=False)[0]


def retested(folder: Path) -> Iterator[Row]:
    """Mistakes in evaluation, of a finished run."""
    cli = _cli(["--config", str(folder / "config.yaml")], run=False)
    cli.model.load_state_dict(read_weights(folder / "checkpoints" / "last.ckpt"))
    kept = judges(cli.trainer)
    assert kept is not None
    again: Any = {"classifiers": dict(kept.networks.items()), "max_steps": kept.max_steps}
    right = tested(cli, LinearProbeCallback(), CoherenceCallback(**again))
    wrong = tested(cli, WithReplacement(), JudgesInTraining(**again))
    yield "rows of the probe with replacement", PROBE, wrong[PROBE], right[PROBE]
    yield "judges in training mode", COHERENCE, wrong[COHERENCE], right[COHERENCE]
    cli.datamodule.eval_batch_size = 64
    both = tested(cli, LogLikelihoodCallback(num_items=1024, grouped=True))
    grouped, exact = both["log_likelihood_grouped/mean"], both[LIKELIHOOD]
    yield "weights of different items averaged", LIKELIHOOD, grouped, exact
    one = tested(cli, LogLikelihoodCallback(num_items=1024, proposal="component"))
    yield "a mixture's density that of one component", LIKELIHOOD, one[LIKELIHOOD], exact


def trained(seed: int, *changes: str) -> Figures:
    """Figures of MoPoE-VAE on the digits, trained with some changes."""
    args = ["--config", "digits.yaml", "--model", "MultimodalVAE", "--seed_everything", str(seed)]
    args += [BARYCENTER, "SubsetMixture", f"{BARYCENTER}.inner", "ProductOfExperts"]
    args += [f"{BARYCENTER}.inner.prior", "full_set", *changes]
    args += ["--trainer.enable_progress_bar", "false", "--trainer.logger", "false"]
    with tempfile.TemporaryDirectory() as folder:
        cli = _cli([*args, "--trainer.default_root_dir", folder], run=False)
        cli.trainer.fit(cli.model, cli.datamodule)
        return cli.trainer.test(cli.model, cli.datamodule, verbose=False)[0]


def retrained(seed: int) -> Iterator[Row]:
    """Mistakes in training, of MoPoE-VAE on the digits."""
    likelihood = "--model.init_args.modalities.text.likelihood"
    changes = {
        "text's log-softmax as probabilities": (likelihood, f"{__spec__.name}.Inverted"),
        "draws in blocks of the batch": (BARYCENTER, f"{__spec__.name}.ByBlocks"),
    }
    right = trained(seed)
    for mistake, change in changes.items():
        wrong = trained(seed, *change)
        for figure in (PROBE, COHERENCE, LIKELIHOOD):
            yield mistake, figure, wrong[figure], right[figure]


def main() -> None:
    """Print a table: means over the runs of a model, and how the difference spreads."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--train", type=int, default=0, metavar="SEEDS")
    options = parser.parse_args()
    logging.disable(logging.INFO)
    warnings.simplefilter("ignore")
    rows = [(run.parent.name, *row) for run in options.runs for row in retested(run)]
    rows += [("MoPoEVAE", *row) for seed in range(options.train) for row in retrained(seed)]
    found: dict[tuple[str, ...], list[tuple[float, float]]] = defaultdict(list)
    for model, mistake, figure, wrong, right in rows:
        found[model, mistake, figure].append((wrong, right))
    print("| model | in the reference code | figure | so | here | difference | runs |")  # noqa: T201
    print("|---|---|---|---|---|---|---|")  # noqa: T201
    for key, pairs in found.items():
        digits = 1 if key[-1] == LIKELIHOOD else 3
        apart = [wrong - right for wrong, right in pairs]
        spread = f" ± {stdev(apart):.{digits}f}" if len(apart) > 1 else ""
        cells = [f"{fmean(column):.{digits}f}" for column in zip(*pairs, strict=True)]
        cells += [f"{fmean(apart):+.{digits}f}{spread}", str(len(pairs))]
        print(f"| {' | '.join([*key, *cells])} |")  # noqa: T201


if __name__ == "__main__":
    main()
