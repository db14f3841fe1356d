"""One command from nothing to a report: real runs, shortened, stopped and gone on with."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mmvae_bary import cli
from mmvae_bary.plans import plan_runs
from mmvae_bary.runs import read_run
from tests.test_cli import shortened
from tests.test_report import cells, change_results, make_run

if TYPE_CHECKING:
    from collections.abc import Iterator

MODELS = ("PoEVAE", "MWBVAE")
OPTIONS = [
    "--trainer.max_steps=40",
    "--trainer.log_every_n_steps=2",
    "--data.init_args.num_train=600",
    "--data.init_args.num_validation=60",
    "--data.init_args.num_test=120",
]
ROOT = Path(__file__).parents[1]


def command(config: str, *arguments: str) -> list[str]:
    models = ["--models", *MODELS, "--seeds", "2", "--folder", "out"]
    return ["reproduce", config, *models, *arguments, *OPTIONS]


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command in a session of its own, killed in the end with all that it started."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-m", "mmvae_bary.cli", *arguments],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):  # where all have ended
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_for(path: Path, process: subprocess.Popen[str], seconds: float = 300) -> None:
    until = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until, f"no {path}"
        time.sleep(0.01)


def results(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "results.json").read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, dict[Path, int]]:
    """A folder of runs, killed in the middle of the second one and gone on with.

    With what the second call printed, and when the first call had finished its one run.
    """
    folder = tmp_path_factory.mktemp("reproduced")
    before = Path.cwd()
    os.chdir(folder)
    try:
        config = shortened("digits.yaml", 60)
        runs = Path("out/short_digits/PoEVAE")
        with started(*command(config)) as first:
            wait_for(runs / "seed_1/checkpoints/last.ckpt", first)
        times = {path: path.stat().st_mtime_ns for path in (runs / "seed_0").glob("**/*")}
        assert Path(runs / "seed_0/results.json") in times
        assert not (runs / "seed_1/results.json").exists()
        with started(*command(config, "--jobs", "2")) as second:
            said, _ = second.communicate(timeout=500)
            assert second.returncode == 0, said
        return folder, said, times
    finally:
        os.chdir(before)


@pytest.fixture
def folder(reproduced: tuple[Path, str, dict[Path, int]], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(reproduced[0])
    return Path("out/short_digits")


def test_only_what_was_missing_runs(
    folder: Path, reproduced: tuple[Path, str, dict[Path, int]]
) -> None:
    _, said, times = reproduced
    assert "PoEVAE seed 0: finished before" in said
    for name in ("PoEVAE seed 1", "MWBVAE seed 0", "MWBVAE seed 1"):
        assert f"{name}: started" in said
        assert f"{name}: done in" in said
    assert {path: path.stat().st_mtime_ns for path in times} == times
    pages = [folder / name for name in ("report.html", "report.md", "tables.tex", "tables.csv")]
    assert all(page.is_file() for page in pages)


def test_a_stopped_run_goes_on_from_its_checkpoint(folder: Path) -> None:
    run = folder / "PoEVAE/seed_1"
    assert "Restored all states from the checkpoint" in (run / "log.txt").read_text()
    assert (run / "earlier/001/config.yaml").is_file()  # nothing of the first attempt is lost
    assert results(run)["meta"]["steps"] == 40
    steps, _ = read_run(run).curves("train/")["train/loss"]
    assert steps[-1] == 39


def test_the_report_has_the_numbers_of_the_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [str(folder / model / f"seed_{seed}") for model in MODELS for seed in (0, 1)]
    cli.main(["report", *runs])
    found = cells()
    assert Path("report/tables.csv").read_text() == (folder / "tables.csv").read_text()
    for model in MODELS:
        made = [results(folder / model / f"seed_{seed}") for seed in (0, 1)]
        assert [run["meta"]["seed"] for run in made] == [0, 1]
        directions = [key for key in made[0] if re.fullmatch(r"coherence/[a-z+]+->[a-z]+", key)]
        keys = [key for key in directions if "mean" not in key]
        keys += [key for key in made[0] if key.startswith("probe/")]
        likelihoods = [key for key in made[0] if re.fullmatch(r"log_likelihood/[a-z+]+", key)]
        keys += [key for key in likelihoods if "mean" not in key]
        assert len(keys) == 9 + 3 + 8 + 7
        for key in keys:
            values = np.array([run[key] for run in made])
            assert float(found[key, model]["mean"]) == pytest.approx(values.mean(), rel=1e-6)
            deviation = float(found[key, model]["standard_deviation"])
            assert deviation == pytest.approx(values.std(ddof=1), rel=1e-5, abs=1e-7)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "mmvae reproduce short_digits.yaml --models PoEVAE MWBVAE --seeds 2" in page
    assert "below its gate of 0.9" in page  # that classifiers are unfit stops no run


def test_a_finished_benchmark_is_only_reported(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    times = {path: path.stat().st_mtime_ns for path in folder.glob("*/seed_*/results.json")}
    cli.main(command("short_digits.yaml"))
    assert capsys.readouterr().out.count("finished before") == 4
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_other_settings_need_another_folder(folder: Path) -> None:
    message = (
        r"PoEVAE/seed_0: got a run made with options '--tra.*num_test=120', expected "
        r"'.*max_time=1:0:0:0'; choose another --folder"
    )
    with pytest.raises(SystemExit, match=message):
        cli.main([*command("short_digits.yaml"), "--trainer.max_time=1:0:0:0"])
    config = Path("short_digits.yaml")
    before = config.read_text(encoding="utf-8")
    config.write_text(before + "# changed\n", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"PoEVAE/seed_0: got a run made with config '"):
        cli.main(command("short_digits.yaml"))
    config.write_text(before, encoding="utf-8")


def test_a_plan_holds_all_that_it_reads() -> None:
    """Of an overlay what it says counts, and a folder's figures are those of its model alone."""
    Path("mine.yaml").write_text("trainer: {max_steps: 5}", encoding="utf-8")
    for options in (["--config", "mine.yaml"], ["-c=mine.yaml"]):
        (before,) = plan_runs("digits", ["MWBVAE"], 1, Path("out"), options)
        Path("mine.yaml").write_text("trainer: {max_steps: 6}", encoding="utf-8")
        (after,) = plan_runs("digits", ["MWBVAE"], 1, Path("out"), options)
        assert before.digest != after.digest
        Path("mine.yaml").write_text("trainer: {max_steps: 5}", encoding="utf-8")
    make_run(after.folder, "MWBVAE", 0)
    assert after.finished
    change_results(after.folder, lambda results: results["meta"].update(seed=1))
    assert not after.finished


def test_a_folder_of_something_else_is_left_alone() -> None:
    theirs = Path("out/digits/PoEVAE/seed_0/thesis.txt")
    theirs.parent.mkdir(parents=True)
    theirs.write_text("years of work", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"seed_0: got a folder without run.json, expected one"):
        cli.main(command("digits"))
    assert theirs.read_text(encoding="utf-8") == "years of work"
    assert [path.name for path in theirs.parent.iterdir()] == ["thesis.txt"]


def test_a_run_that_fails_is_told_and_stops_no_other(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of four finished runs one is half gone, and what it would go on from is broken."""
    shutil.copytree("out", "broken")
    run = Path("broken/short_digits/PoEVAE/seed_1")
    (run / "results.json").unlink()
    for checkpoint in (run / "checkpoints").iterdir():
        checkpoint.write_bytes(b"broken")
    arguments = [x if x != "out" else "broken" for x in command("short_digits.yaml")]
    with pytest.raises(SystemExit, match="1 of 4 runs failed: PoEVAE seed 1"):
        cli.main(arguments)
    printed = capsys.readouterr().out
    assert "PoEVAE seed 1: failed (exit code 1); its log ends with\n" in printed
    assert (run / "log.txt").read_text(encoding="utf-8").splitlines()[-1] in printed
    page = Path("broken/short_digits/report.html").read_text(encoding="utf-8")
    assert "PoEVAE seed 1 failed and is left out." in page


def test_a_stop_ends_what_was_started_and_a_run_in_other_hands_is_taken_over(
    folder: Path,
) -> None:
    arguments = ["reproduce", "short_digits.yaml", "--models", "WBVAE", "--seeds", "1"]
    arguments += ["--folder", "stopped", *OPTIONS, "--trainer.max_steps=100000"]
    run = Path("stopped/short_digits/WBVAE/seed_0")
    with ExitStack() as processes:
        first = processes.enter_context(started(*arguments))
        wait_for(run / "checkpoints/last.ckpt", first)
        second = processes.enter_context(started(*arguments))
        read_until("WBVAE seed 0: another process is at it", second)
        stop(first, signal.SIGTERM)
        read_until("WBVAE seed 0: started", second)
        stop(second, signal.SIGINT)
    assert (run / "earlier/001/log.txt").is_file()
    assert not (run / "results.json").exists()
    with (run / "run.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # no process is left that holds it


def read_until(words: str, process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    said = ""
    while words not in said:
        line = process.stdout.readline()
        assert line, said
        said += line


def stop(process: subprocess.Popen[str], number: signal.Signals) -> None:
    process.send_signal(number)
    said, _ = process.communicate(timeout=100)
    assert process.returncode == 130, said
    assert "mmvae: stopped; the same command goes on from here" in said


BAD_COMMANDS = {
    "unknown benchmark": (
        ["digitz"],
        "got benchmark 'digitz', which is no file here, expected one or one of celeba, digits, "
        "mnist_svhn_text, own, polymnist",
    ),
    "unknown model": (
        ["digits", "--models", "PoEVEA"],
        "got model 'PoEVEA', expected all, a class by its dotted path or one of PoEVAE, MoEVAE, "
        "MoPoEVAE, WBVAE, MWBVAE",
    ),
    "a model twice": (
        ["digits", "--models", "PoEVAE", "PoEVAE"],
        "got model 'PoEVAE' twice, expected different ones",
    ),
    "no seeds": (
        ["digits", "--seeds", "0"],
        "argument --seeds: got '0', expected a number from 1 (mmvae reproduce --help)",
    ),
    "what a run has of its own": (
        ["digits", "--seed_everything=3"],
        "got --seed_everything=3, which differs by run, expected --models and --seeds",
    ),
    "a model by its class path": (
        ["digits", "--model.class_path=MWBVAE"],
        "got --model.class_path=MWBVAE, which differs by run, expected --models and --seeds",
    ),
    "a logger more": (
        ["digits", "--trainer.logger+=WandbLogger"],
        "got --trainer.logger+=WandbLogger, which differs by run, expected --models and --seeds",
    ),
    "an overlay that is not there": (
        ["digits", "--config", "mine.yaml"],
        "--config: got 'mine.yaml', which is no file here, expected one or a packaged "
        "configuration: celeba.yaml, digits.yaml, mnist_svhn_text.yaml, own.yaml, polymnist.yaml, "
        "wandb.yaml",
    ),
    "nothing": (
        [],
        "the following arguments are required: BENCHMARK (mmvae reproduce --help)",
    ),
}


@pytest.mark.parametrize("case", BAD_COMMANDS)
def test_mistakes_get_a_line(case: str) -> None:
    arguments, message = BAD_COMMANDS[case]
    with pytest.raises(SystemExit) as stopped:
        cli.main(["reproduce", *arguments])
    assert str(stopped.value.code) == f"mmvae: error: {message} (--debug shows where)"
    assert not list(Path().iterdir())


def test_a_mistake_in_the_options_stops_before_the_runs() -> None:
    with pytest.raises(SystemExit, match=r"classifiers fit: .*; did you mean 'max_steps'\?"):
        cli.main(["reproduce", "digits", "--models", "PoEVAE", "--trainer.max_stepss=1"])
    assert not Path("runs").exists()


@pytest.mark.parametrize("name", ["reproduce", "report"])
def test_help_tells_what_is_made(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main([name, "--help"])
    assert stopped.value.code == 0
    assert "report.html" in capsys.readouterr().out
