"""How a training step grows with modalities, latent width and batch, and estimates with draws.

Milliseconds of a step, and what it keeps for its backward pass. Run
``python -m tests.benchmarks.growth --picture growth.png``.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from mmvae_bary import Batch, Modality, MultimodalVAE
from mmvae_bary.barycenters import (
    Barycenter,
    MixtureOfExperts,
    ProductOfExperts,
    SubsetMixture,
    WassersteinBarycenter,
)
from mmvae_bary.networks import MLPDecoder, MLPEncoder
from tests.benchmarks.timing import in_turn

WIDTH = 64  # variables of a modality
ENUMERATED = 8  # modalities, of whose subsets none are drawn
ROUNDS = 5
MEMBERS: dict[str, Callable[[int], Barycenter]] = {
    "PoE": lambda m: ProductOfExperts(),
    "MoE": lambda m: MixtureOfExperts(),
    "WB": lambda m: WassersteinBarycenter(),
    "MoPoE": lambda m: _subsets(ProductOfExperts("full_set"), m),
    "MWB": lambda m: _subsets(WassersteinBarycenter(), m),
}
AXES: dict[str, list[int]] = {
    "modalities": [2, 3, 5, 8, 12, 20],
    "latent width": [16, 64, 256, 1024],
    "batch": [64, 256, 1024, 4096],
    "draws": [1, 4, 16, 64, 256],
}


class Point(NamedTuple):
    """What was measured.

    Attributes:
        milliseconds: Of a step, or of the log-likelihoods of a batch.
        mebibytes: Kept for the backward pass; of log-likelihoods nothing is.
    """

    milliseconds: float
    mebibytes: float


def _subsets(inner: Barycenter, num_modalities: int) -> SubsetMixture:
    return SubsetMixture(inner, max_subsets=None if num_modalities <= ENUMERATED else 32)


def measure(member: str, axis: str, value: int, device: torch.device) -> Point:
    """A point of a curve; what its axis does not say is 5 modalities, 64 latents, batch 256."""
    size = {"modalities": 5, "latent width": 64, "batch": 256} | {axis: value}
    torch.manual_seed(0)
    latent_dim, shape = size["latent width"], (WIDTH,)
    names = [f"m{m}" for m in range(size["modalities"])]
    modalities = {
        name: Modality(shape, MLPEncoder(shape, latent_dim), MLPDecoder(latent_dim, shape))
        for name in names
    }
    model = MultimodalVAE(modalities, latent_dim, MEMBERS[member](len(names))).to(device)
    inputs = {name: torch.randn(size["batch"], *shape, device=device) for name in names}
    optimizer = torch.optim.Adam(model.parameters())
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    def step() -> None:
        batch = Batch(inputs)
        kept.clear()
        optimizer.zero_grad()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = model.elbo(batch, model.encode_batch(batch)).loss
        loss.backward()
        optimizer.step()

    def estimate() -> None:
        model.log_likelihood(inputs, num_samples=value)

    task = estimate if axis == "draws" else step
    seconds = in_turn({member: task}, ROUNDS, device)[member]
    return Point(1e3 * statistics.median(seconds), sum(kept.values()) / 2**20)


def curves(device: torch.device) -> Iterator[tuple[str, str, list[Point]]]:
    """Every axis, member and the points along it."""
    for axis, values in AXES.items():
        for member in MEMBERS:
            yield axis, member, [measure(member, axis, value, device) for value in values]


def picture(found: list[tuple[str, str, list[Point]]]) -> Figure:
    """A column an axis: time above, memory below."""
    figure = Figure(figsize=(12, 5.5), layout="constrained")
    panels = figure.subplots(2, len(AXES))
    for column, (axis, values) in enumerate(AXES.items()):
        time, memory = panels[:, column]
        for key, member, points in found:
            if key == axis:
                time.loglog(values, [x.milliseconds for x in points], ".-", label=member)
                memory.loglog(values, [x.mebibytes or None for x in points], ".-")
        for panel in (time, memory):
            panel.set_xlabel(axis)
            panel.set_xticks(values, map(str, values))
            panel.minorticks_off()
            panel.yaxis.set_major_formatter("{x:g}")
    panels[0, 0].set_ylabel("milliseconds")
    panels[1, 0].set_ylabel("MiB kept for backward")
    panels[0, 0].legend(frameon=False)
    panels[1, -1].set_axis_off()  # nothing is kept for it
    return figure


def main() -> None:
    """Print a table, and draw it where asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--picture", help="file to draw the curves into")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found = []
    for axis, member, points in curves(options.device):
        found.append((axis, member, points))
        cells = [f"{p.milliseconds:.1f} ({p.mebibytes:.0f} MiB)" for p in points]
        print(f"| {axis} {AXES[axis]}, {member} | {' | '.join(cells)} |", flush=True)  # noqa: T201
    if options.picture:
        picture(found).savefig(options.picture, dpi=120)


if __name__ == "__main__":
    main()
