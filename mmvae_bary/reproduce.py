"""From nothing to a report: train and evaluate every model and seed, each once."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, NoReturn

import torch

from mmvae_bary.callbacks import BELOW_GATE, NO_CLASSIFIERS
from mmvae_bary.plans import LOCK, Plan, plan_runs
from mmvae_bary.report import report

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

PAUSE = 0.2  # seconds between two looks at the runs
PATIENCE = 20  # seconds that a run has to stop
LAST_LINES = 8  # of the log of a run that failed


@dataclass(frozen=True)
class Attempt:
    """A run that is being made by a process of its own."""

    plan: Plan
    process: subprocess.Popen[bytes]
    began: float

    @classmethod
    def start(cls, plan: Plan, lock: IO[str], slot: int, jobs: int) -> Attempt:
        """Start the process; it holds the lock until it ends, even if this one is killed."""
        plan.prepare()
        with (plan.folder / "log.txt").open("wb") as log:
            process = subprocess.Popen(
                _command("fit", *plan.arguments()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(slot, jobs),
                pass_fds=[lock.fileno()],
            )
        lock.close()
        return cls(plan, process, time.perf_counter())

    @property
    def ended(self) -> bool:
        """Whether the process has ended."""
        return self.process.poll() is not None

    def end(self) -> None:
        """Wait for the process to end, but not forever."""
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    @property
    def log(self) -> str:
        """The end of what the run printed."""
        text = (self.plan.folder / "log.txt").read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.rstrip().splitlines()[-LAST_LINES:])


class Fleet:
    """Runs to be made, some at once.

    Args:
        plans: The runs; those that are finished are left as they are.
        jobs: Number of runs to make at once.
    """

    def __init__(self, plans: Sequence[Plan], jobs: int) -> None:
        self.waiting = list(plans)
        self.elsewhere: set[Plan] = set()
        self.running: dict[int, Attempt] = {}
        self.failed: list[Plan] = []
        self.jobs = jobs

    def make(self) -> list[Plan]:
        """Make all runs; returns those that failed."""
        try:
            while self.waiting or self.running:
                self._collect()
                for slot in set(range(self.jobs)) - set(self.running):
                    self._begin(slot)
                time.sleep(PAUSE)
        finally:
            for attempt in self.running.values():
                attempt.process.terminate()
            for attempt in self.running.values():
                attempt.end()
        return self.failed

    def _collect(self) -> None:
        for slot in [slot for slot, attempt in self.running.items() if attempt.ended]:
            attempt = self.running.pop(slot)
            if not _succeeded(attempt):
                self.failed.append(attempt.plan)

    def _begin(self, slot: int) -> None:
        """Start the first run that is neither finished nor in another process's hands."""
        for plan in list(self.waiting):
            lock = _lock(plan.folder)
            if lock is None:
                self._leave(plan)
                continue
            self.waiting.remove(plan)
            plan.check()  # again: another process may have begun it with other settings
            if not plan.finished:
                self.running[slot] = Attempt.start(plan, lock, slot, self.jobs)
                _say(f"{plan}: started, in {plan.folder}")
                return
            lock.close()
            _say(f"{plan}: finished before")

    def _leave(self, plan: Plan) -> None:
        if plan not in self.elsewhere:
            self.elsewhere.add(plan)
            _say(f"{plan}: another process is at it, whose result will be taken")


def reproduce(
    benchmark: str,
    models: Sequence[str],
    seeds: int,
    folder: Path,
    jobs: int,
    options: Sequence[str],
    command: str,
) -> Path:
    """Train and evaluate models, each with several seeds, and report on them.

    What is finished is not computed again, and what was begun goes on from its last checkpoint. A
    run that fails stops no other one.

    Args:
        benchmark: A packaged configuration without its ending, or a YAML file.
        models: Class names of the models, or ``["all"]`` for the paper's five.
        seeds: Number of seeds, from zero.
        folder: Where to keep the runs, as ``BENCHMARK/MODEL/seed_N``, and the report.
        jobs: Number of runs to make at once.
        options: Further arguments of ``mmvae fit``, for every run.
        command: What the report says that made it.

    Returns:
        The report's page.

    Raises:
        ValueError: If an argument or a folder is not what it should be, and when all is done if a
            run failed.
    """
    plans = plan_runs(benchmark, models, seeds, folder, options)
    for plan in plans:
        plan.check()
    with _stoppable():
        if not all(plan.finished for plan in plans):
            _fit_classifiers(plans[0])
        failed = Fleet(plans, jobs).make()
    finished = [plan.folder for plan in plans if plan not in failed]
    if not finished:
        raise ValueError(f"all {len(plans)} runs failed: see log.txt in their folders")
    notes = [f"{plan} failed and is left out." for plan in failed]
    root = finished[0].parent.parent
    page = report(finished, root, command, root.name, notes)
    _say(f"The report is {page}")
    if failed:
        names = ", ".join(map(str, failed))
        raise ValueError(f"{len(failed)} of {len(plans)} runs failed: {names}")
    return page


def _fit_classifiers(plan: Plan) -> None:
    """Train what judges the runs before they start, so that no two train it at once."""
    _say("Training the classifiers, unless that was done before")
    arguments = [f"--config={plan.config}", f"--model={plan.model}", *plan.options]
    done = subprocess.run(
        _command("classifiers", "fit", *arguments),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return
    said = done.stderr.strip().rpartition("\n")[2].removeprefix("mmvae: error: ")
    said = said.partition(" (--debug")[0]
    # runs are worth their time all the same, and the report says it
    if BELOW_GATE in said:
        _say(f"Classifiers: {said}")
    elif NO_CLASSIFIERS in said:
        _say("There are no classifiers to train: coherence is not judged")
    else:
        raise ValueError(f"mmvae classifiers fit: {said}")


def _lock(folder: Path) -> IO[str] | None:
    """The lock on a run's folder, or None while a process holds it.

    It belongs to whoever has the file open, and so to a run that outlives the process it was
    started by. What that one computes is waited for, and taken.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / LOCK).open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _succeeded(attempt: Attempt) -> bool:
    code, seconds = attempt.process.returncode, time.perf_counter() - attempt.began
    if code == 0 and attempt.plan.finished:
        _say(f"{attempt.plan}: done in {seconds:.0f} s")
        return True
    _say(f"{attempt.plan}: failed (exit code {code}); its log ends with\n{attempt.log}")
    return False


@contextmanager
def _stoppable() -> Iterator[None]:
    """Let a kill end this process as Ctrl-C does, and not leave runs behind."""

    def stop(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "mmvae_bary.cli", *arguments]


def _environment(slot: int, jobs: int) -> dict[str, str]:
    """Share what the machine has between runs: the cores and, if there are several, the GPUs."""
    environment = {"OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // jobs)), **os.environ}
    if jobs > 1 and (count := torch.cuda.device_count()) > 1:
        numbers = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(count))))
        environment["CUDA_VISIBLE_DEVICES"] = numbers.split(",")[slot % count]
    return environment


def _say(text: str) -> None:
    from rich.console import Console

    Console().print(text, markup=False, highlight=False, soft_wrap=True)
