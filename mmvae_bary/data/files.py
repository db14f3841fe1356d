"""Raw files, found or downloaded, and the arrays that are made of them once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray


def obtain(root: str, name: str, urls: Sequence[str], md5: str | None = None) -> Path:
    """A raw file: the one that lies under the root, wherever that is, or else a download.

    Args:
        root: Folder to look through, and to download into.
        name: The file's name.
        urls: Where to download it from, tried in turn.
        md5: Its checksum; None where the file checks itself, as a ZIP archive does.

    Raises:
        ValueError: If the file under the root has another checksum.
        FileNotFoundError: If it is neither there nor to be had, naming where to put it.
    """
    # torchvision takes seconds to import, which importing this package should not take
    from torchvision.datasets.utils import calculate_md5, download_url

    found = next(iter(sorted(Path(root).rglob(name))), None)
    if found is None:
        found = Path(root) / name
        if not any(_downloaded(download_url, url, found, md5) for url in urls):
            raise FileNotFoundError(
                f"{name}: not under {root} and not to be had from {' or '.join(urls)}; put it "
                f"into {root}"
            )
    elif md5 is not None and (came := calculate_md5(str(found))) != md5:
        raise ValueError(f"{found}: got a file of MD5 {came}, expected {md5}; replace it")
    return found


def _downloaded(download: Callable[..., None], url: str, path: Path, md5: str | None) -> bool:
    try:
        download(url, str(path.parent), path.name, md5)
    except (OSError, RuntimeError):
        path.unlink(missing_ok=True)
        return False
    return True


def keep_arrays(
    folder: Path, make: Callable[[Path], Mapping[str, NDArray[np.generic]]]
) -> dict[str, Tensor]:
    """Arrays made once and mapped into memory from then on.

    They are written into a folder beside, which is moved into place whole: a run that is killed
    leaves nothing that another one would trust.

    Args:
        folder: Where the arrays are kept.
        make: Makes them; it is handed a scratch folder that is removed afterwards.
    """
    if not folder.is_dir():
        beside = folder.with_name(f"{folder.name}.{os.getpid()}.part")
        scratch = beside / "scratch"
        scratch.mkdir(parents=True)
        try:
            for name, array in make(scratch).items():
                np.save(beside / f"{name}.npy", array)
            shutil.rmtree(scratch)
            if not folder.is_dir():  # another process may have been faster
                beside.replace(folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    # copy-on-write, for torch takes no array that cannot be written
    return {
        path.stem: torch.from_numpy(np.load(path, mmap_mode="c"))
        for path in sorted(folder.glob("*.npy"))
    }
