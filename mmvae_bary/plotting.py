"""Pictures of samples, drawn by matplotlib."""

from __future__ import annotations

from itertools import accumulate
from textwrap import fill
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
LONG = 16  # symbols, from which on a text is broken into lines in a cell of its own size
LONG_CELL = 1.5  # inches
LINE = 24  # symbols in a line of a long text
PADDING = " *"  # around a text


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
    lengths = {name: samples.shape[-2] for name, samples in rows if name in alphabets}
    cell = LONG_CELL if max(lengths.values(), default=0) > LONG else CELL
    heights = [TEXT_HEIGHT if lengths.get(name, LONG + 1) <= LONG else 1.0 for name, _ in rows]
    bottoms = list(accumulate(heights))
    figure = Figure(figsize=(cell * columns + 1.0, cell * bottoms[-1] + 0.5), layout="constrained")
    axes = figure.subplots()
    axes.set(aspect="equal", xticks=[], title=title)
    middles = [bottom - height / 2 for bottom, height in zip(bottoms, heights, strict=True)]
    axes.set_yticks(middles, [name for name, _ in rows])
    axes.tick_params(length=0, labelsize=8)
    axes.spines[:].set_visible(False)
    for bottom, middle, (name, samples) in zip(bottoms, middles, rows, strict=True):
        for column, sample in enumerate(samples.detach().float().cpu()):
            if name in alphabets:
                text, size = _read(sample, alphabets[name])
                axes.text(column + 0.5, middle, text, ha="center", va="center", fontsize=size)
            else:
                left, right = column + MARGIN, column + 1 - MARGIN
                extent = (left, right, bottom - MARGIN, bottom - 1 + MARGIN)
                axes.imshow(_pixels(sample), extent=extent, vmin=0, vmax=1, cmap="gray")
    axes.set(xlim=(0, columns), ylim=(bottoms[-1], 0))
    return figure


def _pixels(picture: Tensor) -> NDArray[np.float32]:
    picture = picture.clamp(0, 1)
    return (picture[0] if len(picture) == 1 else picture.permute(1, 2, 0)).numpy()


def _read(sample: Tensor, alphabet: str) -> tuple[str, int]:
    """A text as it is drawn, and the size of its letters in points."""
    symbols = [alphabet[index] for index in torch.argmax(sample, -1).tolist()]
    text = "".join(symbols).strip(PADDING).replace("$", r"\$") or "(blank)"
    return (text, 7) if len(sample) <= LONG else (fill(text, LINE), 6)
