"""Milliseconds of a training step of each of the paper's models, at PolyMNIST's shapes.

In float32 as torch does it by itself, with TensorFloat-32 in products of matrices too, in
bfloat16, and, with ``--compile``, as graphs made by ``torch.compile``. Run
``python -m tests.benchmarks.models --device cuda``.
"""

from __future__ import annotations

import argparse
import statistics

import torch

from mmvae_bary import MWBVAE, WBVAE, MoEVAE, MoPoEVAE, MultimodalVAE, PoEVAE
from tests.benchmarks.compare import SETTINGS, loss_of, stepping
from tests.benchmarks.timing import Task, in_turn

MODELS = (PoEVAE, MoEVAE, MoPoEVAE, WBVAE, MWBVAE)
WARM = 5  # steps that do not count


def training(cls: type[MultimodalVAE], device: torch.device, precision: str) -> Task:
    """A step of a model; of the networks alone where the precision says so."""
    setting = SETTINGS["PolyMNIST"]
    model = setting.model(cls).to(device)
    inputs = {k: x.to(device) for k, x in setting.tensors(setting.batch_size).items()}
    width = "bf16" if "bf16" in precision else "float32"
    loss = loss_of(model, inputs, width, floor="floor" in precision)
    if "compiled" in precision:
        model.compile(mode="reduce-overhead", dynamic=False)
    step = stepping(model, loss)

    def run() -> None:
        products = "high" if "TF32" in precision else "highest"
        torch.set_float32_matmul_precision(products)
        step()

    for _ in range(WARM):
        run()
    return run


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    columns = ["float32", "TF32", "bf16", "floor float32", "floor bf16"]
    columns += ["compiled float32", "compiled bf16"] if options.compile else []
    print(f"| ms a step | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")  # noqa: T201
    for cls in MODELS:
        tasks = {column: training(cls, options.device, column) for column in columns}
        times = in_turn(tasks, options.rounds, options.device)
        cells = [f"{1e3 * statistics.median(times[column]):.1f}" for column in columns]
        print(f"| {cls.__name__} | {' | '.join(cells)} |", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
