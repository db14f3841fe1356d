"""Pictures of samples, drawn by matplotlib."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

import torch
from matplotlib.figure import Figure
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

CELL = 0.7  # inches
MARGIN = 0.06  # of a cell
TEXT_HEIGHT = 0.4  # of a cell


def sample_grid(
    rows: Sequence[tuple[str, Tensor]], alphabets: Mapping[str, str], title: str
) -> Figure:
    """Draw samples in a grid, a row a modality.

    Args:
        rows: Pairs of a modality's name and its samples, of shape ``(N, C, H, W)`` for pictures
            in [0, 1] with one or three channels or ``(N, L, V)`` for one-hot or soft text.
        alphabets: Name of a text modality to its symbols.
        title: Heading of the figure.

    Returns:
        A figure that owns no window and needs no display.
    """
    columns = max(len(samples) for _, samples in rows)
    heights = [TEXT_HEIGHT if name in alphabets else 1.0 for name, _ in rows]
    bottoms = list(accumulate(heights))
    figure = Figure(figsize=(CELL * columns + 1.0, CELL * bottoms[-1] + 0.5), layout="constrained")
    axes = figure.subplots()
    axes.set(aspect="equal", xticks=[], title=title)
    middles = [bottom - height / 2 for bottom, height in zip(bottoms, heights, strict=True)]
    axes.set_yticks(middles, [name for name, _ in rows])
    axes.tick_params(length=0, labelsize=8)
    axes.spines[:].set_visible(False)
    for bottom, middle, (name, samples) in zip(bottoms, middles, rows, strict=True):
        for column, sample in enumerate(samples.detach().float().cpu()):
            if name in alphabets:
                text = _read(sample, alphabets[name])
                axes.text(column + 0.5, middle, text, ha="center", va="center", fontsize=7)
            else:
                left, right = column + MARGIN, column + 1 - MARGIN
                extent = (left, right, bottom - MARGIN, bottom - 1 + MARGIN)
                axes.imshow(_pixels(sample), extent=extent, vmin=0, vmax=1, cmap="gray")
    axes.set(xlim=(0, columns), ylim=(bottoms[-1], 0))
    return figure


def _pixels(picture: Tensor) -> NDArray[np.float32]:
    picture = picture.clamp(0, 1)
    return (picture[0] if len(picture) == 1 else picture.permute(1, 2, 0)).numpy()


def _read(sample: Tensor, alphabet: str) -> str:
    symbols = [alphabet[index] for index in torch.argmax(sample, -1).tolist()]
    return "".join(symbols).strip() or "(blank)"
