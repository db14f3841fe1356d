"""Several processes, real ones: they come to what one comes to, and none waits for the dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest
import torch

from tests.reliability.conftest import Tally
from tests.reliability.test_kills import wait_for
from tests.test_cli import results, run_cli, shortened

ROOT = Path(__file__).parents[2]
TWO = ["--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.accelerator=cpu"]
QUIET = ["--trainer.enable_progress_bar=false", "--trainer.log_every_n_steps=1"]
pytestmark = pytest.mark.filterwarnings("ignore:the classifier of", "ignore:L-BFGS")
DATA = {
    "digits": [
        "--model=MoEVAE",
        "--data.init_args.num_train=600",
        "--data.init_args.num_test=36",
    ],
    "polymnist": [
        "--data.init_args.backgrounds=textures",
        "--data.init_args.limit_train=600",
        "--data.init_args.limit_test=36",
    ],
}


@pytest.mark.parametrize("benchmark_name", DATA)
def test_two_processes_judge_as_one(benchmark_name: str, real_data: Path, tally: Tally) -> None:
    """All figures of the same weights, on batches that two cannot share evenly."""
    root = [f"--data.init_args.root={real_data}"] if benchmark_name != "digits" else []
    config = shortened(f"{benchmark_name}.yaml", 20, num_rows=100)
    arguments = [f"--config={config}", *DATA[benchmark_name], *root, *QUIET]
    batch = "--data.init_args.batch_size=32"
    uneven = "--data.init_args.eval_batch_size=13"
    fitted = run_cli("fit", *arguments, batch, uneven, "--trainer.max_steps=2", *TWO)
    assert fitted.returncode == 0, fitted.stderr
    runs = Path("runs") / benchmark_name
    (checkpoint,) = runs.glob("*/checkpoints/last.ckpt")
    last = f"--ckpt_path={checkpoint}"
    for processes in ([], TWO):  # each of one thread, for sums depend on how many share them
        done = run_cli("test", *arguments, uneven, last, *processes)
        assert done.returncode == 0, done.stderr
    one, two = (results(runs / f"version_{number}") for number in (1, 2))
    assert [found.pop("meta")["processes"] for found in (one, two)] == [1, 2]
    assert one.keys() == two.keys()
    for key, value in one.items():
        with tally("figures of two processes alike"):
            assert two[key] == pytest.approx(value, rel=1e-6, abs=1e-6), key


def train(out: str, devices: int) -> dict[str, torch.Tensor]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.reliability.train", out, "--devices", str(devices)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    weights: dict[str, torch.Tensor] = torch.load(out)
    return weights


def test_two_processes_train_as_one_does_on_batches_twice_as_large(tally: Tally) -> None:
    one, two = train("one.pt", 1), train("two.pt", 2)
    torch.manual_seed(0)
    for name, weight in one.items():
        with tally("weights trained by two processes alike"):
            torch.testing.assert_close(two[name], weight, rtol=1e-4, atol=1e-6)


def children(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


def long_run(log: IO[str]) -> subprocess.Popen[bytes]:
    """A run of two processes that is training."""
    arguments = ["--data.init_args.num_train=600", "--data.init_args.num_test=130", *QUIET, *TWO]
    config = shortened("digits.yaml", 20)
    command = [sys.executable, "-m", "mmvae_bary.cli", "fit", f"--config={config}", *arguments]
    command += ["--trainer.max_steps=100000", "--data.init_args.eval_batch_size=50"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    wait_for(lambda: any(Path().glob("runs/digits/*/metrics.csv")))
    return process


def second_of(process: subprocess.Popen[bytes]) -> int:
    (child,) = [pid for pid in children(process.pid) if "cli" in name_of(pid)]
    return child


@pytest.mark.parametrize("who", ["first", "second"])
def test_a_dead_process_ends_the_run(who: str, tally: Tally) -> None:
    with tally("dead processes ended the run"), Path("log.txt").open("w") as log:
        process = long_run(log)
        try:
            child = second_of(process)
            os.kill(child if who == "second" else process.pid, signal.SIGKILL)
            other = process.pid if who == "second" else child
            if who == "first":
                process.wait()
            wait_for(lambda: process.poll() is not None and not alive(other), 60)
        finally:
            process.kill()
            process.wait()
        said = Path("log.txt").read_text(encoding="utf-8")
        assert process.returncode != 0
        assert "terminated" in said or "peer" in said.lower(), said[-2000:]


def test_two_processes_that_are_told_to_stop_save_their_last_step(tally: Tally) -> None:
    with tally("SIGTERM saved"), Path("log.txt").open("w") as log:
        process = long_run(log)
        try:
            child = second_of(process)
            process.terminate()
            wait_for(lambda: process.poll() is not None and not alive(child))
        finally:
            process.kill()
            process.wait()
        assert process.returncode == 128 + signal.SIGTERM
        (last,) = Path().glob("runs/digits/*/checkpoints/last.ckpt")
        assert torch.load(last)["global_step"] > 0


def name_of(pid: int) -> str:
    path = Path(f"/proc/{pid}/cmdline")
    return path.read_text(encoding="utf-8") if path.exists() else ""


def alive(pid: int) -> bool:
    path = Path(f"/proc/{pid}/stat")
    return path.exists() and path.read_text(encoding="utf-8").split()[2] != "Z"
