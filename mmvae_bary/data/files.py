"""Benchmarks made of raw files: found or downloaded, and converted once to arrays."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import shutil
import zipfile
import zlib
from abc import abstractmethod
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import torch
from torch import Tensor

from mmvae_bary.checks import check_at_least
from mmvae_bary.data.base import MultimodalDataModule
from mmvae_bary.data.missing import Missing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

GOOGLE_DRIVE = "https://drive.google.com/uc?id="
ATTEMPTS = 3  # at one address, each going on where the one before broke off
PATIENCE = 30  # seconds without a byte


class FileDataModule(MultimodalDataModule):
    """A benchmark made of raw files, which are converted once to arrays mapped into memory.

    A subclass says how (:meth:`convert`), in which folder of the cache the arrays are kept
    (:attr:`kind`), and what tuples they make (:meth:`MultimodalDataModule.load`).

    Args:
        batch_size: Training tuples in a batch.
        eval_batch_size: Validation and test tuples in a batch.
        seed: Seed of the tuples and of their order.
        cache: Folder for what is made or learned from the data.
        root: Folder with the raw files, wherever they lie in it; what is missing is downloaded.
        limits: Split to the number of its tuples to use, drawn at random; all if None.
        missing: What training is to do without; see :class:`MultimodalDataModule`.
        drop_incomplete: Train on those tuples alone that lack nothing.

    Raises:
        ValueError: If a limit is below one.
    """

    def __init__(
        self,
        batch_size: int,
        eval_batch_size: int,
        seed: int,
        cache: str,
        root: str,
        limits: Mapping[str, int | None],
        missing: Missing,
        drop_incomplete: bool,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, seed, cache, missing, drop_incomplete)
        check_at_least(1, **{f"limit_{split}": limit for split, limit in limits.items()})
        self.root = root
        self.limits = limits

    @property
    @abstractmethod
    def kind(self) -> str:
        """The folder in the cache that keeps the arrays, another one for other raw files.

        It names the benchmark, the version of the conversion and whatever else the arrays depend
        on, such as ``polymnist-v1-textures5-seed0``.
        """

    @property
    def notes(self) -> list[str]:
        limits = {split: limit for split, limit in self.limits.items() if limit is not None}
        return [f"at most {limit} {split} tuples" for split, limit in limits.items()]

    @abstractmethod
    def convert(self, scratch: Path) -> Mapping[str, NDArray[np.generic]]:
        """Turn raw files into arrays; whatever is put into ``scratch`` is removed afterwards."""

    def fingerprint(self, split: str) -> str:
        return f"{self.kind}-seed{self.seed}-{split}{self.limits[split] or ''}"

    def prepare_data(self) -> None:
        """Find or download the raw files and convert them once; on one process."""
        self.arrays()

    def arrays(self) -> dict[str, Tensor]:
        """The arrays, mapped into memory.

        They are written into a folder beside, which is moved into place whole: a run that is
        killed leaves nothing that another one would trust, and the next one clears it away.
        """
        from filelock import FileLock

        folder = Path(self.cache) / self.kind
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):  # let go of when its process is killed
            if not folder.is_dir():
                self._keep(folder)
        # copy-on-write, for torch takes no array that cannot be written
        return {
            path.stem: torch.from_numpy(np.load(path, mmap_mode="c"))
            for path in sorted(folder.glob("*.npy"))
        }

    def _keep(self, folder: Path) -> None:
        beside = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(beside, ignore_errors=True)  # of a process that was killed
        scratch = beside / "scratch"
        scratch.mkdir(parents=True)
        try:
            for name, array in self.convert(scratch).items():
                np.save(beside / f"{name}.npy", array)
            shutil.rmtree(scratch)
            beside.replace(folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def limited(self, split: str, size: int) -> Tensor | slice:
        """Which of a split's samples to use: all of them, or a random choice of the limit."""
        limit = self.limits[split]
        if limit is None:
            return slice(None)
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randperm(size, generator=generator)[:limit]


def find(root: str, pattern: str) -> Path | None:
    """The first file under a folder that the pattern fits, in the order of paths.

    Links are followed; what is half-written, a ``.part``, is passed by.

    Args:
        root: Folder to look through.
        pattern: A file name, in which ``*``, ``?`` and ``[...]`` stand for others.
    """
    for folder, folders, files in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.endswith(".part"))
        if names := fnmatch.filter(sorted(files), pattern):
            return Path(folder) / names[0]
    return None


def short_digest(path: Path) -> str:
    """Eight letters that tell a large file from another one: of its size and both its ends."""
    size, end = path.stat().st_size, 1 << 16
    with path.open("rb") as file:
        parts = file.read(end)
        file.seek(max(0, size - end))
        parts += file.read(end)
    return hashlib.sha256(parts + str(size).encode()).hexdigest()[:8]


def obtain(root: str, name: str, urls: Sequence[str], md5: str | None = None) -> Path:
    """A raw file: the one that lies under the root, wherever that is, or else a download.

    Args:
        root: Folder to look through, and to download into.
        name: The file's name.
        urls: Where to download it from, tried in turn.
        md5: Its checksum; None of a ZIP archive, which has checksums of its own.

    Raises:
        ValueError: If the file under the root has another checksum.
        FileNotFoundError: If it is neither there nor to be had, naming where to put it.
    """
    found = find(root, name)
    if found is None:
        return _download(Path(root) / name, urls, md5)
    if md5 is not None:
        verify(found, md5)
    return found


def verify(path: Path, md5: str) -> None:
    """Raise a ValueError if a file has another checksum."""
    # torchvision takes seconds to import, which importing this package should not take
    from torchvision.datasets.utils import calculate_md5

    if (came := calculate_md5(str(path))) != md5:
        raise ValueError(f"{path}: got a file of MD5 {came}, expected {md5}; replace it")


def _download(path: Path, urls: Sequence[str], md5: str | None) -> Path:
    """Download into a file beside, which is moved into place when it is whole."""
    from filelock import FileLock

    part = path.with_name(f"{path.name}.part")
    new = "" if path.parent.is_dir() else ", which was no folder before,"
    part.parent.mkdir(parents=True, exist_ok=True)
    reasons = []
    with FileLock(f"{path}.lock"):
        if path.exists():  # another process was faster
            return path
        for url in [url for url in urls for _ in range(ATTEMPTS)]:
            if (reason := _attempt(url, part, md5)) is None:
                return part.replace(path)
            reasons.append(f"{url} ({reason})")
    raise FileNotFoundError(
        f"{path.name}: not under {path.parent}{new} and not to be had from "
        f"{' or '.join(dict.fromkeys(reasons))}; put it into {path.parent}"
    )


def _attempt(url: str, part: Path, md5: str | None) -> str | None:
    """Why a file could not be had; None if it could."""
    try:
        if url.startswith(GOOGLE_DRIVE):
            _fetch_from_google_drive(url, part)
        else:
            _fetch(url, part)
        if md5 is not None:
            verify(part, md5)
        elif not zipfile.is_zipfile(part):
            raise ValueError("got no ZIP archive")
    except ValueError as error:
        part.unlink()
        return str(error)
    except (OSError, HTTPException) as error:
        return str(error) or type(error).__name__
    return None


def _fetch_from_google_drive(url: str, part: Path) -> None:
    try:
        from gdown import download

        download(id=url.removeprefix(GOOGLE_DRIVE), output=str(part), resume=True)
    except ImportError:
        raise OSError("needs pip install 'mmvae-bary[celeba]'") from None
    except Exception as error:  # noqa: BLE001  (of gdown, whose errors have no common base)
        raise OSError(" ".join(str(error).split())) from None


def _fetch(url: str, part: Path) -> None:
    try:
        _fetch_rest(url, part)
    except HTTPError as error:
        size = error.headers.get("Content-Range", "").rpartition("/")[2]
        if error.code != 416 or not part.exists():
            raise
        if size not in {"", "*", str(part.stat().st_size)}:  # else nothing is left to fetch
            raise ValueError(f"got {part.stat().st_size} bytes of {size}") from None


def _fetch_rest(url: str, part: Path) -> None:
    """Append what a file lacks, with a progress bar; all of it if the server knows no ranges."""
    from rich.progress import wrap_file

    start = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "mmvae_bary"} | ({"Range": f"bytes={start}-"} if start else {})
    with (
        urlopen(Request(url, headers=headers), timeout=PATIENCE) as response,
        part.open("ab") as file,
    ):
        if response.status != 206:
            file.truncate(start := 0)
        total = int(response.headers.get("Content-Length", 0))
        with wrap_file(response, total, description=part.stem) as reader:
            shutil.copyfileobj(reader, file, 1 << 20)
    if (came := part.stat().st_size - start) < total:
        raise OSError(f"broke off after {came} of {total} bytes")


@contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """A ZIP archive to read from; nothing of it is unpacked to the disk.

    Raises:
        ValueError: If it is damaged, also while it is read, or a member's path leads out of it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.startswith("/") or ".." in PurePosixPath(name.replace("\\", "/")).parts:
                    raise ValueError(f"{path}: got the member {name!r}, expected paths inside")
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{path}: damaged archive: {error}; delete or replace it") from None


def read_picture(file: Path | IO[bytes], name: str) -> NDArray[np.uint8]:
    """A picture's bytes, of shape ``(H, W, 3)``.

    Raises:
        ValueError: If it cannot be read, with the name that is given.
    """
    from PIL import Image

    try:
        with Image.open(file) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{name}: cannot be read as a picture: {error}") from None
