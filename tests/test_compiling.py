"""Training steps that ``torch.compile`` made into graphs learn as those that it did not."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, distributed, nn

from mmvae_bary import (
    MWBVAE,
    Barycenter,
    Batch,
    CompileCallback,
    HellingerMixture,
    JeffreysBarycenter,
    MultimodalVAE,
    NumericalBarycenter,
    SubsetMixture,
)
from mmvae_bary.divergences import jeffreys
from tests.conftest import PRESETS, Batches, tiny_batch, tiny_model, trainer


@pytest.fixture(autouse=True)
def _nothing_compiled() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def gradients(model: MultimodalVAE, batch: Batch) -> Sequence[Tensor]:
    torch.manual_seed(0)
    return torch.autograd.grad(model(batch).loss, list(model.parameters()))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("preset", PRESETS)
def test_a_step_is_one_graph_of_the_same_gradients(
    preset: type[MultimodalVAE], masked: bool
) -> None:
    model, batch = tiny_model(preset, 2), tiny_batch(masked=masked)
    expected = gradients(model, batch)
    model.compile(backend="eager", fullgraph=True)
    for one, other in zip(gradients(model, batch), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # which torch's compiler asks for
@pytest.mark.parametrize(
    ("barycenter", "covariance"),
    [
        (NumericalBarycenter(jeffreys), "diagonal"),
        (SubsetMixture(JeffreysBarycenter()), "diagonal"),
        (HellingerMixture(), "full"),
    ],
)
def test_what_no_graph_holds_is_left_out_of_it(barycenter: Barycenter, covariance: Any) -> None:
    modalities, batch = dict(tiny_model(MWBVAE).modalities), tiny_batch()
    model = MultimodalVAE(modalities, 4, barycenter, covariance=covariance)
    expected = gradients(model, batch)
    model.compile(backend="aot_eager")
    for one, other in zip(gradients(model, batch), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


class Losses(Callback):
    """The loss of each step."""

    def __init__(self) -> None:
        self.values: list[Tensor] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any
    ) -> None:
        self.values.append(outputs["loss"])


def losses(
    *callbacks: Callback, accelerator: str = "cpu", strategy: Any = "auto", **settings: Any
) -> Tensor:
    seed_everything(0)
    kept = Losses()
    fitting = trainer(
        kept, *callbacks, accelerator=accelerator, devices=1, strategy=strategy, max_epochs=1
    )
    fitting.fit(tiny_model(MWBVAE, 2, **settings), Batches(60), Batches())
    return torch.stack(kept.values).cpu()


def test_a_compiled_run_with_a_warm_up_is_the_same_run() -> None:
    compiled = losses(CompileCallback(backend="aot_eager"), warmup_steps=3)
    torch.testing.assert_close(compiled, losses(warmup_steps=3))


def test_a_compiled_run_of_several_processes_is_the_same_run(tmp_path: Path) -> None:
    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )  # before Lightning, which would take a port
    try:
        compiled = losses(
            CompileCallback(backend="aot_eager"),
            strategy=DDPStrategy(process_group_backend="gloo"),
        )
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()
    torch.testing.assert_close(compiled, losses())


def test_a_copy_of_a_compiled_model_has_its_own_weights() -> None:
    model, batch = tiny_model(MWBVAE), tiny_batch()
    model.compile(backend="eager")
    copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    torch.manual_seed(0)
    before = model(batch).loss
    for other in copies:
        torch.manual_seed(0)
        assert torch.equal(other(batch).loss, before)
        for parameter in other.parameters():
            nn.init.zeros_(parameter)
        assert not torch.equal(other(batch).loss, before)


def test_gradients_of_several_batches_are_not_overwritten_by_graphs() -> None:
    fitting: Any = SimpleNamespace(accumulate_grad_batches=2)
    model: Any = SimpleNamespace(device=torch.device("cuda"))
    with pytest.raises(ValueError, match="got accumulate_grad_batches=2"):
        CompileCallback().on_fit_start(fitting, model)


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore")  # what compilers say
@pytest.mark.parametrize("backend", ["inductor", "cudagraphs"])
def test_on_a_gpu_a_run_of_graphs_learns_as_others_do(backend: str) -> None:
    compiled = losses(CompileCallback(backend=backend), accelerator="cuda")
    expected = losses(accelerator="cuda")
    assert compiled[0] > compiled[-10:].mean()  # they learn at all
    torch.testing.assert_close(compiled[-10:].mean(), expected[-10:].mean(), rtol=0.05, atol=0)


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore")
def test_on_a_gpu_graphs_draw_anew_by_the_seed() -> None:
    model, batch = tiny_model(MWBVAE, 2).cuda(), tiny_batch().to(torch.device("cuda"))
    model.compile(mode="reduce-overhead")
    found = []
    for seed in (1, 1, 1, 2, 1):  # two times until the graph is recorded
        torch.manual_seed(seed)
        loss = model(batch).loss
        loss.backward()
        model.zero_grad()
        found.append(loss.item())
    assert found[2] == found[4] != found[3]


def test_what_torch_has_not_is_refused() -> None:
    with pytest.raises(ValueError, match="mode='fast'"):
        CompileCallback(mode="fast")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"got backend='gcc', expected one of .*inductor"):
        CompileCallback(backend="gcc")
