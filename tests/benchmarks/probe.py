"""The linear probe of all subsets at once against a loop of scikit-learn fits.

Run ``python -m tests.benchmarks.probe``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from mmvae_bary.metrics import logistic_regression

CLASSES, ROWS, TEST_ROWS = 10, 500, 2000


def representations(subsets: int, width: int) -> tuple[Tensor, Tensor]:
    """Classes around centres, further apart in later subsets, and noise: ``(K, N, D)``."""
    label = torch.randint(CLASSES, (ROWS + TEST_ROWS,))
    apart = torch.linspace(0.05, 0.3, subsets).reshape(-1, 1, 1)
    noise = torch.randn(subsets, ROWS + TEST_ROWS, width)
    return apart * torch.randn(CLASSES, width)[label] + noise, label


def seconds(run: Callable[[], object], repeats: int) -> float:
    """The median time of a call."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def main() -> None:
    """Print both times, their ratio and how often the two predict the same."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--subsets", type=int, default=31)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.manual_seed(0)
    features, label = representations(options.subsets, options.width)
    train, test, known = features[:, :ROWS], features[:, ROWS:], label[:ROWS]
    moved, moved_label = train.to(options.device), known.to(options.device)

    def ours() -> tuple[Tensor, Tensor]:
        return logistic_regression(moved, moved_label, CLASSES)

    def theirs() -> list[LogisticRegression]:
        return [LogisticRegression(max_iter=1000).fit(x, known) for x in train.numpy()]

    weight, bias = (x.cpu() for x in ours())
    predicted = torch.baddbmm(bias, test, weight).argmax(-1).numpy()
    found = [model.predict(x) for model, x in zip(theirs(), test.numpy(), strict=True)]
    same = float((predicted == np.stack(found)).mean())
    one, other = seconds(ours, options.repeats), seconds(theirs, options.repeats)
    print(  # noqa: T201
        f"{options.subsets} subsets of width {options.width}, {ROWS} rows: ours {one:.2f} s, "
        f"scikit-learn {other:.2f} s, {other / one:.1f} times; {same:.2%} predicted alike"
    )


if __name__ == "__main__":
    main()
