"""Barycenters of two Gaussians
============================

Draw what each barycenter makes of two experts, in one dimension (Figure 2) and in two.

Takes a few seconds and writes ``barycenters_1d.png`` and ``barycenters_2d.png``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch.distributions import Distribution

from mmvae_bary import (
    AlphaBarycenter,
    Barycenter,
    GeometricBarycenter,
    HellingerBarycenter,
    HellingerMixture,
    JeffreysBarycenter,
    MixtureOfExperts,
    MomentMatchingBarycenter,
    ProductOfExperts,
    SubsetMixture,
    WassersteinBarycenter,
)
from mmvae_bary.distributions import Gaussian, diagonal_gaussian, full_gaussian, parameters

FAMILY: dict[str, Barycenter] = {
    "product of experts": ProductOfExperts("never"),
    "geometric (reverse KL)": GeometricBarycenter(),
    "alpha 0.5": AlphaBarycenter(0.5),
    "Jeffreys": JeffreysBarycenter(),
    "Wasserstein": WassersteinBarycenter(),
    "Hellinger, moments": HellingerBarycenter(),
    "moments (forward KL)": MomentMatchingBarycenter(),
    "mixture of experts": MixtureOfExperts(),
    "Hellinger mixture": HellingerMixture(),
    "mixture of Wasserstein": SubsetMixture(WassersteinBarycenter()),
}
COLUMNS = 5
LIMIT = 6.0


def draw_line(axes: Axes, experts: Gaussian, posterior: Distribution) -> None:
    """Densities over a line: experts dashed, their barycenter filled."""
    grid = torch.linspace(-LIMIT, LIMIT, 400)
    points = grid.unsqueeze(-1)
    densities = experts.log_prob(points.unsqueeze(-2)).exp()  # (G, M)
    axes.plot(grid, densities, "--", color="0.5", linewidth=1)
    density = posterior.log_prob(points).exp()
    axes.fill_between(grid, density, alpha=0.4)
    axes.plot(grid, density, linewidth=1.5)
    axes.set(yticks=[], xlim=(-LIMIT, LIMIT), ylim=(0, 1))


def draw_plane(axes: Axes, experts: Gaussian, posterior: Distribution) -> None:
    """Densities over a plane: experts as ellipses of two standard deviations, filled contours."""
    line = torch.linspace(-LIMIT, LIMIT, 160)
    points = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)
    axes.contourf(line, line, posterior.log_prob(points).exp(), levels=8, cmap="Blues")
    angle = torch.linspace(0, 2 * math.pi, 100)
    circle = torch.stack([angle.cos(), angle.sin()], -1).unsqueeze(-1)
    for loc, factor in zip(*parameters(experts), strict=True):
        ellipse = loc + 2 * (factor @ circle).squeeze(-1)
        axes.plot(*ellipse.unbind(-1), "--", color="0.3", linewidth=1)
    axes.set(xticks=[], yticks=[], xlim=(-LIMIT, LIMIT), ylim=(-LIMIT, LIMIT), aspect="equal")


def gallery(experts: Gaussian, draw: Callable[[Axes, Gaussian, Distribution], None]) -> Figure:
    """One panel for each member of the family."""
    rows = -(-len(FAMILY) // COLUMNS)
    figure = Figure(figsize=(2.2 * COLUMNS, 2.3 * rows), layout="constrained")
    panels = figure.subplots(rows, COLUMNS).flat
    for axes, (name, barycenter) in zip(panels, FAMILY.items(), strict=True):
        draw(axes, experts, barycenter(experts))
        axes.set_title(name, fontsize=9)
    return figure


def main(folder: str = ".") -> None:
    """Draw both galleries."""
    line = diagonal_gaussian(torch.tensor([[-2.0], [2.0]]), torch.tensor([[1.5], [0.5]]))
    factors = torch.tensor([[[2.0, 0.0], [0.0, 0.4]], [[0.7, 0.0], [0.9, 1.6]]])
    plane = full_gaussian(torch.tensor([[-2.0, -2.0], [2.0, 2.0]]), factors)
    gallery(line, draw_line).savefig(Path(folder) / "barycenters_1d.png", dpi=80)
    gallery(plane, draw_plane).savefig(Path(folder) / "barycenters_2d.png", dpi=80)


if __name__ == "__main__":
    main()
