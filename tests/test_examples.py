"""The examples run, shortened."""

from __future__ import annotations

from pathlib import Path

from examples import digits


def test_digits() -> None:
    digits.main(max_epochs=1)
    assert Path("text_to_image.png").stat().st_size > 10_000
