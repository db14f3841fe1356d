"""From finished runs to one report: tables, curves, samples and what made them."""

from __future__ import annotations

import io
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import yaml

from mmvae_bary.barycenters.subsets import evaluated_subsets
from mmvae_bary.markup import Words
from mmvae_bary.metrics.coherence import judged_sources, shown_sources
from mmvae_bary.pages import Picture, Report, latex, markdown, page, values
from mmvae_bary.plotting import Line, dot_panels, line_panels
from mmvae_bary.runs import Run, by_model, read_run, remarks
from mmvae_bary.tables import MOST_COLUMNS, Results, Table
from mmvae_bary.writing import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from matplotlib.figure import Figure

    Models = Mapping[str, Sequence[Run]]

CURVE = "train/"
CHANCE = "coherence/chance/"
POINTS = 200  # of a training curve, each the mean of what was logged around it
INKS = ("#1c1e21", "#e6e8ea")  # on white and on black paper


def report(
    folders: Sequence[Path],
    into: Path,
    command: str,
    title: str | None = None,
    notes: Sequence[str] = (),
) -> Path:
    """Write the report of finished runs.

    Args:
        folders: Those of the runs.
        into: Where to write ``report.html``, ``report.md`` with its ``figures``, ``tables.tex``
            and ``tables.csv``.
        command: What the report says that made it.
        title: Its heading; the data's name if None.
        notes: What it says above all numbers.

    Returns:
        The page.

    Raises:
        ValueError: If a folder is not that of a finished run, or the runs are not comparable.
    """
    models = by_model([read_run(folder) for folder in folders])
    content = gather(models, command, title, notes)
    into.mkdir(parents=True, exist_ok=True)
    grids = {label: _addresses(found, into) for label, found in content.grids.items()}
    write_whole(into / "report.md", markdown(content, _save_pictures(content, into), grids))
    write_whole(into / "tables.tex", latex(content.tables))
    write_whole(into / "tables.csv", values(content.everything))
    write_whole(into / "report.html", page(content))
    return into / "report.html"


def gather(
    models: Models, command: str = "", title: str | None = None, notes: Sequence[str] = ()
) -> Report:
    """All that a report says; its tables show themselves in a notebook.

    Args:
        models: What ``mmvae_bary.runs.by_model`` makes of runs.
        command: As in :func:`report`, and so are the others.
        title: Its heading.
        notes: What it says above all numbers.
    """
    first = next(iter(models.values()))[0]
    data = str(first.meta["data"])
    figures = {label: [run.figures for run in group] for label, group in models.items()}
    results = Results(first.names, first.measure, data, figures)
    tables, by_inputs = results.tables(), results.by_inputs()
    many = len(first.names) > MOST_COLUMNS
    found = {
        "By number of inputs": _by_inputs(by_inputs) if many and by_inputs else None,
        "By attribute": None if many else _by_attribute(models),
        "By class": _by_class(models),
        "Training": _training(models),
    }
    return Report(
        title=title or data.removesuffix("DataModule"),
        summary=_summary(models),
        command=command,
        remarks=[*notes, *remarks(models)],
        tables=tables,
        everything=[*results.by_subset(), *(by_inputs if many else [])],
        pictures={title: picture for title, picture in found.items() if picture},
        grids={label: grids for label, group in models.items() if (grids := _grids(group[0]))},
        facts=_facts(models),
        settings={label: _settings(group[0]) for label, group in models.items()},
    )


def _summary(models: Models) -> str:
    runs = [run for group in models.values() for run in group]
    seeds = sorted({str(run.meta["seed"]) for run in runs}, key=lambda seed: (len(seed), seed))
    told = f"{len(runs)} run{'s' * (len(runs) != 1)}: {', '.join(models)}"
    return f"{told}; seed{'s' * (len(seeds) != 1)} {', '.join(seeds)}"


def _by_inputs(tables: Sequence[Table]) -> Picture:
    """Figure 3 of the paper: means over subsets of a size, with a band of a deviation."""
    panels: dict[str, dict[str, list[Line]]] = {}
    for table in tables:
        sizes = np.array([float(column.label) for column in table.columns])
        panels[table.title.removesuffix(" by number of inputs")] = {
            model: [
                Line(
                    sizes,
                    np.array([cell.mean if cell else np.nan for cell in cells]),
                    np.array([(cell and cell.deviation) or 0.0 for cell in cells]),
                )
            ]
            for model, cells in table.rows.items()
        }
    return _picture(panels, "number of inputs")


def _by_attribute(models: Models) -> Picture | None:
    """S10 and S11 of the paper: each attribute's average precision, the frequent ones first."""
    run = next(iter(models.values()))[0]
    rates = {
        key.removeprefix(CHANCE): rate
        for key, rate in run.figures.items()
        if key.startswith(CHANCE)
    }
    order = sorted(rates, key=lambda name: -rates[name])
    subsets = ["+".join(subset) for subset in evaluated_subsets(run.names)]
    wanted = {f"probe, {subset}": f"probe/{run.measure}/{subset}" for subset in subsets}
    for target in run.names:
        for source in map("+".join, judged_sources(run.names, target)):
            wanted[f"coherence, {source} → {target}"] = f"coherence/{source}->{target}"
    chance = {"chance": {name: rates[name] for name in order}}
    panels = {
        title: {**_means_below(models, f"{key}/", order), **chance}
        for title, key in wanted.items()
    }
    return _dots(panels) if order else None


def _by_class(models: Models) -> Picture | None:
    """Coherence towards each modality, by the class of the source."""
    run = next(iter(models.values()))[0]
    prefix = f"coherence/mean->{run.names[0]}/class_"
    classes = [key.removeprefix(prefix) for key in run.figures if key.startswith(prefix)]
    panels = {
        f"coherence → {name}": _means_below(models, f"coherence/mean->{name}/class_", classes)
        for name in run.names
    }
    return _dots(panels) if classes else None


def _means_below(models: Models, prefix: str, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Model to the mean over seeds of the figures whose keys begin so and end in a name."""
    return {
        label: {
            name: float(np.mean([run.figures[prefix + name] for run in runs]))
            for name in names
            if all(prefix + name in run.figures for run in runs)
        }
        for label, runs in models.items()
    }


def _training(models: Models) -> Picture | None:
    """What was logged in training, a line a seed."""
    panels: dict[str, dict[str, list[Line]]] = {}
    for label, group in models.items():
        for run in group:
            for key, (steps, logged) in run.curves(CURVE).items():
                lines = panels.setdefault(key.removeprefix(CURVE), {}).setdefault(label, [])
                lines.append(Line(_thinned(steps), _thinned(logged)))
    order = sorted(panels, key=lambda name: (name.startswith("reconstruction"), name != "loss"))
    return _picture({name: panels[name] for name in order}, "step") if panels else None


def _thinned(series: np.ndarray[Any, np.dtype[np.float64]]) -> Any:
    parts = np.array_split(series, min(len(series), POINTS))
    return np.array([part.mean() for part in parts])


def _picture(panels: Mapping[str, Mapping[str, Sequence[Line]]], xlabel: str) -> Picture:
    return Picture(*(_svg(partial(line_panels, panels, xlabel, ink)) for ink in INKS))


def _dots(panels: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Picture:
    """Panels of dots, without the labels that have none."""
    panels = {
        title: {label: values for label, values in parts.items() if values}
        for title, parts in panels.items()
    }
    return Picture(*(_svg(partial(dot_panels, panels, ink)) for ink in INKS))


def _svg(draw: Callable[[], Figure]) -> bytes:
    from matplotlib import rc_context

    content = io.BytesIO()
    with rc_context({"svg.hashsalt": "report"}):
        draw().savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()


def _grids(run: Run) -> dict[str, Path]:
    """The pictures of a run's samples: of all directions or, where they are many, one a size."""
    wanted = {"prior → all": "prior_to_all.png"}
    for target in run.names:
        subsets = shown_sources(run.names, target)
        if len(run.names) > MOST_COLUMNS:
            subsets = _middle(run.names, target)
        for subset in subsets:
            source = "+".join(subset)
            wanted[f"{source} → {target}"] = f"{source}_to_{target}.png"
    found = {caption: run.folder / "samples" / name for caption, name in wanted.items()}
    return {caption: path for caption, path in found.items() if path.is_file()}


def _middle(names: Sequence[str], target: str) -> list[tuple[str, ...]]:
    """A source of each size: neighbours in the middle of the others, as in S5 and S6; then all."""
    others = [name for name in names if name != target]
    starts = [(size, (len(others) - size) // 2) for size in range(1, len(others) + 1)]
    return [*(tuple(others[start : start + size]) for size, start in starts), tuple(names)]


def _facts(models: Models) -> dict[str, Words]:
    runs = {label: list(group) for label, group in models.items()}
    first = next(iter(runs.values()))[0]
    scores = [
        [name, f"{first.classifiers[name]:.4f}", str(first.gate.get(name, "–"))]
        for name in first.names
        if name in first.classifiers
    ]
    measure = f"test {first.measure.replace('_', ' ')}"
    versions = [[name, str(number)] for name, number in first.meta["versions"].items()]
    judges = {"Classifiers": Words(["modality", measure, "gate"], scores)} if scores else {}
    return judges | {
        "Runs": Words(RUN_HEADER, [_row(label, run) for label in runs for run in runs[label]]),
        "Versions": Words(["package", "version"], versions),
    }


RUN_HEADER = ("model", "seed", "fusion", "steps", "epochs", "fit, s", "test, s", "precision",
              "device", "processes", "folder")  # fmt: skip


def _row(label: str, run: Run) -> list[str]:
    meta, seconds = run.meta, run.meta.get("seconds", {})
    told = [meta.get(key, "–") for key in ("seed", "barycenter", "steps", "epochs")]
    told += [seconds.get("fit", "–"), seconds.get("test", "–")]
    told += [meta.get(key, "–") for key in ("precision", "device", "processes")]
    return [label, *map(str, told), str(run.folder)]


def _settings(run: Run) -> str:
    text: str = yaml.safe_dump(dict(run.config), sort_keys=False, allow_unicode=True)
    return text


def _save_pictures(content: Report, into: Path) -> dict[str, str]:
    """Write the figures for Markdown; their addresses, seen from the report's folder."""
    folder = into / "figures"
    folder.mkdir(exist_ok=True)
    addresses = {}
    for title, picture in content.pictures.items():
        name = f"{title.lower().replace(' ', '_')}.svg"
        write_whole(folder / name, picture.light.decode())
        addresses[title] = f"figures/{name}"
    return addresses


def _addresses(grids: Mapping[str, Path], into: Path) -> dict[str, str]:
    return {
        caption: quote(Path(os.path.relpath(path, into)).as_posix())
        for caption, path in grids.items()
    }
