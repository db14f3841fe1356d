"""Which runs a benchmark takes, and what makes each of them the one that was asked for."""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmvae_bary.pretrained import PACKAGE
from mmvae_bary.runs import PAPER_MODELS, read_run
from mmvae_bary.writing import write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

PACKAGED = {
    path.name: str(path)
    for path in (files("mmvae_bary") / "configs").iterdir()
    if path.name.endswith(".yaml")
}
OVERLAYS = {"wandb"}  # packaged configurations that are no benchmark
BENCHMARKS = sorted({name.removesuffix(".yaml") for name in PACKAGED} - OVERLAYS)
OWN = ("--model", "--model.class_path", "--seed_everything", "--ckpt_path", "--trainer.logger")
CONFIG_OPTIONS = ("--config", "-c")
# Of an attempt that was stopped, kept when the next one begins; Lightning wants them gone
KEPT = ("config.yaml", "metrics.csv", "log.txt")
LOCK = "run.lock"


@dataclass(frozen=True)
class Plan:
    """A run to be made: a model and a seed in a folder of their own.

    Args:
        model: Class name, or its dotted path.
        seed: Seed of the run.
        folder: Where it goes.
        config: The configuration, as ``mmvae fit`` takes it.
        options: Further arguments of ``mmvae fit``.
        digest: What the configuration and those among the options say, hashed.
    """

    model: str
    seed: int
    folder: Path
    config: str
    options: tuple[str, ...]
    digest: str

    def __str__(self) -> str:
        return f"{self.model} seed {self.seed}"

    @property
    def settings(self) -> dict[str, Any]:
        """What a finished run must have been made with to be taken for this one."""
        return {
            "config": self.digest,
            "model": self.model,
            "seed": self.seed,
            "options": shlex.join(self.options),
            "version": version(PACKAGE),
        }

    @property
    def finished(self) -> bool:
        """Whether the run is there and whole."""
        try:
            meta = read_run(self.folder).meta
        except ValueError:
            return False
        return (meta["model"], meta["seed"]) == (_name(self.model), self.seed)

    def check(self) -> None:
        """Refuse a folder with something else in it.

        Raises:
            ValueError: If it holds a run of other settings, or no run.
        """
        path = self.folder / "run.json"
        if not path.is_file():
            left = [file for file in self.folder.glob("*") if file.suffix != ".part"]
            if any(file.name != LOCK for file in left):
                raise ValueError(
                    f"{self.folder}: got a folder without run.json, expected one that mmvae "
                    "reproduce made; choose another --folder"
                )
            return
        try:
            made = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            raise ValueError(f"{path}: got a broken file, expected one to go on from") from None
        for key, value in self.settings.items():
            if made.get(key) != value:
                raise ValueError(
                    f"{self.folder}: got a run made with {key} {made.get(key)!r}, expected "
                    f"{value!r}; choose another --folder"
                )

    def arguments(self) -> list[str]:
        """Those of ``mmvae fit``, going on from the last checkpoint if there is one."""
        logger = {
            "class_path": "CSVLogger",
            "init_args": {
                "save_dir": str(self.folder.parent.parent),
                "name": self.folder.parent.name,
                "version": self.folder.name,
            },
        }
        checkpoints = sorted(
            self.folder.glob("checkpoints/*.ckpt"), key=lambda path: path.stat().st_mtime
        )
        return [
            f"--config={self.config}",
            f"--model={self.model}",
            f"--seed_everything={self.seed}",
            f"--trainer.logger={json.dumps([logger])}",
            "--trainer.enable_progress_bar=false",  # a log has no use for it
            *self.options,
            *(f"--ckpt_path={path}" for path in checkpoints[-1:]),
        ]

    def prepare(self) -> None:
        """Make the folder ready for an attempt; what an earlier one left is kept beside."""
        write_whole(self.folder / "run.json", json.dumps(self.settings, indent=2) + "\n")
        left = [self.folder / name for name in KEPT if (self.folder / name).is_file()]
        if left:
            number = len(list(self.folder.glob("earlier/*"))) + 1
            beside = self.folder / "earlier" / f"{number:03d}"
            beside.mkdir(parents=True)
            for path in left:
                path.replace(beside / path.name)


def find_config(name: str) -> str:
    """The path of a configuration: a file here or a packaged one.

    Raises:
        FileNotFoundError: If it is neither.
    """
    if Path(name).is_file():
        return name
    if name not in PACKAGED:
        raise FileNotFoundError(
            f"--config: got {name!r}, which is no file here, expected one or a packaged "
            f"configuration: {', '.join(sorted(PACKAGED))}"
        )
    return PACKAGED[name]


def plan_runs(
    benchmark: str, models: Sequence[str], seeds: int, folder: Path, options: Sequence[str]
) -> list[Plan]:
    """A run for each model and seed.

    Args:
        benchmark: A packaged configuration without its ending, or a YAML file.
        models: Class names of the models, or ``["all"]`` for the paper's five.
        seeds: Number of seeds, from zero.
        folder: Where to keep the runs, as ``BENCHMARK/MODEL/seed_N``.
        options: Further arguments of ``mmvae fit``, for every run.

    Raises:
        ValueError: If one of them is not what it should be.
        FileNotFoundError: If an option names a configuration that is not there.
    """
    config = _find(benchmark)
    for option in options:
        if option.partition("=")[0].removesuffix("+") in OWN or option.startswith(f"{OWN[-1]}."):
            raise ValueError(f"got {option}, which differs by run, expected --models and --seeds")
    configs = (config, *_overlays(options))
    said = [Path(find_config(name)).read_text(encoding="utf-8") for name in configs]
    digest = hashlib.sha256("".join(said).encode()).hexdigest()[:12]
    root = folder / Path(benchmark).stem
    return [
        Plan(model, seed, root / _name(model) / f"seed_{seed}", config,
             tuple(options), digest)
        for model in _models(models)
        for seed in range(seeds)
    ]  # fmt: skip


def _find(benchmark: str) -> str:
    """The configuration as ``mmvae fit`` takes it."""
    if Path(benchmark).is_file():
        return benchmark
    stem = benchmark.removesuffix(".yaml")
    if stem not in BENCHMARKS:
        raise ValueError(
            f"got benchmark {benchmark!r}, which is no file here, expected one or one of "
            f"{', '.join(BENCHMARKS)}"
        )
    return f"{stem}.yaml"


def _overlays(options: Sequence[str]) -> list[str]:
    """The configurations among the arguments of ``mmvae fit``."""
    named = [name for option, name in pairwise(options) if option in CONFIG_OPTIONS]
    parts = [option.partition("=") for option in options]
    return named + [name for option, equals, name in parts if equals and option in CONFIG_OPTIONS]


def _models(models: Sequence[str]) -> list[str]:
    if list(models) == ["all"]:
        return list(PAPER_MODELS)
    for model in models:
        if model not in PAPER_MODELS and "." not in model:
            raise ValueError(
                f"got model {model!r}, expected all, a class by its dotted path or one of "
                f"{', '.join(PAPER_MODELS)}"
            )
    names = [_name(model) for model in models]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"got model {twice[0]!r} twice, expected different ones")
    return list(models)


def _name(model: str) -> str:
    return model.rpartition(".")[2]
