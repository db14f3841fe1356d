"""Where the time of a training step goes, by kind of operation.

PolyMNIST shapes, MWB-VAE. Run ``python -m tests.benchmarks.shares``. On a GPU what the fusion's
own functions take is counted with the operations that they are made of.
"""

from __future__ import annotations

import argparse
from collections import defaultdict

import torch
from torch.profiler import ProfilerActivity, profile

from mmvae_bary import MWBVAE
from tests.benchmarks.compare import SETTINGS, loss_of, stepping

STEPS = 5
KINDS = {  # the first that an operation's name holds
    "convolutions": ("conv", "im2col", "col2im"),
    "products of matrices": ("mm", "addmv", "linear"),
    "Adam": ("foreach", "addcdiv_", "lerp"),
    "copies, casts and layouts": ("copy", "cat", "clone", "fill", "zero", "empty"),
    "fusion's own functions": ("KLToStandard", "FromNatural", "WithGradient"),
    "likelihoods, activations and other elementwise": ("",),
}


def shares(device: torch.device, precision: str) -> dict[str, float]:
    """Milliseconds of a step by kind of operation."""
    setting = SETTINGS["PolyMNIST"]
    model = setting.model(MWBVAE).to(device)
    inputs = {name: x.to(device) for name, x in setting.tensors(setting.batch_size).items()}
    step = stepping(model, loss_of(model, inputs, precision))
    step()
    on_gpu = device.type == "cuda"
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=kinds) as found:
        for _ in range(STEPS):
            step()
    sums: dict[str, float] = defaultdict(float)
    for event in found.key_averages():
        if event.device_type.name != "CPU":  # a kernel, whose operation has its time, or a span
            continue
        kind = next(k for k, parts in KINDS.items() if any(p in event.key for p in parts))
        took = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        sums[kind] += took / STEPS / 1e3
    return sums


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    columns = {p: shares(options.device, p) for p in ("float32", "bf16")}
    print("| ms of a step | float32 | share | bf16 | share |\n|---|---|---|---|---|")  # noqa: T201
    for kind in KINDS:
        cells = [
            f"{found[kind]:.1f} | {found[kind] / sum(found.values()):.0%}"
            for found in columns.values()
        ]
        print(f"| {kind} | {' | '.join(cells)} |")  # noqa: T201


if __name__ == "__main__":
    main()
