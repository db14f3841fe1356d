"""A training in one process or two: ``python -m tests.reliability.train OUT --devices 2``.

Posteriors are so sharp that draws do not matter, so that what remains is how processes share
batches and gradients.
"""

from __future__ import annotations

import argparse
from functools import partial

import torch
from lightning.pytorch import Trainer, seed_everything
from torch import Tensor

from mmvae_bary import WBVAE, DigitsDataModule, Modality
from mmvae_bary.networks import MLPDecoder, MLPEncoder

SHAPES = {"image": (1, 16, 16), "scene": (3, 16, 16), "text": (8, 27)}
WIDTH = 5
BATCH = 64
STEPS = 8


class Sharp(MLPEncoder):
    """Says next to no variance."""

    def forward(self, x: Tensor) -> Tensor:
        loc, log_variance = super().forward(x).chunk(2, -1)
        return torch.cat([loc, log_variance - 1e3], -1)


def main() -> None:
    """Train and keep the weights."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--devices", type=int, default=1)
    options = parser.parse_args()
    seed_everything(0)
    torch.set_num_threads(1)
    modalities = {
        name: Modality(shape, Sharp(shape, WIDTH, [32]), MLPDecoder(WIDTH, shape, [32]))
        for name, shape in SHAPES.items()
    }
    model = WBVAE(modalities, WIDTH, optimizer=partial(torch.optim.SGD, lr=1e-5))
    trainer = Trainer(
        accelerator="cpu", devices=options.devices, max_steps=STEPS, logger=False,
        strategy="ddp" if options.devices > 1 else "auto", limit_val_batches=0,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    data = DigitsDataModule(num_train=640, num_test=60, batch_size=BATCH // options.devices)
    trainer.fit(model, data)
    if trainer.is_global_zero:
        torch.save(model.state_dict(), options.out)


if __name__ == "__main__":
    main()
