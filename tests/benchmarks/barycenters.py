"""Milliseconds of every barycenter, forward + backward, on experts of random means and scales.

Run ``python -m tests.benchmarks.barycenters``.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence

import torch

from mmvae_bary.barycenters import (
    AlphaBarycenter,
    Barycenter,
    GeometricBarycenter,
    HellingerBarycenter,
    HellingerMixture,
    JeffreysBarycenter,
    LearnedWeights,
    MixtureOfExperts,
    MomentMatchingBarycenter,
    NumericalBarycenter,
    ProductOfExperts,
    SubsetMixture,
    WassersteinBarycenter,
    WeightedBarycenter,
)
from mmvae_bary.distributions import Gaussian, diagonal_gaussian, full_gaussian, parameters
from mmvae_bary.divergences import jeffreys
from tests.benchmarks.timing import now

BATCH = 256
SLOW = 0.5  # seconds, from which on one run is timed
SPENT = 0.4  # seconds on the runs of one that is faster
KINDS = (("diagonal", 32), ("diagonal", 512), ("full", 32))
SETTINGS = [(kind, dim, m) for kind, dim in KINDS for m in (3, 5, 10, 20)]
MEMBERS: dict[str, Callable[[int], Barycenter]] = {
    "ProductOfExperts": lambda m: ProductOfExperts(),
    "GeometricBarycenter": lambda m: GeometricBarycenter(),
    "MixtureOfExperts": lambda m: MixtureOfExperts(),
    "MomentMatchingBarycenter": lambda m: MomentMatchingBarycenter(),
    "WassersteinBarycenter": lambda m: WassersteinBarycenter(),
    "WeightedBarycenter": lambda m: WeightedBarycenter(WassersteinBarycenter(), LearnedWeights(m)),
    "HellingerBarycenter": lambda m: HellingerBarycenter(),
    "HellingerMixture": lambda m: HellingerMixture(),
    "JeffreysBarycenter": lambda m: JeffreysBarycenter(),
    "AlphaBarycenter": lambda m: AlphaBarycenter(0.5),
    "NumericalBarycenter": lambda m: NumericalBarycenter(jeffreys),
    "SubsetMixture, product": lambda m: _subsets(ProductOfExperts("full_set"), m),
    "SubsetMixture, Wasserstein": lambda m: _subsets(WassersteinBarycenter(), m),
}


def _subsets(inner: Barycenter, num_modalities: int) -> SubsetMixture:
    """All subsets of up to five modalities, 32 drawn ones of more."""
    return SubsetMixture(inner, max_subsets=None if num_modalities <= 5 else 32)


def random_experts(kind: str, num_experts: int, dim: int, device: str) -> Gaussian:
    """Leaves of a graph: means and scales of shape ``(B, M, D)``, or factors of a full one."""
    loc = torch.randn(BATCH, num_experts, dim, device=device, requires_grad=True)
    scale = 0.5 + torch.rand(BATCH, num_experts, dim, device=device)
    if kind == "diagonal":
        return diagonal_gaussian(loc, scale.requires_grad_())
    below = torch.randn(BATCH, num_experts, dim, dim, device=device).tril(-1) / dim
    return full_gaussian(loc, (torch.diag_embed(scale) + below).requires_grad_())


def milliseconds(barycenter: Barycenter, experts: Gaussian) -> tuple[float, float]:
    """Median times of fusing and drawing, and of differentiating both moments and the draw."""
    found = [_once(barycenter, experts)]  # which warms up too
    start = time.perf_counter()
    while sum(found[0]) < SLOW and (len(found) < 2 or time.perf_counter() - start < SPENT):
        found.append(_once(barycenter, experts))
    ahead, back = (statistics.median(column) for column in zip(*found[1:] or found, strict=True))
    return 1e3 * ahead, 1e3 * back


def _once(barycenter: Barycenter, experts: Gaussian) -> tuple[float, float]:
    """Seconds, forward and backward."""
    leaves, times = parameters(experts), []
    for leaf in leaves:
        leaf.grad = None
    times.append(now(leaves[0].device))
    q = barycenter(experts)
    loss = q.rsample().sum() + q.mean.sum() + q.variance.sum()
    times.append(now(leaves[0].device))
    loss.backward()
    times.append(now(leaves[0].device))
    return times[1] - times[0], times[2] - times[1]


def table(members: Sequence[str], device: str) -> Iterator[str]:
    """A table in Markdown, a row a member, told cell by cell, for one may take minutes."""
    head = " | ".join(f"{kind} D={dim} M={m}" for kind, dim, m in SETTINGS)
    yield f"| B = {BATCH}, ms | {head} |\n"
    yield "|---" * (len(SETTINGS) + 1) + "|\n"
    for name in members:
        yield f"| {name} |"
        for kind, dim, m in SETTINGS:
            torch.manual_seed(0)
            experts = random_experts(kind, m, dim, device)
            ahead, back = milliseconds(MEMBERS[name](m).to(device), experts)
            yield f" {ahead:.1f} + {back:.1f} |"
        yield "\n"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--members", nargs="+", choices=MEMBERS, default=list(MEMBERS))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("default")
    for part in table(options.members, options.device):
        print(part, end="", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
