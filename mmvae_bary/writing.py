"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A file to write beside, which takes the place of ``path`` when the block is through.

    So a reader finds the old file or the new one, whoever else writes it too and whenever a
    process is killed. Where the block raises, the new one is removed.

    Example:
        >>> from pathlib import Path
        >>> with whole(Path("note.txt")) as beside:
        ...     _ = beside.write_text("new")
        >>> Path("note.txt").read_text()
        'new'
    """
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write a text file by :func:`whole`."""
    with whole(path) as beside:
        beside.write_text(text, encoding="utf-8")
