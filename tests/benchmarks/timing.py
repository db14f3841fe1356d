"""How benchmarks time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import torch

Task = Callable[[], object]


def now(device: torch.device) -> float:
    """Seconds, when all that was asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def in_turn(
    tasks: Mapping[str, Task], rounds: int, device: torch.device
) -> dict[str, list[float]]:
    """Seconds of each task, all having their turn in each round; a first one does not count."""
    found: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(rounds + 1):
        for name, task in tasks.items():
            start = now(device)
            task()
            found[name].append(now(device) - start)
    return {name: seconds[1:] for name, seconds in found.items()}
