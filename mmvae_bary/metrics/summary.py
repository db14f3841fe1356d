"""The table that a run ends with: the figures for each subset that a model is given."""

from __future__ import annotations

from itertools import compress
from typing import TYPE_CHECKING, Any

from mmvae_bary.barycenters.subsets import evaluated_subsets
from mmvae_bary.markup import Words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Row = tuple[str, list[float | None]]  # what is given, and the figures for it


def summary_title(meta: Mapping[str, Any], split: str = "test") -> str:
    """What was judged on what, of what ``results.json`` says of a run."""
    return f"{meta['model']}, {meta.get('barycenter', '–')}, on {meta['data']}, {split} set"


def summary_words(names: tuple[str, ...], rows: Sequence[Row]) -> Words:
    """The table in words, without columns that have nothing to say."""
    lines = [(given, _cells(values)) for given, values in rows]
    # as without labels or classifiers
    told = [any(column) for column in zip(*(cells for _, cells in lines), strict=True)]
    first, *others = summary_columns(names)
    rest = [[given, *compress(cells, told)] for given, cells in lines]
    return Words([first, *compress(others, told)], rest)


def summary_columns(names: tuple[str, ...]) -> list[str]:
    """The headings."""
    return ["given", "probe", *(f"→ {name}" for name in names), "log p(X)"]


def summary_rows(names: tuple[str, ...], measure: str, figures: Mapping[str, float]) -> list[Row]:
    """What is given, and the figures for it, by subset and in the mean."""

    def row(given: str, probe: str, coherence: list[str]) -> Row:
        keys = [probe, *coherence, f"log_likelihood/{given}"]
        return given, [figures.get(key) for key in keys]

    subsets = [
        row(given, f"probe/{measure}/{given}", [f"coherence/{given}->{name}" for name in names])
        for given in map("+".join, evaluated_subsets(names))
    ]
    means = [f"coherence/mean->{name}" for name in names]
    return [*subsets, row("mean", f"probe/{measure}/mean", means)]


def _cells(values: list[float | None]) -> list[str]:
    *shares, log_likelihood = values
    return [*map(shown, shares), shown(log_likelihood, ".1f")]


def shown(value: float | None, form: str = ".3f") -> str:
    """A figure; nothing where there is none."""
    return "" if value is None else format(value, form)
