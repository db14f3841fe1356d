"""The paper's tables: means and deviations over seeds, what is significant, what was published."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import yaml

from mmvae_bary.barycenters.subsets import evaluated_subsets
from mmvae_bary.metrics.coherence import sources

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    Samples = Mapping[str, NDArray[np.float64]]  # model to a value for each seed

LEVEL = 0.05
SIGNIFICANCE = (
    f"Bold: significantly better than every other model (Welch's t-test over seeds, two-sided, "
    f"p < {LEVEL} after Holm's correction for all comparisons of the table)."
)
MOST_COLUMNS = 3  # of which every subset gets a column
# What reconstructions are judged by: the figures' keys, in words, and whether lower is better
RECONSTRUCTION = (("mse", "error", True), ("psnr", "PSNR", False), ("ssim", "SSIM", False))


@dataclass(frozen=True)
class Column:
    """What a column shows: the mean of some of a run's figures, often of one.

    Args:
        key: Its name in ``tables.csv``.
        label: Its heading.
        parts: Keys of the figures.
        group: The heading above, shared with its neighbours.
        lower_is_better: As of a distance.
    """

    key: str
    label: str
    parts: tuple[str, ...]
    group: str = ""
    lower_is_better: bool = False

    @property
    def heading(self) -> str:
        """The heading where there is none above."""
        if self.group.startswith("→"):
            return f"{self.label} {self.group}"
        return f"{self.group} {self.label}".strip()

    @property
    def published_key(self) -> str:
        """The key of what was published, which may be by either estimator."""
        return self.key.replace("log_likelihood_grouped/", "log_likelihood/")

    def of(self, figures: Mapping[str, float]) -> float | None:
        """Its value for a run; None where the run has not all that it takes."""
        if not self.parts or not all(part in figures for part in self.parts):
            return None
        return float(np.mean([figures[part] for part in self.parts]))

    def oriented(self, samples: Samples) -> Samples:
        """Values of which the highest is the best."""
        sign = -1 if self.lower_is_better else 1
        return {model: sign * values for model, values in samples.items()}


@dataclass(frozen=True)
class Cell:
    """A model's values over seeds.

    Args:
        values: One for each seed.
        published: The published mean and, where it is printed, standard deviation.
        best: Whether the model is significantly better than every other.
    """

    values: NDArray[np.float64]
    published: tuple[float, float | None] | None = None
    best: bool = False

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return float(self.values.mean())

    @property
    def deviation(self) -> float | None:
        """The sample standard deviation over seeds; None for one seed."""
        return float(self.values.std(ddof=1)) if len(self.values) > 1 else None


@dataclass(frozen=True)
class Table:
    """A table: for each model a cell, or None, in each column.

    Args:
        title: Its heading.
        caption: What its numbers are.
        digits: Decimal places to show.
        columns: What is shown.
        rows: Model to its cells.
        published_in: Where the published numbers are from; nothing where there are none.
    """

    title: str
    caption: str
    digits: int
    columns: Sequence[Column]
    rows: Mapping[str, Sequence[Cell | None]]
    published_in: str = ""


class Kind(NamedTuple):
    """A kind of figure, to be made tables of: columns, and the key of their mean."""

    title: str
    caption: str
    digits: int
    mean: str
    columns: Sequence[Column]


@dataclass(frozen=True)
class Results:
    """The figures of runs, by model.

    Args:
        names: The modalities, in the model's order.
        measure: What the probe is judged by, as it stands in the figures' keys.
        data: Class name of the data module, under which numbers were published.
        figures: Model to the figures of its runs, in the order of their seeds.
    """

    names: Sequence[str]
    measure: str
    data: str
    figures: Mapping[str, Sequence[Mapping[str, float]]]

    def tables(self) -> list[Table]:
        """The tables to be read: by subset, or by number of inputs where subsets are many."""
        if len(self.names) <= MOST_COLUMNS:
            return self.by_subset()
        by_target = self._distances(
            {name: {"mean": "others", "prior": "prior"} for name in self.names}
        )
        return [*self.by_inputs(), *[by_target] * bool(by_target.columns)]

    def by_subset(self) -> list[Table]:
        """Tables with a column for every subset and direction, as far as there are figures."""
        probe, coherence, likelihood = self._kinds()
        everything = "+".join(self.names)
        last = [
            Column(key := "coherence/joint", "prior", (key,), "→ all"),
            *(
                Column(key := f"coherence/{everything}->{name}", f"→ {name}", (key,), "given all")
                for name in self.names
            ),
        ]
        judged = (
            f"{coherence.caption} Last, how often all agree on samples from the prior, and the "
            "same given all."
        )
        if len(self.names) == 2:
            both = [*probe.columns, *coherence.columns]
            columns = [*both, _average("probe+coherence/mean", both), *last]
            caption = f"{probe.caption} {judged} The mean is of both, as in the paper."
            found = [self._table("Latent representation and generation", caption, 3, columns)]
        else:
            columns = [*coherence.columns, _average(coherence.mean, coherence.columns), *last]
            found = [
                self._table(*probe[:3], [*probe.columns, _average(probe.mean, probe.columns)]),
                self._table(coherence.title, judged, coherence.digits, columns),
            ]
        found.append(self._table(*likelihood[:3], likelihood.columns))
        found.append(self._trust())
        given = {name: [*map("+".join, sources(self.names, name)), "prior"] for name in self.names}
        found.append(self._distances({k: dict(zip(s, s, strict=True)) for k, s in given.items()}))
        found.append(self._reconstruction())
        return [table for table in found if table.columns]

    def _distances(self, given: Mapping[str, Mapping[str, str]]) -> Table:
        """Of each target, from what a key names to the column's heading."""
        columns = [
            Column(key := f"frechet/{source}->{name}", label, (key,), f"→ {name}", True)
            for name, labels in given.items()
            for source, label in labels.items()
        ]
        caption = (
            "Fréchet distance between real and generated samples, in the features of the targets' "
            "classifiers unless the settings name others; lower is better."
        )
        return self._table("Fréchet distance", caption, 2, columns)

    def _trust(self) -> Table:
        columns = [
            column
            for end, group in (
                ("/standard_error", "standard error given"),
                ("/effective_sample_size", "effective sample size given"),
            )
            for column in _given(self.names, "log_likelihood/", group, end)
        ]
        columns += _given(self.names, "log_likelihood_grouped/", "grouped across items, biased")
        caption = (
            "Of the log-likelihood: standard error over items; effective number of the samples "
            "that each item's weights make, of which few mean an estimate far too low."
        )
        return self._table(
            "Log-likelihood, how far to trust it", caption, 1, columns, compared=False
        )

    def _reconstruction(self) -> Table:
        everything = "+".join(self.names)
        columns = [
            Column(
                key := f"{measure}/{given}->{name}",
                label,
                (key,),
                f"{heading} of {name} given",
                lower,
            )
            for measure, heading, lower in RECONSTRUCTION
            for name in self.names
            for label, given in (("itself", name), ("all", everything))
        ]
        caption = (
            "Of a modality given itself or all: mean squared error, lower is better; peak "
            "signal-to-noise ratio in decibels; structural similarity of pictures."
        )
        return self._table("Reconstruction", caption, 3, columns)

    def by_inputs(self) -> list[Table]:
        """Tables with a column for every number of inputs, averaged over subsets of that size."""
        found = [
            self._table(
                f"{kind.title} by number of inputs",
                f"{kind.caption} Averaged over subsets of a size.",
                kind.digits,
                _by_size(kind.mean, kind.columns),
            )
            for kind in self._kinds()
        ]
        return [table for table in found if table.columns]

    def _kinds(self) -> tuple[Kind, Kind, Kind]:
        measure = self.measure.replace("_", " ")
        return (
            Kind(
                "Linear probe",
                f"{measure.capitalize()} of a linear probe on the latent, given a subset.",
                3,
                f"probe/{self.measure}/mean",
                _given(
                    self.names, f"probe/{self.measure}/", "latent given" * (len(self.names) == 2)
                ),
            ),
            Kind(
                "Coherence",
                f"{measure.capitalize()} of the targets' classifiers on samples generated from "
                f"the sources{self._chance()}.",
                3,
                "coherence/mean",
                _directions(self.names),
            ),
            Kind(
                "Log-likelihood",
                "Log-likelihood of all modalities X, with q(z | subset) as the proposal.",
                1,
                "log_likelihood/mean",
                _given(self.names, "log_likelihood/", "X given"),
            ),
        )

    def _chance(self) -> str:
        """What random scores reach, where that is not plain from the number of classes."""
        runs = [run for group in self.figures.values() for run in group]
        found = [run["coherence/chance"] for run in runs if "coherence/chance" in run]
        return f"; random scores reach {np.mean(found):.3f}" if found else ""

    def _table(
        self,
        title: str,
        caption: str,
        digits: int,
        columns: Iterable[Column],
        *,
        compared: bool = True,
    ) -> Table:
        """A table of the columns that any run has figures for, the best ones found if compared."""
        samples = {column: self._samples(column) for column in columns}
        samples = {column: values for column, values in samples.items() if values}
        oriented = [column.oriented(found) for column, found in samples.items()]
        best = significantly_best(oriented) if compared else [None] * len(oriented)
        printed = published(self.data)
        rows = {
            model: [
                Cell(
                    values[model],
                    printed.get(column.published_key, {}).get(model),
                    best[place] == model,
                )
                if model in values
                else None
                for place, (column, values) in enumerate(samples.items())
            ]
            for model in self.figures
        }
        sources = published_in(self.data)
        keys = [column.published_key for column in samples]
        shown = [key for key in keys if printed.get(key, {}).keys() & rows]
        told = "; ".join(dict.fromkeys(sources[key] for key in shown))
        return Table(title, caption, digits, list(samples), rows, told)

    def _samples(self, column: Column) -> Samples:
        values = {model: [column.of(run) for run in runs] for model, runs in self.figures.items()}
        return {
            model: np.array(found, dtype=float)
            for model, found in values.items()
            if None not in found
        }


def _given(names: Sequence[str], prefix: str, group: str = "", end: str = "") -> list[Column]:
    """A column for each subset."""
    return [
        Column(key := f"{prefix}{subset}{end}", subset, (key,), group)
        for subset in map("+".join, evaluated_subsets(names))
    ]


def _directions(names: Sequence[str]) -> list[Column]:
    """A column for each target and subset without it."""
    return [
        Column(key := f"coherence/{subset}->{target}", subset, (key,), f"→ {target}")
        for target in names
        for subset in map("+".join, sources(names, target))
    ]


def _average(key: str, columns: Iterable[Column]) -> Column:
    return Column(key, "mean", tuple(part for column in columns for part in column.parts))


def _by_size(key: str, columns: Sequence[Column]) -> list[Column]:
    """The mean over the columns of as many inputs, for every number of inputs."""
    sizes: dict[int, list[Column]] = {}
    for column in columns:
        sizes.setdefault(column.label.count("+") + 1, []).append(column)
    return [
        Column(f"{key}/{size}", str(size), _average(key, chosen).parts, "inputs")
        for size, chosen in sizes.items()
    ]


def significantly_best(columns: Sequence[Samples], level: float = LEVEL) -> list[str | None]:
    """For each column the model that is significantly better than every other, or None.

    The model with the highest mean is compared with each other one by Welch's t-test, two-sided,
    as it was chosen by what it is tested for; Holm's correction is for all comparisons of all
    columns. Without two seeds or any variation nothing is significant.

    Args:
        columns: Model to its values over seeds, for each column.
        level: The family-wise error rate.
    """
    best = [max(samples, key=lambda model: samples[model].mean()) for samples in columns]
    pairs = [
        (place, _welch(samples[best[place]], values))
        for place, samples in enumerate(columns)
        for model, values in samples.items()
        if model != best[place]
    ]
    corrected = holm([p for _, p in pairs])
    compared = {place for place, _ in pairs}
    beaten_not = {place for (place, _), p in zip(pairs, corrected, strict=True) if p >= level}
    return [model if place in compared - beaten_not else None for place, model in enumerate(best)]


def _welch(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    # scipy.stats takes a second to import, which importing this module should not take
    from scipy.stats import ttest_ind_from_stats

    sizes = len(first), len(second)
    if min(sizes) < 2 or np.ptp(first) + np.ptp(second) == 0:
        return 1.0
    ours, theirs = ((x.mean(), x.std(ddof=1), len(x)) for x in (first, second))
    p = ttest_ind_from_stats(*ours, *theirs, equal_var=False).pvalue
    return float(np.nan_to_num(p, nan=1.0))


def holm(pvalues: Sequence[float]) -> NDArray[np.float64]:
    """Holm's step-down correction.

    Args:
        pvalues: Of a family of tests.

    References:
        Holm, "A simple sequentially rejective multiple test procedure", 1979.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        array([0.03, 0.06, 0.06])
    """
    values = np.asarray(pvalues, dtype=float)
    order = np.argsort(values)
    factors = np.arange(len(values), 0, -1)
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1)
    return corrected


@cache
def _published_tables(data: str) -> list[dict[str, Any]]:
    text = (files("mmvae_bary") / "published.yaml").read_text(encoding="utf-8")
    tables: list[dict[str, Any]] = yaml.safe_load(text).get(data, [])
    return tables


def published_in(data: str) -> dict[str, str]:
    """Where the numbers for a data module's class are from, by column key."""
    tables = _published_tables(data)
    return {key: table["source"] for table in tables for key in table["columns"].split()}


@cache
def published(data: str) -> Mapping[str, Mapping[str, tuple[float, float | None]]]:
    """Published numbers for a data module's class: column key to model to mean and deviation.

    Example:
        >>> published("MNISTSVHNTextDataModule")["probe/accuracy/svhn"]["MWBVAE"]
        (0.83, 0.01)
    """
    numbers: dict[str, dict[str, tuple[float, float | None]]] = {}
    for table in _published_tables(data):
        for model, row in table["rows"].items():
            for key, number in zip(table["columns"].split(), row.split(), strict=True):
                mean, _, deviation = number.partition("±")
                numbers.setdefault(key, {})[model] = (
                    float(mean),
                    float(deviation) if deviation else None,
                )
    return numbers
