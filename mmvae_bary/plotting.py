"""Pictures of samples and of figures over steps, inputs or classes, drawn by matplotlib."""

from __future__ import annotations

from itertools import accumulate
from textwrap import fill
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from mmvae_bary.modality import is_picture

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

CELL = 0.7  # inches
MARGIN = 0.06  # of a cell
TEXT_HEIGHT = 0.4  # of a cell
LONG = 16  # symbols, from which on a text is broken into lines in a cell of its own size
LONG_CELL = 1.5  # inches
LINE = 24  # symbols in a line of a long text
PADDING = " *"  # around a text
# Of Okabe and Ito: told apart by the colour-blind too, on white and on black
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
PANEL = (4.0, 3.0)  # inches
DOT_LINE = 0.17  # inches, of a category

Part = TypeVar("Part")  # of a panel: what is drawn for a label


class Line(NamedTuple):
    """A line to draw: its points and, where it has one, the half-width of a band around it."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    band: NDArray[np.float64] | None = None


def sample_grid(
    rows: Sequence[tuple[str, Tensor]],
    alphabets: Mapping[str, str],
    title: str,
    num_given: int = 0,
) -> Figure:
    """Draw samples in a grid, a row a modality, and a line below those that were given.

    Args:
        rows: Pairs of a modality's name and its samples, of shape ``(N, C, H, W)`` for pictures
            in [0, 1] with one or three channels or ``(N, L, V)`` for one-hot or soft text.
        alphabets: Name of a text modality to its symbols.
        title: Heading of the figure.
        num_given: How many rows were given, and not generated.

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
    if num_given:
        axes.axhline(bottoms[num_given - 1], color="tab:blue", linewidth=1)
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


def drawable(shapes: Mapping[str, Sequence[int]], alphabets: Mapping[str, str]) -> list[str]:
    """The modalities that :func:`sample_grid` can draw, in their order: pictures and texts.

    Args:
        shapes: Name of a modality to the shape of a sample.
        alphabets: Name of a text modality to its symbols.
    """
    return [name for name, shape in shapes.items() if name in alphabets or is_picture(shape)]


def line_panels(
    panels: Mapping[str, Mapping[str, Sequence[Line]]], xlabel: str, ink: str = "black"
) -> Figure:
    """Draw panels of lines side by side, three in a row, that share a legend.

    Args:
        panels: Title of a panel to its lines by label; lines of one label have one colour.
        xlabel: What the lines go over.
        ink: Colour of all that is no line; the background is transparent.

    Returns:
        A figure that owns no window and needs no display.
    """

    def draw(axes: Axes, lines: Sequence[Line], colour: str) -> Sequence[Artist]:
        return [_draw(axes, line, colour) for line in lines]

    figure = _panels(panels, PANEL, ink, draw)
    for axes in figure.axes:
        axes.set_xlabel(xlabel, color=ink)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def dot_panels(
    panels: Mapping[str, Mapping[str, Mapping[str, float]]], ink: str = "black"
) -> Figure:
    """Draw panels of dots side by side, three in a row, that share a legend.

    Args:
        panels: Title of a panel to label to the value of each category. A category has a line of
            its own, from the top in the order of the first label's.
        ink: As in :func:`line_panels`.

    Returns:
        A figure that owns no window and needs no display.
    """

    def draw(axes: Axes, values: Mapping[str, float], colour: str) -> Sequence[Artist]:
        return [axes.scatter(list(values.values()), list(values), s=16, color=colour)]

    most = max(len(values) for panel in panels.values() for values in panel.values())
    figure = _panels(panels, (PANEL[0], DOT_LINE * most + 0.6), ink, draw)
    for axes in figure.axes:
        axes.invert_yaxis()
    return figure


def _panels(
    panels: Mapping[str, Mapping[str, Part]],
    size: tuple[float, float],
    ink: str,
    draw: Callable[[Axes, Part, str], Sequence[Artist]],
) -> Figure:
    """Panels on a grid; ``draw`` draws a label's part in its colour."""
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    width, height = size
    figure = Figure(
        figsize=(width * columns, height * rows + 0.3), layout="constrained", facecolor="none"
    )
    labels = list(dict.fromkeys(label for parts in panels.values() for label in parts))
    colours = {label: COLOURS[place % len(COLOURS)] for place, label in enumerate(labels)}
    handles: dict[str, Artist] = {}
    cells = figure.subplots(rows, columns, squeeze=False).flat
    for axes, (title, parts) in zip(cells, panels.items(), strict=False):
        axes.set_title(_plain(title), color=ink, fontsize=11)
        _plain_axes(axes, ink)
        for label, part in parts.items():
            for artist in draw(axes, part, colours[label]):
                handles[label] = artist
    for axes in list(figure.axes)[len(panels) :]:
        axes.remove()
    figure.legend(
        handles.values(),
        map(_plain, handles),
        loc="outside lower center",
        ncols=2 * columns,
        frameon=False,
        labelcolor=ink,
    )
    return figure


def _draw(axes: Axes, line: Line, colour: str) -> Artist:
    marker = "o" if len(line.x) < 10 else None
    (drawn,) = axes.plot(line.x, line.y, color=colour, marker=marker, markersize=4, linewidth=1.4)
    if line.band is not None:
        low, high = line.y - line.band, line.y + line.band
        axes.fill_between(line.x, low, high, color=colour, alpha=0.2, linewidth=0)
    return drawn


def _plain_axes(axes: Axes, ink: str) -> None:
    axes.set_facecolor("none")
    axes.tick_params(colors=ink, labelsize=9)
    axes.grid(color=ink, alpha=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(ink)


def _plain(text: str) -> str:
    """A text without what matplotlib would read as a formula."""
    return text.replace("$", r"\$")


def _pixels(picture: Tensor) -> NDArray[np.float32]:
    picture = picture.clamp(0, 1)
    return (picture[0] if len(picture) == 1 else picture.permute(1, 2, 0)).numpy()


def _read(sample: Tensor, alphabet: str) -> tuple[str, int]:
    """A text as it is drawn, and the size of its letters in points."""
    symbols = [alphabet[index] for index in torch.argmax(sample, -1).tolist()]
    text = "".join(symbols).strip(PADDING).replace("$", r"\$") or "(blank)"
    return (text, 7) if len(sample) <= LONG else (fill(text, LINE), 6)
