"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A file to write beside, which takes the place of ``path`` when the block is through.

    So a reader finds the old file or the new one, whoever else writes it too and whenever a
    process is killed. Where the block raises, the new one is removed, and an error of the disk
    says which file it was.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     with whole(Path(folder, "note.txt")) as beside:
        ...         _ = beside.write_text("new")
        ...     Path(folder, "note.txt").read_text()
        'new'
    """
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield beside
        beside.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
    finally:
        beside.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write a text file by :func:`whole`."""
    with whole(path) as beside:
        beside.write_text(text, encoding="utf-8")


def save_whole(path: Path, content: dict[str, Any]) -> None:
    """Write what torch can save by :func:`whole`."""
    with whole(path) as beside, beside.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:  # torch's, when it closes what a full disk cut short
            raise error.__context__ or error from None
