"""Digits with half of all modalities missing from training, completely at random.

MWB-VAE on all tuples against MWB-VAE on those alone that lack nothing, for as many steps,
and MoPoE-VAE, ours and, where it is installed, MultiVae's, on the same masks and networks. All are
judged alike, on whole test tuples. Run ``python -m tests.benchmarks.missing``.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import Trainer, seed_everything
from torch import nn

from mmvae_bary import (
    MWBVAE,
    CoherenceCallback,
    DigitsDataModule,
    LinearProbeCallback,
    Modality,
    MoPoEVAE,
    MultimodalVAE,
)
from mmvae_bary.likelihoods import Categorical, Laplace
from mmvae_bary.networks import (
    DigitsSceneClassifier,
    DigitsSceneEncoder,
    MLPClassifier,
    MLPDecoder,
    MLPEncoder,
)

LATENT, BETA, RATE = 20, 2.5, 2e-3  # those of digits.yaml
SHAPES = {"image": (1, 16, 16), "scene": (3, 16, 16), "text": (8, 27)}
WEIGHTS = {"image": 3.0, "scene": 1.0, "text": 96.0}
FIGURES = ("probe/accuracy/mean", "coherence/mean")


def modalities() -> dict[str, Modality]:
    """The networks and likelihoods of digits.yaml."""

    def made(name: str, shape: tuple[int, ...]) -> Modality:
        scene = name == "scene"
        encoder = DigitsSceneEncoder(LATENT) if scene else MLPEncoder(shape, LATENT)
        decoder = MLPDecoder(LATENT, shape, [512] if scene else [256])
        likelihood = Categorical() if name == "text" else Laplace(0.75)
        return Modality(shape, encoder, decoder, likelihood)

    return {name: made(name, shape) for name, shape in SHAPES.items()}


def digits(drop_incomplete: bool = False) -> DigitsDataModule:
    return DigitsDataModule(missing=0.5, drop_incomplete=drop_incomplete)


def trainer(steps: int) -> Trainer:
    judges: dict[str, nn.Module] = {
        "image": MLPClassifier(SHAPES["image"], 10),
        "scene": DigitsSceneClassifier(),
        "text": MLPClassifier(SHAPES["text"], 10),
    }
    return Trainer(
        max_steps=steps,
        callbacks=[LinearProbeCallback(), CoherenceCallback(judges)],
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def fitted(cls: type[MultimodalVAE], steps: int, drop_incomplete: bool = False) -> MultimodalVAE:
    model = cls(modalities(), LATENT, None, BETA, 0, WEIGHTS, _adam)
    trainer(steps).fit(model, digits(drop_incomplete))
    return model


def fitted_by_multivae(steps: int) -> MultimodalVAE:
    """MultiVae's MoPoE trains the networks of ours, which is then judged."""
    from multivae.data.datasets import DatasetOutput

    from tests.benchmarks.peer import like

    ours = MoPoEVAE(modalities(), LATENT, None, BETA, 0, WEIGHTS, _adam)
    theirs = like(ours, "MoPoE")
    theirs.train()
    optimizer = _adam(theirs.parameters())
    data = digits()
    data.setup("fit")
    loader = data.train_dataloader()
    for step in range(steps):
        if step % len(loader) == 0:
            loader.batch_sampler.set_epoch(step // len(loader))
            batches = iter(loader)
        batch = next(batches)
        assert batch.present is not None
        masks = dict(zip(batch.inputs, batch.present.unbind(-1), strict=True))
        optimizer.zero_grad()
        theirs(DatasetOutput(data=batch.inputs, masks=masks)).loss.backward()
        optimizer.step()
    return ours


def _adam(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=RATE)


def main() -> None:
    """Print a line for each model and seed, then means and standard deviations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    methods: dict[str, Callable[[], MultimodalVAE]] = {
        "MWB-VAE, all tuples": lambda: fitted(MWBVAE, options.steps),
        "MWB-VAE, complete tuples": lambda: fitted(MWBVAE, options.steps, drop_incomplete=True),
        "MoPoE-VAE, all tuples": lambda: fitted(MoPoEVAE, options.steps),
    }
    if importlib.util.find_spec("multivae"):
        methods["MultiVae's MoPoE, all tuples"] = lambda: fitted_by_multivae(options.steps)
    found: dict[str, list[list[float]]] = {name: [] for name in methods}
    for seed in range(options.seeds):
        for name, make in methods.items():
            seed_everything(seed, verbose=False)
            model, judge = make(), trainer(0)
            judge.test(model, digits(), verbose=False)
            found[name].append([judge.callback_metrics[key].item() for key in FIGURES])
            print(f"{name}, seed {seed}: {found[name][-1]}", flush=True)  # noqa: T201
    for name, rows in found.items():
        columns = list(zip(*rows, strict=True))
        spread = [statistics.stdev(x) if len(x) > 1 else float("nan") for x in columns]
        pairs = zip(map(statistics.mean, columns), spread, strict=True)
        cells = [f"{mean:.3f} ± {deviation:.3f}" for mean, deviation in pairs]
        print(f"| {name} | {' | '.join(cells)} |")  # noqa: T201


if __name__ == "__main__":
    main()
