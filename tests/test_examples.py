"""The examples run, shortened."""

from __future__ import annotations

from pathlib import Path

from examples import barycenters, digits


def test_digits() -> None:
    digits.main(max_epochs=1)
    assert Path("text_to_image.png").stat().st_size > 10_000


def test_barycenters() -> None:
    barycenters.main()
    for name in ("barycenters_1d.png", "barycenters_2d.png"):
        assert Path(name).stat().st_size > 10_000
