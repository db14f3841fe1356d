"""Runs that are killed and go on, and runs that were never killed, come to the same."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from mmvae_bary import cli
from mmvae_bary.data import PolyMNISTDataModule
from tests.conftest import digest
from tests.reliability.conftest import Tally
from tests.test_cli import shortened

KILLS = 20
PREPARATION_KILLS = 5
STEPS = 300
# a process has torch and this library from the start, so that a kill meets a run at work
SERVER = get_context("forkserver")
SERVER.set_forkserver_preload(["mmvae_bary.cli", "mmvae_bary.data.polymnist"])
ARGUMENTS = [
    "--data.init_args.num_train=900",
    "--data.init_args.num_validation=100",
    "--data.init_args.num_test=100",
    "--data.init_args.batch_size=100",
    "--trainer.enable_progress_bar=false",
    "--trainer.check_val_every_n_epoch=4",
    "--checkpoint.every_n_train_steps=7",
    "--checkpoint.save_on_train_epoch_end=false",
    "--model.init_args.warmup_steps=300",
]
pytestmark = pytest.mark.filterwarnings("ignore:the classifier of", "ignore:L-BFGS")


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2])


def fit(folder: str, *options: str) -> None:
    """A run in a process of its own."""
    os.chdir(folder)
    torch.set_num_threads(1)
    log = Path("log.txt").open("a")  # noqa: SIM115
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    config = shortened("digits.yaml", 60)
    cli.main(["fit", f"--config={config}", *ARGUMENTS, f"--trainer.max_steps={STEPS}", *options])


def start(folder: Path) -> BaseProcess:
    """A run that goes on from the last checkpoint, if there is one."""
    found = sorted(folder.glob("runs/digits/*/checkpoints/*.ckpt"), key=os.path.getmtime)
    options = [f"--ckpt_path={path}" for path in found[-1:]]
    process = SERVER.Process(target=fit, args=(str(folder), *options))
    process.start()
    return process


def outcome(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, float], int]:
    """The last weights, and the figures and steps of the last run that came to its end.

    One that was killed in its test is tested again, with no training left to leave a checkpoint.
    """
    *_, path = sorted(folder.glob("runs/digits/*/results.json"), key=os.path.getmtime)
    *_, last = sorted(folder.glob("runs/digits/*/checkpoints/last.ckpt"), key=os.path.getmtime)
    figures = json.loads(path.read_text(encoding="utf-8"))
    steps = figures.pop("meta")["steps"]
    weights = torch.load(last)["state_dict"]
    return weights, figures, steps


def same(one: Path, other: Path) -> None:
    (weights, figures, steps), (weights_too, figures_too, steps_too) = map(outcome, (one, other))
    assert steps == steps_too
    assert figures == figures_too
    assert weights.keys() == weights_too.keys()
    for name, weight in weights.items():
        assert torch.equal(weight, weights_too[name]), name


def test_a_run_killed_again_and_again_ends_as_one_that_was_not(
    tmp_path: Path, tally: Tally
) -> None:
    """In training, validation, checkpointing, training of classifiers, or the test."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    began = time.monotonic()
    process = start(whole)
    process.join()
    assert process.exitcode == 0, (whole / "log.txt").read_text(encoding="utf-8")
    seconds = time.monotonic() - began
    moments = random.Random(0)
    for _ in range(KILLS):
        with tally("kills survived"):
            process = start(killed)
            process.join(moments.uniform(0.02, 0.17) * seconds)
            process.kill()
            process.join()
            assert process.exitcode in {0, -signal.SIGKILL}, log(killed)
            if process.exitcode == 0:
                break
    else:
        process = start(killed)
        process.join()
    assert process.exitcode == 0, log(killed)
    same(whole, killed)


def log(folder: Path) -> str:
    return (folder / "log.txt").read_text(encoding="utf-8")[-3000:]


def test_a_run_that_is_told_to_stop_saves_its_last_step(tmp_path: Path, tally: Tally) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    for folder in (whole, stopped):
        folder.mkdir()
    with tally("SIGTERM saved"):
        process = start(whole)
        process.join()
        process = start(stopped)
        wait_for(lambda: any(stopped.glob("runs/digits/*/checkpoints/*.ckpt")))
        process.terminate()
        process.join()
        assert process.exitcode == 128 + signal.SIGTERM, log(stopped)
        assert "told to stop; --ckpt_path goes on" in log(stopped)
        (last,) = stopped.glob("runs/digits/*/checkpoints/last.ckpt")
        assert 7 <= torch.load(last)["global_step"] < STEPS
        process = start(stopped)
        process.join()
        same(whole, stopped)


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited for nothing"
        time.sleep(0.02)


def prepare(root: str, cache: str) -> None:
    made(root, cache).prepare_data()


def made(root: str, cache: str) -> PolyMNISTDataModule:
    return PolyMNISTDataModule(root=root, cache=cache, backgrounds="textures", limit_train=500)


def test_data_whose_making_was_killed_are_made_anew(
    tmp_path: Path, real_data: Path, tally: Tally
) -> None:
    began = time.monotonic()
    first = SERVER.Process(target=prepare, args=(str(real_data), str(tmp_path / "whole")))
    first.start()
    first.join()
    seconds, moments = time.monotonic() - began, random.Random(0)
    for _ in range(PREPARATION_KILLS):
        with tally("kills of data's making survived"):
            process = SERVER.Process(target=prepare, args=(str(real_data), str(tmp_path / "cut")))
            process.start()
            process.join(moments.uniform(0.1, 0.8) * seconds)
            process.kill()
            process.join()
    modules = [made(str(real_data), str(tmp_path / name)) for name in ("whole", "cut")]
    for module in modules:
        module.prepare_data()
        module.setup("fit")
    assert digest(modules[0]) == digest(modules[1])


def test_an_out_of_date_part_is_no_checkpoint(tmp_path: Path) -> None:
    """What a kill leaves of a file that was being written is never read."""
    part = tmp_path / "runs" / "digits" / "version_0" / "checkpoints" / "last.ckpt.7.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"half")
    done = subprocess.run(
        [sys.executable, "-m", "mmvae_bary.cli", "test", "--config=digits.yaml",
         f"--ckpt_path={part}"],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "expected one of tensors and plain values" in done.stderr
