"""Every wrong input is refused in the words of ``docs/bad_inputs.md``, and leaves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmvae_bary import cli
from tests.reliability.bad_inputs import CASES, MARKER, Mistake, row, said
from tests.reliability.conftest import Tally

PAGE = Path(__file__).parents[2] / "docs" / "bad_inputs.md"
MADE_BY_HAND = {"a run of something else", "of another run"}  # folders of the case's own


def rows() -> list[str]:
    return PAGE.read_text(encoding="utf-8").strip().splitlines()[-len(CASES) :]


@pytest.mark.parametrize("number", range(len(CASES)), ids=[f"{m.area}: {m.what}" for m in CASES])
def test_a_mistake_is_refused_in_the_words_of_the_page(number: int, tally: Tally) -> None:
    mistake = CASES[number]
    with tally("bad inputs refused"):
        text = said(mistake)
        assert text
        if mistake.foreign:
            assert rows()[number].startswith(f"| {mistake.area} | {mistake.what} |")
        else:
            assert rows()[number] == row(mistake, text)
        assert not MARKER.exists()
        assert not list(Path().rglob("*.part"))
        assert all(any(folder.iterdir()) for folder in Path().glob("runs/*/version_*"))
        assert mistake.what in MADE_BY_HAND or not list(Path().glob("runs/**/checkpoints"))


def test_there_are_many_over_the_whole_surface() -> None:
    assert len(CASES) >= 60
    assert len({mistake.what for mistake in CASES}) > 60
    assert len({mistake.area for mistake in CASES}) >= 8


def test_what_is_no_mistake_is_noticed() -> None:
    with pytest.raises(AssertionError, match="nothing was said of x: y"):
        said(Mistake("x", "y", lambda: None))


def test_debug_shows_where_it_was_found() -> None:
    with pytest.raises(FileNotFoundError, match=r"got 'digit\.yaml'"):
        cli.main(["fit", "--config=digit.yaml", "--debug"])
