"""Compiled training steps."""

from __future__ import annotations

from typing import Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from mmvae_bary.checks import check_one_of

Mode = Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"]
GRAPHS = ("reduce-overhead", "max-autotune")  # modes that record CUDA graphs


class CompileCallback(Callback):
    """Compile training steps, all but those of a warm-up and of the judges, by ``torch.compile``.

    What a step draws is drawn by other kernels, so that a run differs from one that is not
    compiled as one seed does from another. The first step takes half a minute or more.

    Args:
        mode: That of ``torch.compile``, for its own compiler; ``"reduce-overhead"`` records CUDA
            graphs, which spare a GPU the wait for what is next, and keeps their memory.
        backend: That of ``torch.compile``; ``"inductor"`` is its own compiler, ``"cudagraphs"``
            records graphs and compiles nothing.

    Raises:
        ValueError: If the mode or the backend is none of torch's, or, at the start, if CUDA graphs
            would overwrite gradients that are accumulated over several batches.
    """

    def __init__(self, mode: Mode = "reduce-overhead", backend: str = "inductor") -> None:
        check_one_of(Mode, mode=mode)
        backends = torch.compiler.list_backends(exclude_tags=())
        if backend not in backends:
            raise ValueError(f"got backend={backend!r}, expected one of {', '.join(backends)}")
        self.mode = mode
        self.backend = backend

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Have the model compiled at its first step; called by Lightning."""
        mode = self.mode if self.backend == "inductor" else None
        graphs = mode in GRAPHS or self.backend == "cudagraphs"
        batches = trainer.accumulate_grad_batches
        if graphs and batches > 1 and pl_module.device.type == "cuda":
            raise ValueError(
                f"CompileCallback: got accumulate_grad_batches={batches}, whose gradients CUDA "
                "graphs overwrite, expected 1, or mode='default'"
            )
        rank_zero_info("Compiling the training step: half a minute or more before the first one")
        # not dynamic, as training's batches are of one size
        pl_module.compile(mode=mode, backend=self.backend, dynamic=False)
