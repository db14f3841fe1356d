"""Finished runs, read back from their folders, and what keeps them from being compared."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from mmvae_bary.markup import html_table
from mmvae_bary.metrics.summary import summary_rows, summary_title, summary_words
from mmvae_bary.pretrained import PACKAGE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    Series = NDArray[np.float64]

PAPER_MODELS = ("PoEVAE", "MoEVAE", "MoPoEVAE", "WBVAE", "MWBVAE")
META = {"model", "seed", "versions", "data"}
SECTIONS = {"model", "data", "trainer", "ckpt_path"}  # the last one at the end of the file
COMPILES = "CompileCallback"
# Settings that two runs of one comparison may differ in
FREE = (
    "seed_everything",
    "ckpt_path",
    "weights_only",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.strategy",
    "trainer.num_nodes",
    "trainer.logger",
    "trainer.default_root_dir",
    "trainer.enable_progress_bar",
    "trainer.enable_model_summary",
    "data.init_args.cache",
    "data.init_args.root",  # where the data lie on a machine
    "checkpoint",  # a test is of the last weights
    "samples",
    "predictions",
)


@dataclass(frozen=True)
class Run:
    """A finished run.

    Args:
        folder: Where it lies.
        figures: What its test measured.
        meta: What ``results.json`` says of the run itself.
        config: Its ``config.yaml``.
    """

    folder: Path
    figures: Mapping[str, float]
    meta: Mapping[str, Any]
    config: Mapping[str, Any]

    @property
    def names(self) -> tuple[str, ...]:
        """The modalities, in the model's order."""
        return tuple(self.config["model"]["init_args"]["modalities"])

    @property
    def measure(self) -> str:
        """What probes and classifiers are judged by, as it stands in the figures' keys."""
        found = (key for key in self.meta if key.startswith("classifier_"))
        return next(found, "classifier_accuracy").removeprefix("classifier_")

    @property
    def classifiers(self) -> Mapping[str, float]:
        """Modality to the test score of its classifier."""
        scores: Mapping[str, float] = self.meta.get(f"classifier_{self.measure}", {})
        return scores

    @property
    def callbacks(self) -> list[dict[str, Any]]:
        """The settings of those that the trainer had."""
        return as_list(self.config["trainer"].get("callbacks"))

    @property
    def compiled(self) -> str:
        """Whether its steps were, in words."""
        paths = [callback["class_path"] for callback in self.callbacks]
        return "compiled" if any(path.endswith(COMPILES) for path in paths) else "as written"

    @property
    def gate(self) -> Mapping[str, float]:
        """Modality to the score below which its classifier is unfit to judge."""
        for callback in self.callbacks:
            if callback["class_path"].endswith("CoherenceCallback"):
                gate = callback["init_args"]["gate"]
                return gate if isinstance(gate, dict) else dict.fromkeys(self.names, gate)
        return {}

    @cached_property
    def settings(self) -> dict[str, Any]:
        """All settings that must be equal for runs to be averaged, by dotted name.

        Compiled or not is none: it changes a run as another seed does.
        """
        callbacks = [x for x in self.callbacks if not x["class_path"].endswith(COMPILES)]
        config = {**self.config, "trainer": {**self.config["trainer"], "callbacks": callbacks}}
        return {key: value for key, value in _flat(config) if not _starts(key, FREE)}

    def _repr_html_(self) -> str:
        """In a notebook: the table that the run ended with."""
        rows = summary_rows(self.names, self.measure, self.figures)
        seed = f"{summary_title(self.meta)}, seed {self.meta['seed']}"
        return html_table(summary_words(self.names, rows), seed)

    def curves(self, prefix: str) -> dict[str, tuple[Series, Series]]:
        """What was logged in training: steps and values by key, of those that begin so.

        A run that was continued has the logs of its earlier attempts beside; where two overlap,
        the later one counts.
        """
        logs = [*sorted(self.folder.glob("earlier/*/metrics.csv")), self.folder / "metrics.csv"]
        curves: dict[str, dict[int, float]] = {}
        for log in logs:
            for key, points in _logged(log, prefix).items():
                begin = min(points)
                kept = {x: y for x, y in curves.get(key, {}).items() if x < begin}
                curves[key] = kept | points
        return {
            key: (np.array([*points], dtype=float), np.array([*points.values()], dtype=float))
            for key, points in curves.items()
        }


def _logged(log: Path, prefix: str) -> dict[str, dict[int, float]]:
    """Key to value by step, of a log that may be missing or end in the middle of a line."""
    curves: dict[str, dict[int, float]] = {}
    if not log.is_file():
        return curves
    whole = log.read_text(encoding="utf-8").splitlines(keepends=True)
    try:
        for row in csv.DictReader(line for line in whole if line.endswith("\n")):
            for key, value in row.items():
                if value and key.startswith(prefix):
                    curves.setdefault(key, {})[int(row["step"])] = float(value)
    except (ValueError, KeyError, AttributeError, csv.Error):
        raise ValueError(f"{log}: got a broken file, expected a log of training") from None
    return curves


def read_run(folder: Path) -> Run:
    """Read a run's folder.

    Raises:
        ValueError: If it is not that of a finished run, or not whole.
    """
    results = _read(folder / "results.json", json.loads)
    config = _read(folder / "config.yaml", yaml.safe_load)
    meta = results.pop("meta", None)
    if not isinstance(meta, dict) or not set(meta) >= META or not _is_dict(meta, "versions"):
        raise ValueError(f"{folder / 'results.json'}: got no meta of a run, expected one")
    sections = [("model", "init_args", "modalities"), ("trainer",)]
    if not set(config) >= SECTIONS or not all(_is_dict(config, *path) for path in sections):
        raise ValueError(
            f"{folder / 'config.yaml'}: got settings that are not whole, expected those of a run"
        )
    if not all(isinstance(value, int | float) for value in results.values()):
        raise ValueError(f"{folder / 'results.json'}: got a figure that is no number")
    return Run(folder, results, meta, config)


def as_list(given: Any) -> list[Any]:
    """What a configuration says of one or of several, of which one alone needs no list."""
    if isinstance(given, list):
        return given
    return [] if given is None else [given]


def _is_dict(settings: Any, *path: str) -> bool:
    for key in path:
        settings = settings.get(key) if isinstance(settings, dict) else None
    return isinstance(settings, dict)


def _read(path: Path, parse: Any) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(
            f"{path.parent}: got no {path.name}, expected the folder of a finished run"
        )
    try:
        content = parse(path.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError):
        raise ValueError(f"{path}: got a broken file, expected that of a finished run") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: got {type(content).__name__}, expected a mapping")
    return content


def by_model(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Group runs that may be averaged: those of one model, in the order of their seeds.

    The paper's models come first, in its order. Where a class comes with several barycenters, each
    is a model of its own.

    Raises:
        ValueError: If there is none, or if they are not comparable: from another version of the
            library, two of one model and seed, of different data, or of different settings.
    """
    if not runs:
        raise ValueError("got no runs, expected at least one")
    _same_version(runs)
    _same_data(runs)
    models: dict[str, list[Run]] = {}
    for run in sorted(runs, key=_position):
        models.setdefault(_label(run, runs), []).append(run)
    for label, group in models.items():
        _distinct_seeds(label, group)
        for other in group[1:]:
            _same_settings(label, group[0], other)
    return models


def _position(run: Run) -> tuple[int, str, int]:
    model, seed = run.meta["model"], run.meta["seed"]
    place = PAPER_MODELS.index(model) if model in PAPER_MODELS else len(PAPER_MODELS)
    return place, _name(run), -1 if seed is None else seed


def _name(run: Run) -> str:
    return f"{run.meta['model']}, {run.meta.get('barycenter', '')}"


def _label(run: Run, runs: Sequence[Run]) -> str:
    model: str = run.meta["model"]
    alike = {_name(other) for other in runs if other.meta["model"] == model}
    return model if len(alike) == 1 else _name(run)


def _same_version(runs: Sequence[Run]) -> None:
    here = version(PACKAGE)
    for run in runs:
        if (made := run.meta["versions"].get(PACKAGE)) != here:
            raise ValueError(f"{run.folder}: got a run of {PACKAGE} {made}, expected {here}")


def _distinct_seeds(label: str, group: Sequence[Run]) -> None:
    for first, second in combinations(group, 2):
        if first.meta["seed"] == second.meta["seed"]:
            raise ValueError(
                f"{first.folder} and {second.folder}: got {label} with seed "
                f"{first.meta['seed']} twice, expected a run for each model and seed"
            )


def _same_data(runs: Sequence[Run]) -> None:
    first = runs[0]
    for run in runs[1:]:
        _equal(first, run, _data(first), _data(run), "the same data in all runs")


def _data(run: Run) -> dict[str, Any]:
    settings = {key: value for key, value in run.settings.items() if key.startswith("data.")}
    return settings | {
        "notes": run.meta.get("notes"),
        "modalities": list(run.names),
    }


def _same_settings(label: str, first: Run, second: Run) -> None:
    expected = f"the same settings for all seeds of {label}"
    _equal(first, second, first.settings, second.settings, expected)
    if odd := sorted(set(first.figures) ^ set(second.figures)):
        raise ValueError(
            f"{first.folder} and {second.folder}: got {odd[0]} in one of them, expected the "
            "same figures"
        )


def _equal(
    first: Run, second: Run, one: Mapping[str, Any], other: Mapping[str, Any], expected: str
) -> None:
    for key in {**one, **other}:
        if one.get(key) != other.get(key):
            raise ValueError(
                f"{first.folder} and {second.folder}: got {key} {one.get(key)!r} and "
                f"{other.get(key)!r}, expected {expected}"
            )


def remarks(models: Mapping[str, Sequence[Run]]) -> list[str]:
    """What a reader must know before comparing these runs."""
    runs = [run for group in models.values() for run in group]
    return [
        *dict.fromkeys(note for run in runs for note in run.meta.get("notes", [])),
        *_classifier_remarks(runs),
        *_setting_remarks(models),
        *_seed_remarks(models),
        *_varying("steps", {str(run.meta.get("steps")) for run in runs}),
        *_varying("numbers of processes", {str(run.meta.get("processes")) for run in runs}),
        *_varying("training steps", {run.compiled for run in runs}),
        *_varying("devices", {str(run.meta.get("device")) for run in runs}),
        *_varying("torch versions", {str(run.meta["versions"].get("torch")) for run in runs}),
        *_not_finite(models),
    ]


def _classifier_remarks(runs: Sequence[Run]) -> Iterator[str]:
    if not any(run.classifiers for run in runs):  # nothing was to be judged
        return
    measure = runs[0].measure.replace("_", " ")
    for name in runs[0].names:
        found = [run.classifiers.get(name) for run in runs]
        scores = [score for score in found if score is not None]
        if len(scores) < len(found):
            yield (
                f"{len(found) - len(scores)} of {len(found)} runs have no classifier of {name!r}: "
                f"coherence towards {name!r} was not judged in them."
            )
        if len(set(scores)) > 1:
            yield (
                f"The runs were judged by different classifiers of {name!r}: their test {measure} "
                f"goes from {min(scores):.4f} to {max(scores):.4f}."
            )
        gate = max((run.gate.get(name, 0.0) for run in runs), default=0.0)
        if scores and min(scores) < gate:
            yield (
                f"The classifier of {name!r} has a test {measure} of {min(scores):.4f}, below its "
                f"gate of {gate}: coherence towards {name!r} means little."
            )


def _seed_remarks(models: Mapping[str, Sequence[Run]]) -> Iterator[str]:
    seeds = {label: [str(run.meta["seed"]) for run in group] for label, group in models.items()}
    if len(set(map(tuple, seeds.values()))) > 1:
        told = "; ".join(f"{label} {', '.join(found)}" for label, found in seeds.items())
        yield f"The models have different seeds: {told}."


def _setting_remarks(models: Mapping[str, Sequence[Run]]) -> Iterator[str]:
    """Settings in which models differ, though all have them: their own are left out."""
    first = {label: group[0].settings for label, group in models.items()}
    for key in sorted(set.intersection(*(set(settings) for settings in first.values()))):
        values = {label: settings[key] for label, settings in first.items()}
        own = _starts(key, ("model.class_path", "model.init_args.barycenter"))
        if not own and len(set(map(repr, values.values()))) > 1:
            told = ", ".join(f"{value!r} ({label})" for label, value in values.items())
            yield f"The models differ in more than their fusion: {key} is {told}."


def _varying(what: str, values: set[str]) -> Iterator[str]:
    if len(values) > 1:
        yield f"The runs have different {what}: {', '.join(sorted(values))}."


def _not_finite(models: Mapping[str, Sequence[Run]]) -> Iterator[str]:
    for label, group in models.items():
        for run in group:
            if odd := [key for key, value in run.figures.items() if not math.isfinite(value)]:
                name = f"{label} with seed {run.meta['seed']}"
                yield f"{name} has figures that are not finite: {', '.join(odd[:3])}."


def _flat(settings: Any, prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Nested settings as pairs of a dotted name and a value; lists count their entries."""
    if isinstance(settings, dict) and settings:
        entries: Iterable[tuple[Any, Any]] = settings.items()
    elif isinstance(settings, list) and any(isinstance(entry, dict) for entry in settings):
        entries = enumerate(settings)
    else:
        return [(prefix, settings)]
    return [
        pair
        for key, value in entries
        for pair in _flat(value, f"{prefix}.{key}" if prefix else str(key))
    ]


def _starts(key: str, prefixes: Sequence[str]) -> bool:
    return any(key == prefix or key.startswith(f"{prefix}.") for prefix in prefixes)
