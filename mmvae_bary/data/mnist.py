"""The files of MNIST, which two benchmarks are made of."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from mmvae_bary.data.files import obtain

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray


def read_mnist(root: str, scratch: Path) -> dict[str, NDArray[np.generic]]:
    """Images of shape (N, 28, 28) and digits of shape (N,), by ``mnist_SPLIT`` and ``..._labels``.

    Args:
        root: Folder to look through, and to download into.
        scratch: Where to unpack.
    """
    from torchvision.datasets import MNIST

    raw = scratch / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, md5 in MNIST.resources:
        shutil.copy(obtain(root, name, [mirror + name for mirror in MNIST.mirrors], md5), raw)
    arrays: dict[str, NDArray[np.generic]] = {}
    for split in ("train", "test"):
        dataset = MNIST(str(scratch), train=split == "train", download=True)  # unpacks
        arrays[f"mnist_{split}"] = dataset.data.numpy()
        arrays[f"mnist_{split}_labels"] = dataset.targets.numpy()
    return arrays
