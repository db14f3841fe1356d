"""Times against MultiVae and against the networks alone, in turn, in one process.

MultiVae (``pip install 'mmvae-bary[bench]'``) runs as it is, in float32, on the same tensors,
networks and threads; without it only the ratios to the floor are printed. The floor are the same
encoders, decoders, loss and optimiser without fusion, Lightning or logging. Run
``python -m tests.benchmarks.compare``.
"""

from __future__ import annotations

import argparse
import copy
import logging
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn

from mmvae_bary import ArrayDataModule, Batch, Modality, MoEVAE, MoPoEVAE, MultimodalVAE, PoEVAE
from mmvae_bary.barycenters import Barycenter, ProductOfExperts, SubsetMixture
from mmvae_bary.callbacks.evaluation import source_rows
from mmvae_bary.distributions import diagonal_gaussian
from mmvae_bary.divergences import kl_convexity_bound
from mmvae_bary.likelihoods import Laplace
from mmvae_bary.metrics import CrossModalCoherence, JointCoherence
from mmvae_bary.metrics.coherence import judged_sources
from mmvae_bary.networks import (
    MLPDecoder,
    MLPEncoder,
    PolyMNISTClassifier,
    PolyMNISTDecoder,
    PolyMNISTEncoder,
)
from mmvae_bary.objectives import ELBO
from tests.benchmarks.timing import Task, in_turn

PEER = find_spec("multivae") is not None
if PEER:
    from tests.benchmarks.peer import like

THEIRS = "MultiVae"
METHODS = {"MVAE": PoEVAE, "MMVAE": MoEVAE, "MoPoE": MoPoEVAE}  # their names to our classes


class Setting(NamedTuple):
    """Shapes to time at.

    Attributes:
        shape: Of each of five modalities.
        latent_dim: Width of the latent.
        batch_size: Tuples in a batch.
        networks: From width and shape to an encoder and a decoder.
        steps: Of an epoch.
    """

    shape: tuple[int, ...]
    latent_dim: int
    batch_size: int
    networks: Callable[[int, tuple[int, ...]], tuple[nn.Module, nn.Module]]
    steps: int

    def model(self, cls: type[MultimodalVAE]) -> MultimodalVAE:
        """A model of five modalities."""
        torch.manual_seed(0)
        made = {}
        for m in range(5):
            encoder, decoder = self.networks(self.latent_dim, self.shape)
            made[f"m{m}"] = Modality(self.shape, encoder, decoder, Laplace(0.75))
        return cls(made, self.latent_dim)

    def tensors(self, size: int) -> dict[str, Tensor]:
        """So many tuples of noise."""
        generator = torch.Generator().manual_seed(0)
        return {f"m{m}": torch.rand(size, *self.shape, generator=generator) for m in range(5)}


SETTINGS = {
    "PolyMNIST": Setting(
        (3, 28, 28), 512, 256, lambda d, _: (PolyMNISTEncoder(d), PolyMNISTDecoder(d)), 30
    ),
    "digits": Setting(
        (1, 16, 16), 20, 128, lambda d, shape: (MLPEncoder(shape, d), MLPDecoder(d, shape)), 300
    ),
}


def precise(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def stepping(model: nn.Module, loss: Callable[[], Tensor]) -> Task:
    """A training step with Adam."""
    optimizer = torch.optim.Adam(model.parameters())

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return step


def floor_loss(model: MultimodalVAE, inputs: Mapping[str, Tensor]) -> Tensor:
    """Every encoder and decoder once, the reconstructions' loss and no fusion."""
    parts = model.modalities.items()
    encoded = [m.encoder(inputs[name]).float().chunk(2, -1)[0] for name, m in parts]
    z = torch.stack(encoded).mean(0)
    terms = [
        m.likelihood(m.decoder(z), len(m.shape)).log_prob(inputs[name]).mean() for name, m in parts
    ]
    return -torch.stack(terms).sum()


def loss_of(
    model: MultimodalVAE, inputs: dict[str, Tensor], precision: str, *, floor: bool = False
) -> Callable[[], Tensor]:
    """What a training step goes down, of the networks alone for the floor."""
    batch = Batch(inputs)

    def loss() -> Tensor:
        with precise(precision, model.device):
            if floor:
                return floor_loss(model, inputs)
            terms: ELBO = model(batch)
            return terms.loss

    return loss


def steps(device: torch.device, setting: Setting, method: str) -> dict[str, Task]:
    """A training step by each of us, and of the networks alone."""
    inputs = {k: x.to(device) for k, x in setting.tensors(setting.batch_size).items()}

    def training(precision: str, *, floor: bool = False, compiled: bool = False) -> Task:
        model = setting.model(METHODS[method]).to(device)
        if compiled:
            model.compile(mode="reduce-overhead", dynamic=False)
        return stepping(model, loss_of(model, inputs, precision, floor=floor))

    tasks: dict[str, Task] = {}
    if PEER:
        from multivae.data.datasets import DatasetOutput

        theirs = like(setting.model(METHODS[method]), method).to(device).train()
        given = DatasetOutput(data=inputs)
        tasks[THEIRS] = stepping(theirs, lambda: theirs(given, epoch=1, batch_ratio=0).loss)
    for precision in ("float32", "bf16"):
        tasks[precision] = training(precision)
        tasks[f"{precision} compiled"] = training(precision, compiled=True)
        tasks[f"floor {precision}"] = training(precision, floor=True)
    return tasks


def epochs(device: torch.device, setting: Setting) -> dict[str, Task]:
    """An epoch of MoPoE as users run it, loader and trainer included, and as many floor steps."""
    tensors = setting.tensors(setting.steps * setting.batch_size)

    def ours(precision: str, model: MultimodalVAE | None = None) -> None:
        trainer = Trainer(
            max_epochs=1, accelerator=device.type, devices=1, logger=False,
            precision="bf16-mixed" if precision == "bf16" else "32-true",
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        data = ArrayDataModule(
            tensors, validation_share=0, test_share=0, batch_size=setting.batch_size
        )
        trainer.fit(model or setting.model(MoPoEVAE), data)

    def theirs() -> None:
        from multivae.data.datasets import MultimodalBaseDataset
        from multivae.trainers import BaseTrainer, BaseTrainerConfig

        with tempfile.TemporaryDirectory() as folder:
            config = BaseTrainerConfig(
                output_dir=folder, num_epochs=1, learning_rate=1e-3,
                per_device_train_batch_size=setting.batch_size,
                no_cuda=device.type != "cuda",
            )  # fmt: skip
            model = like(setting.model(MoPoEVAE), "MoPoE")
            BaseTrainer(model, MultimodalBaseDataset(tensors), None, config).train()

    def repeat(step: Task) -> None:
        for _ in range(setting.steps):
            step()

    single = steps(device, setting, "MoPoE")
    tasks: dict[str, Task] = {THEIRS: theirs} if THEIRS in single else {}
    for precision in ("float32", "bf16"):
        compiled = setting.model(MoPoEVAE)
        compiled.compile(mode="reduce-overhead", dynamic=False)
        tasks[precision] = partial(ours, precision)
        tasks[f"{precision} compiled"] = partial(ours, precision, compiled)
        tasks[f"floor {precision}"] = partial(repeat, single[f"floor {precision}"])
    return tasks


def coherences(device: torch.device) -> dict[str, Task]:
    """Coherence of 1,024 items, batches of 512, from every subset and from the prior."""
    setting, size = SETTINGS["PolyMNIST"], 1024
    tensors, label = setting.tensors(size), torch.arange(size) % 10
    judges = {name: PolyMNISTClassifier().eval().to(device) for name in tensors}
    model = setting.model(MoPoEVAE).to(device).eval()
    rows = source_rows(model, judged_sources)

    @torch.inference_mode()
    def ours(precision: str) -> None:
        cross = CrossModalCoherence(model.names, judges, num_classes=10).to(device)
        joint = JointCoherence(model.names, judges).to(device)
        with precise(precision, device):
            for first in range(0, size, 512):
                part = {k: x[first : first + 512].to(device) for k, x in tensors.items()}
                z = model.conditionals(model.encode_modalities(part)).rsample((1,))
                made = {k: model.decode_modality(k, z[:, r]).mean for k, r in rows.items()}
                cross.update(made, label[first : first + 512].to(device))
                joint.update(model.generate(num_samples=512))
        cross.compute()
        joint.compute()

    tasks: dict[str, Task] = {}
    if PEER:
        from multivae.data.datasets import MultimodalBaseDataset
        from multivae.metrics.coherences import CoherenceEvaluator, CoherenceEvaluatorConfig

        config = CoherenceEvaluatorConfig(nb_samples_for_joint=size)
        data = MultimodalBaseDataset(tensors, label)
        theirs = like(setting.model(MoPoEVAE), "MoPoE")
        evaluator = CoherenceEvaluator(theirs, copy.deepcopy(judges), data, eval_config=config)
        tasks[THEIRS] = torch.no_grad()(evaluator.eval)
    return tasks | {precision: partial(ours, precision) for precision in ("float32", "bf16")}


def likelihoods(device: torch.device) -> dict[str, Task]:
    """The joint log-likelihood of 64 items, 100 samples each."""
    setting = SETTINGS["PolyMNIST"]
    tensors = setting.tensors(64)
    model = setting.model(MoPoEVAE).to(device).eval()

    def ours(precision: str) -> None:
        with precise(precision, device):
            model.log_likelihood(tensors, num_samples=100)

    tasks: dict[str, Task] = {}
    if PEER:
        from multivae.data.datasets import MultimodalBaseDataset
        from multivae.metrics.likelihoods import LikelihoodsEvaluator, LikelihoodsEvaluatorConfig

        config = LikelihoodsEvaluatorConfig(num_samples=100, batch_size_k=100)
        theirs = like(setting.model(MoPoEVAE), "MoPoE")
        evaluator = LikelihoodsEvaluator(theirs, MultimodalBaseDataset(tensors), None, config)
        tasks[THEIRS] = torch.no_grad()(evaluator.joint_nll)
    return tasks | {precision: partial(ours, precision) for precision in ("float32", "bf16")}


def fusions(device: torch.device) -> dict[str, Task]:
    """Fusing 256 tuples, D = 512, forward and backward: M = 5 enumerated, M = 20 drawn."""

    def fusing(barycenter: Barycenter, num_modalities: int) -> Task:
        shape = (256, num_modalities, 512)
        loc = torch.randn(shape, device=device, requires_grad=True)
        scale = torch.rand(shape, device=device).add(0.5).requires_grad_()

        def fuse() -> None:
            q = barycenter(diagonal_gaussian(loc, scale))
            loss = kl_convexity_bound(q).sum() + q.rsample().sum()
            torch.autograd.grad(loss, (loc, scale))

        return fuse

    return {
        "step": steps(device, SETTINGS["PolyMNIST"], "MoPoE")["float32"],
        "fusion of 31 subsets": fusing(SubsetMixture(ProductOfExperts()), 5),
        "M = 20, 31 drawn": fusing(SubsetMixture(ProductOfExperts(), max_subsets=31), 20),
    }


def peak(device: torch.device, name: str) -> float:
    """MiB that three training steps take at most, above what lay there before."""
    task = steps(device, SETTINGS["PolyMNIST"], "MoPoE")[name]
    before = _memory(device, most=False)
    for _ in range(3):
        task()
    return _memory(device, most=True) - before


def _memory(device: torch.device, *, most: bool) -> float:
    """MiB that lie there now, or at most so far."""
    if device.type == "cuda":
        return (torch.cuda.max_memory_allocated if most else torch.cuda.memory_allocated)() / 2**20
    # not getrusage, which a child process has from its parent
    key = "VmHWM:" if most else "VmRSS:"
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 2**10


def lines(device: torch.device, rounds: int, parts: list[str]) -> Iterator[str]:
    """Rows of a table in Markdown: milliseconds, and ratios with their quartiles."""
    yield f"| {rounds} rounds, median | ms | {THEIRS} / ours | ours / floor |"
    yield "|---|---|---|---|"
    groups: dict[str, Callable[[], dict[str, Task]]] = {
        "step PolyMNIST MoPoE": lambda: steps(device, SETTINGS["PolyMNIST"], "MoPoE"),
        "step PolyMNIST PoE": lambda: steps(device, SETTINGS["PolyMNIST"], "MVAE"),
        "step PolyMNIST MoE": lambda: steps(device, SETTINGS["PolyMNIST"], "MMVAE"),
        "step digits MoPoE": lambda: steps(device, SETTINGS["digits"], "MoPoE"),
        "epoch PolyMNIST": lambda: epochs(device, SETTINGS["PolyMNIST"]),
        "epoch digits": lambda: epochs(device, SETTINGS["digits"]),
        "coherence": lambda: coherences(device),
        "log-likelihood": lambda: likelihoods(device),
        "fusion": lambda: fusions(device),
    }
    for name in (name for name in groups if not parts or name.split()[0] in parts):
        torch.compiler.reset()  # which compiles no more than eight models of a process
        times = in_turn(groups[name](), rounds, device)
        for task, seconds in times.items():
            floor = times.get(f"floor {task.split()[0]}")  # of what is compiled, uncompiled
            cells = [f"{1e3 * statistics.median(seconds):.1f}"]
            measured = "floor" not in task and task != THEIRS
            cells.append(_ratio(times.get(THEIRS), seconds) if measured else "")
            cells.append(_ratio(seconds, floor) if measured else "")
            yield f"| {name}, {task} | {' | '.join(cells)} |"
    if not parts or "memory" in parts:
        for task in (THEIRS, "float32", "bf16") if PEER else ():
            command = [sys.executable, "-m", "tests.benchmarks.compare", "--peak", task]
            command += ["--device", str(device)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            yield f"| peak memory of a step, {task} | {done.stdout.split()[-1]} MiB | | |"


def _ratio(over: list[float] | None, under: list[float] | None) -> str:
    """The median ratio of two tasks in the same round, and its quartiles."""
    if over is None or under is None:
        return ""
    ratios = [a / b for a, b in zip(over, under, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    kinds = ["step", "epoch", "coherence", "log-likelihood", "fusion", "memory"]
    parser.add_argument("--only", nargs="+", choices=kinds, default=[])
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rounds < 2:
        parser.error(f"got {options.rounds} rounds, expected at least 2, which have quartiles")
    torch.set_num_threads(options.threads)
    logging.disable(logging.INFO)
    if options.peak:
        print(f"{peak(options.device, options.peak):.0f}")  # noqa: T201
        return
    for line in lines(options.device, options.rounds, options.only):
        print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
