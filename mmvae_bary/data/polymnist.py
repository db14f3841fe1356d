"""PolyMNIST: one digit before several backgrounds (Sutter, Daunhawer and Vogt, ICLR 2021)."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from mmvae_bary.checks import check_at_least
from mmvae_bary.data.base import StoredTuples, TupleDataset
from mmvae_bary.data.files import FileDataModule, obtain, open_archive, read_picture
from mmvae_bary.data.missing import Missing
from mmvae_bary.data.mnist import read_mnist
from mmvae_bary.distributions import derive_seed

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

ARCHIVE = "PolyMNIST.zip"
URL = "https://zenodo.org/records/4899160/files/PolyMNIST.zip"
MEMBER = re.compile(r"(train|test)/m(\d+)/(\d+)\.(\d)\.png$")
PICTURES = (".jpg", ".jpeg", ".png")
SIDE = 28
PUBLISHED = {"train": 60_000, "test": 10_000}  # tuples
VERSION = 1  # to be raised whenever a seed gives other tuples than before


class PolyMNISTDataModule(FileDataModule):
    """PolyMNIST: modalities ``m0``, ``m1``, ... (3x28x28, in [0, 1]) that share the digit.

    The tuples are the published ones, or made by their recipe: the digit of an MNIST image inverts
    a random window of the modality's background, and for each modality the images of a digit are
    in an order of their own, so that a tuple shares the digit alone. There is no validation split,
    as in the published protocol.

    Args:
        batch_size: Training tuples in a batch.
        eval_batch_size: Test tuples in a batch.
        seed: Seed of the tuples, where they are made, and of their order.
        cache: Folder for what is made or learned from the data.
        root: Folder with the raw files, wherever they lie in it; what is missing is downloaded.
        backgrounds: ``"published"`` takes the published tuples; a folder makes tuples from MNIST
            and its pictures, one modality each, in the order of their names; ``"textures"`` from
            MNIST and made-up backgrounds, which need no file.
        num_textures: Number of modalities with ``"textures"``.
        limit_train: Use so many training tuples only, drawn at random; all if None.
        limit_test: Use so many test tuples only, drawn at random; all if None.
        missing: What training is to do without; see :class:`MultimodalDataModule`.
        drop_incomplete: Train on those tuples alone that lack nothing.

    Raises:
        ValueError: If ``num_textures``, a batch size or a limit is below one.
    """

    num_classes = 10

    def __init__(
        self,
        batch_size: int = 256,
        eval_batch_size: int = 256,
        seed: int = 0,
        cache: str = "data",
        root: str = "data",
        backgrounds: str = "published",
        num_textures: int = 5,
        limit_train: int | None = None,
        limit_test: int | None = None,
        missing: Missing = 0.0,
        drop_incomplete: bool = False,
    ) -> None:
        limits = {"train": limit_train, "test": limit_test}
        super().__init__(
            batch_size, eval_batch_size, seed, cache, root, limits, missing, drop_incomplete
        )
        check_at_least(1, num_textures=num_textures)
        self.backgrounds = backgrounds
        self.num_textures = num_textures

    @property
    def kind(self) -> str:
        if self.backgrounds == "published":
            return f"polymnist-v{VERSION}-published"
        if self.backgrounds == "textures":
            source = f"textures{self.num_textures}"
        else:
            contents = b"".join(path.read_bytes() for path in _pictures(self.backgrounds))
            source = f"pictures-{hashlib.sha256(contents).hexdigest()[:8]}"
        return f"polymnist-v{VERSION}-{source}-seed{self.seed}"

    @property
    def notes(self) -> list[str]:
        if self.backgrounds != "published":
            made = f"tuples made by the recipe, not the published ones: {self.kind}"
            return [*super().notes, made]
        arrays = self.arrays()
        sizes = tuple(len(arrays[f"{split}_labels"]) for split in PUBLISHED)
        if sizes == tuple(PUBLISHED.values()):
            return super().notes
        return [*super().notes, f"only {sizes[0]} + {sizes[1]} of the published tuples"]

    def load(self) -> dict[str, TupleDataset]:
        arrays = self.arrays()
        return {split: self._split(split, arrays) for split in self.limits}

    def convert(self, scratch: Path) -> dict[str, NDArray[np.generic]]:
        if self.backgrounds == "published":
            return read_archive(self._archive())
        return self._make(scratch)

    def _archive(self) -> Path:
        try:
            return obtain(self.root, ARCHIVE, [URL])
        except FileNotFoundError as error:
            other = "or have tuples made from MNIST: set backgrounds to a folder or 'textures'"
            raise FileNotFoundError(f"{error}; {other}") from None

    def _split(self, split: str, arrays: dict[str, Tensor]) -> StoredTuples:
        label = arrays[f"{split}_labels"]
        chosen = self.limited(split, len(label))
        prefix = f"{split}_m"
        numbers = sorted(int(name[len(prefix) :]) for name in arrays if name.startswith(prefix))
        inputs = {f"m{number}": arrays[f"{prefix}{number}"][chosen] for number in numbers}
        return StoredTuples(inputs, label[chosen])

    def _make(self, scratch: Path) -> dict[str, NDArray[np.generic]]:
        from rich.progress import track

        if self.backgrounds == "textures":
            backgrounds = [texture(number) for number in range(self.num_textures)]
        else:
            backgrounds = read_backgrounds(self.backgrounds)
        mnist = read_mnist(self.root, scratch)
        arrays: dict[str, NDArray[np.generic]] = {}
        for number, split in enumerate(self.limits):
            images, labels = mnist[f"mnist_{split}"], mnist[f"mnist_{split}_labels"]
            for m, background in enumerate(track(backgrounds, f"{split} of PolyMNIST")):
                stream = np.random.default_rng(derive_seed(self.seed, number, m))
                order = shuffle_within(labels, stream)
                arrays[f"{split}_m{m}"] = put_before(images[order], background, stream)
            arrays[f"{split}_labels"] = labels
        return arrays


def put_before(
    digits: NDArray[np.uint8], background: NDArray[np.uint8], stream: np.random.Generator
) -> NDArray[np.uint8]:
    """Invert a random window of the background where the digit is.

    Args:
        digits: Bytes of shape ``(N, 28, 28)``, a digit being what is above 128.
        background: Bytes of shape ``(H, W, 3)``.
        stream: Where the windows come from.

    Returns:
        Bytes of shape ``(N, 3, 28, 28)``.
    """
    height, width, _ = background.shape
    top = stream.integers(height - SIDE, size=(len(digits), 1, 1))
    left = stream.integers(width - SIDE, size=(len(digits), 1, 1))
    place = np.arange(SIDE)
    windows = background[top + place[:, None], left + place]
    inverted = (digits > 128)[..., None]
    pictures: NDArray[np.uint8] = np.where(inverted, 255 - windows, windows)
    return np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))


def shuffle_within(
    labels: NDArray[np.generic], stream: np.random.Generator
) -> NDArray[np.generic]:
    """An order of the samples that keeps the label at every place."""
    order = np.arange(len(labels))
    for label in np.unique(labels):
        places = np.flatnonzero(labels == label)
        order[places] = stream.permutation(places)
    return order


def texture(number: int, side: int = 256) -> NDArray[np.uint8]:
    """A made-up background of shape ``(side, side, 3)``: waves whose kind the number decides."""
    stream = np.random.default_rng(number)
    place = np.linspace(0, 1, side)
    waves = np.zeros((side, side, 3))
    for _ in range(6):
        frequency = stream.normal(scale=4 + 6 * (number % 5), size=2)
        phase = 2 * np.pi * stream.random(3)
        angle = 2 * np.pi * (frequency[0] * place[:, None] + frequency[1] * place)
        waves += np.sin(angle[..., None] + phase)
    low, high = waves.min((0, 1)), waves.max((0, 1))
    scaled: NDArray[np.uint8] = ((waves - low) / (high - low) * 255).round().astype(np.uint8)
    return scaled


def read_backgrounds(folder: str) -> list[NDArray[np.uint8]]:
    """The pictures of a folder, in the order of their names, as ``(H, W, 3)``.

    Raises:
        FileNotFoundError: If there is no picture.
        ValueError: If one cannot be read or is smaller than a digit.
    """
    backgrounds = []
    for path in _pictures(folder):
        picture = read_picture(path, str(path))
        if min(picture.shape[:2]) <= SIDE:
            raise ValueError(f"{path}: got {picture.shape[:2]} pixels, expected over {SIDE} each")
        backgrounds.append(picture)
    return backgrounds


def _pictures(folder: str) -> list[Path]:
    paths = sorted(path for path in Path(folder).glob("*") if path.suffix.lower() in PICTURES)
    if not paths:
        raise FileNotFoundError(
            f"backgrounds: no picture in {folder!r}, expected a folder with some of {PICTURES}, "
            "'published' or 'textures'"
        )
    return paths


def read_archive(path: Path) -> dict[str, NDArray[np.generic]]:
    """The published tuples, matched by index and digit; nothing is unpacked to the disk.

    Raises:
        ValueError: If the archive is damaged or a modality lacks a tuple.
    """
    from rich.progress import track

    arrays: dict[str, NDArray[np.generic]] = {}
    with open_archive(path) as archive:
        members: dict[tuple[str, str], dict[tuple[int, int], str]] = {}
        for name in archive.namelist():
            if match := MEMBER.search(name):
                split, m, index, digit = match.groups()
                members.setdefault((split, m), {})[int(index), int(digit)] = name
        _check_tuples(path, members)
        for (split, m), names in members.items():
            pictures = []
            for key in track(sorted(names), f"{split} m{m} of {path.name}"):
                with archive.open(names[key]) as file:
                    pictures.append(_read_digit(file, f"{path}: {names[key]}"))
            arrays[f"{split}_m{m}"] = np.stack(pictures).transpose(0, 3, 1, 2).copy()
            arrays[f"{split}_labels"] = np.array([digit for _, digit in sorted(names)])
    return arrays


def _read_digit(file: IO[bytes], name: str) -> NDArray[np.uint8]:
    picture = read_picture(file, name)
    if picture.shape[:2] != (SIDE, SIDE):
        height, width = picture.shape[:2]
        raise ValueError(f"{name}: got {width}x{height} pixels, expected {SIDE}x{SIDE}")
    return picture


def _check_tuples(path: Path, members: dict[tuple[str, str], dict[tuple[int, int], str]]) -> None:
    found = {split: sorted(m for part, m in members if part == split) for split in PUBLISHED}
    if not all(found.values()):
        raise ValueError(f"{path}: got no train and test pictures, expected SPLIT/mM/I.DIGIT.png")
    if found["train"] != found["test"]:
        raise ValueError(
            f"{path}: got the modalities {found['train']} in train and {found['test']} in test, "
            "expected the same"
        )
    for split in PUBLISHED:
        keys = {m: set(names) for (part, m), names in members.items() if part == split}
        everything = set.union(*keys.values())
        for m, present in keys.items():
            if absent := sorted(everything - present):
                raise ValueError(
                    f"{path}: {split} m{m} lacks the tuple of index {absent[0][0]} and digit "
                    f"{absent[0][1]}, expected all {len(everything)} in every modality"
                )
