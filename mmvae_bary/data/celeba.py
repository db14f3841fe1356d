"""Bimodal CelebA: a face and the list of its attributes as a text."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Mapping
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, ClassVar, Literal

import numpy as np
import torch

from mmvae_bary.checks import check_one_of
from mmvae_bary.data.base import SPLITS, StoredTuples, TupleDataset
from mmvae_bary.data.files import (
    GOOGLE_DRIVE,
    FileDataModule,
    find,
    obtain,
    open_archive,
    read_picture,
    short_digest,
    verify,
)
from mmvae_bary.data.missing import Missing
from mmvae_bary.data.text import ALPHABET, encode_texts, shift_right
from mmvae_bary.distributions import derive_seed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

ATTRIBUTES = (
    "5_o_Clock_Shadow",
    "Arched_Eyebrows",
    "Attractive",
    "Bags_Under_Eyes",
    "Bald",
    "Bangs",
    "Big_Lips",
    "Big_Nose",
    "Black_Hair",
    "Blond_Hair",
    "Blurry",
    "Brown_Hair",
    "Bushy_Eyebrows",
    "Chubby",
    "Double_Chin",
    "Eyeglasses",
    "Goatee",
    "Gray_Hair",
    "Heavy_Makeup",
    "High_Cheekbones",
    "Male",
    "Mouth_Slightly_Open",
    "Mustache",
    "Narrow_Eyes",
    "No_Beard",
    "Oval_Face",
    "Pale_Skin",
    "Pointy_Nose",
    "Receding_Hairline",
    "Rosy_Cheeks",
    "Sideburns",
    "Smiling",
    "Straight_Hair",
    "Wavy_Hair",
    "Wearing_Earrings",
    "Wearing_Hat",
    "Wearing_Lipstick",
    "Wearing_Necklace",
    "Wearing_Necktie",
    "Young",
)
PICTURES = "img_align_celeba"
ATTRIBUTE_FILE = "list_attr_celeba.txt"
PARTITION_FILE = "list_eval_partition.txt"
# name to the official download and its MD5, as torchvision has them
OFFICIAL = {
    f"{PICTURES}.zip": ("0B7EVK8r0v71pZjFTYXZWM3FlRnM", "00d2c5bc6d35e252742224ab0c1e8fcb"),
    ATTRIBUTE_FILE: ("0B7EVK8r0v71pblRyaVFSWGxPY0U", "75e246fa4810816ffd6ee81facbd244c"),
    PARTITION_FILE: ("0B7EVK8r0v71pY0NSMzRuSXJEVkk", "d32c9cbf5e040fd4025c592c306e6668"),
}
FULL_SIZE, HALF_SIZE = (218, 178), (109, 89)  # height and width
CROP = 148  # pixels of a picture of full size
NUM_PICTURES = 202_599
SIDE = 64
TEXT_LENGTH = 256
PADDING = "*"
VERSION = 1  # to be raised whenever a seed gives other tuples than before

Evaluated = Literal["test", "validation"]


class CelebADataModule(FileDataModule):
    """Bimodal CelebA: ``image`` (3x64x64, in [0, 1]) and ``text`` (256x71, one-hot).

    The label is 40 binary attributes. The image is the middle of an aligned face. The text lists
    the attributes that it has, begins at a random place, fixed by the seed, and is padded with
    asterisks on both sides.

    Pictures, of full or half size, are taken from ``img_align_celeba*.zip`` or a folder that holds
    them, and the two lists as text, zipped or gzipped. The split is the official one where
    there are pictures of each of its parts; otherwise eight, one and one tenths of what is there,
    by index. All of CelebA is 2.5 GB as bytes, which are held on the device that trains.

    Args:
        batch_size: Training tuples in a batch.
        eval_batch_size: Validation and test tuples in a batch.
        seed: Seed of the texts' starts and of the tuples' order.
        cache: Folder for what is made or learned from the data.
        root: Folder with the raw files, wherever they lie in it; what is missing is downloaded.
        evaluate_on: The part that a test reads; the reference code takes the validation part.
        limit_train: Use so many training tuples only, drawn at random; all if None.
        limit_validation: Use so many validation tuples only, drawn at random; all if None.
        limit_test: Use so many test tuples only, drawn at random; all if None.
        missing: What training is to do without; see :class:`MultimodalDataModule`.
        drop_incomplete: Train on those tuples alone that lack nothing.

    Raises:
        ValueError: If ``evaluate_on`` is unknown or a limit below one.

    References:
        Liu et al., Deep Learning Face Attributes in the Wild, ICCV 2015; as tuples: Sutter,
        Daunhawer and Vogt, NeurIPS 2020.
    """

    num_classes = len(ATTRIBUTES)
    attributes = ATTRIBUTES
    alphabets: ClassVar[Mapping[str, str]] = {"text": ALPHABET}

    def __init__(
        self,
        batch_size: int = 256,
        eval_batch_size: int = 256,
        seed: int = 0,
        cache: str = "data",
        root: str = "data",
        evaluate_on: Evaluated = "test",
        limit_train: int | None = None,
        limit_validation: int | None = None,
        limit_test: int | None = None,
        missing: Missing = 0.0,
        drop_incomplete: bool = False,
    ) -> None:
        limits = dict(zip(SPLITS, (limit_train, limit_validation, limit_test), strict=True))
        super().__init__(
            batch_size, eval_batch_size, seed, cache, root, limits, missing, drop_incomplete
        )
        check_one_of(Evaluated, evaluate_on=evaluate_on)
        self.evaluate_on = evaluate_on

    @property
    def kind(self) -> str:
        return self._kind

    @cached_property
    def _kind(self) -> str:
        parts = [self._pictures_kind, *map(self._list_kind, (ATTRIBUTE_FILE, PARTITION_FILE))]
        return "-".join([f"celeba-v{VERSION}", *filter(None, parts)])

    @property
    def _pictures_kind(self) -> str:
        source = self._source
        if source is None or source.name in OFFICIAL:
            return "official"
        if source.is_dir():
            names = sorted(f"{path.name}{path.stat().st_size}" for path in source.glob("*.jpg"))
            return hashlib.sha256("".join(names).encode()).hexdigest()[:8]
        return short_digest(source)

    def _list_kind(self, name: str) -> str:
        """Eight letters of a list that is not the official one."""
        path = _find_list(self.root, name)
        if path is None:  # to be downloaded
            return ""
        md5 = hashlib.md5(_read_list(path, name), usedforsecurity=False).hexdigest()
        return "" if md5 == OFFICIAL[name][1] else md5[:8]

    @cached_property
    def _source(self) -> Path | None:
        """The archive or folder of pictures: the official one, else another one."""
        if found := find(self.root, f"{PICTURES}.zip") or find(self.root, f"{PICTURES}*.zip"):
            return found
        first = find(self.root, "[0-9][0-9][0-9][0-9][0-9][0-9].jpg")
        return first.parent if first else None

    def fingerprint(self, split: str) -> str:
        part = f"-{self.evaluate_on}" if split == "test" else ""
        return super().fingerprint(split) + part

    @property
    def notes(self) -> list[str]:
        arrays = self.arrays()
        sizes = [len(arrays[f"{split}_labels"]) for split in SPLITS]
        notes = [*super().notes, f"evaluated on the {self.evaluate_on} part"]
        if tuple(arrays["size"].tolist()) == HALF_SIZE:
            notes.append("pictures of half size")
        if sum(sizes) < NUM_PICTURES:
            by = "as published" if arrays["official"] else "by index"
            notes.append(f"only {' + '.join(map(str, sizes))} pictures, split {by}")
        return notes

    def load(self) -> dict[str, TupleDataset]:
        arrays = self.arrays()
        parts = {"train": "train", "validation": "validation", "test": self.evaluate_on}
        tuples: dict[str, TupleDataset] = {}
        for split, part in parts.items():
            labels = arrays[f"{part}_labels"]
            stream = np.random.default_rng(derive_seed(self.seed, SPLITS.index(part)))
            text = encode_attributes(labels.numpy(), stream)
            chosen = self.limited(split, len(labels))
            inputs = {"image": arrays[f"{part}_images"][chosen], "text": text[chosen]}
            tuples[split] = StoredTuples(inputs, labels[chosen], {"text": len(ALPHABET)})
        return tuples

    def convert(self, scratch: Path) -> dict[str, NDArray[np.generic]]:
        from rich.progress import track

        values, partition = _read_attributes(self.root), _read_partition(self.root)
        source = self._source or _official(self.root, f"{PICTURES}.zip")
        arrays: dict[str, NDArray[np.generic]] = {}
        size: tuple[int, ...] | None = None
        with _open_pictures(source) as pictures:
            names = sorted(pictures)
            _check_names(source, names, {ATTRIBUTE_FILE: values, PARTITION_FILE: partition})
            official, splits = _split(names, partition)
            for split, chosen in splits.items():
                path = scratch / f"{split}.npy"
                shape = (len(chosen), 3, SIDE, SIDE)
                images = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
                for place, name in enumerate(track(chosen, f"{split} of {source.name}")):
                    with pictures[name]() as file:
                        picture = read_picture(file, f"{source}: {name}")
                    images[place] = shrink(picture, f"{source}: {name}", size)
                    size = picture.shape[:2]
                arrays[f"{split}_images"] = images
                arrays[f"{split}_labels"] = np.stack([values[name] for name in chosen])
        return {**arrays, "size": np.array(size), "official": np.array([official])}


def describe(values: NDArray[np.generic]) -> str:
    """The attributes that are there, as a text of at most 256 symbols: those that fit.

    Args:
        values: Zeros and ones of shape ``(40,)``.
    """
    names = [ATTRIBUTES[place].replace("_", " ").lower() for place in np.flatnonzero(values)]
    while len(text := ", ".join(names)) > TEXT_LENGTH:
        names.pop()
    return text


def encode_attributes(values: NDArray[np.generic], stream: np.random.Generator) -> torch.Tensor:
    """The attributes as symbols, each text at a random start that leaves the last place free.

    Args:
        values: Zeros and ones of shape ``(N, 40)``.
        stream: Where the starts come from.

    Returns:
        Bytes of shape ``(N, 256)``.
    """
    texts = [describe(row) for row in values]
    room = np.array([max(1, TEXT_LENGTH - 1 - len(text)) for text in texts])
    starts = torch.from_numpy(stream.integers(room))
    symbols = encode_texts(texts, TEXT_LENGTH, ALPHABET, PADDING)
    pieces = zip(symbols.split(10_000), starts.split(10_000), strict=True)  # for the memory's sake
    return torch.cat([shift_right(*piece) for piece in pieces])


def shrink(
    picture: NDArray[np.uint8], name: str, expected: tuple[int, ...] | None = None
) -> NDArray[np.uint8]:
    """The middle of a face at 64x64, resized once.

    Args:
        picture: Bytes of shape ``(218, 178, 3)`` or, at half size, ``(109, 89, 3)``.
        name: What an error calls it.
        expected: The height and width that it must have; None is either.

    Returns:
        Bytes of shape ``(3, 64, 64)``.

    Raises:
        ValueError: If the picture has another size.
    """
    from PIL import Image

    height, width, _ = picture.shape
    sizes = [expected] if expected else [FULL_SIZE, HALF_SIZE]
    if (height, width) not in sizes:
        said = " or ".join(f"{w}x{h}" for h, w in sizes)
        raise ValueError(f"{name}: got {width}x{height} pixels, expected {said}")
    crop = CROP * width // FULL_SIZE[1]
    top, left = (height - crop) // 2, (width - crop) // 2
    middle = Image.fromarray(picture[top : top + crop, left : left + crop])
    small = np.asarray(middle.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.uint8)
    turned: NDArray[np.uint8] = small.transpose(2, 0, 1)
    return turned


def _official(root: str, name: str) -> Path:
    file_id, md5 = OFFICIAL[name]
    return obtain(root, name, [GOOGLE_DRIVE + file_id], md5)


@contextmanager
def _open_pictures(source: Path) -> Iterator[dict[str, Callable[[], IO[bytes]]]]:
    """The pictures of an archive or a folder: name to what opens it."""
    if source.is_dir():
        yield {path.name: partial(_open, path) for path in source.glob("*.jpg")}
        return
    if source.name in OFFICIAL:
        verify(source, OFFICIAL[source.name][1])
    with open_archive(source) as archive:
        names = [name for name in archive.namelist() if name.endswith(".jpg")]
        yield {Path(name).name: partial(archive.open, name) for name in names}


def _open(path: Path) -> IO[bytes]:
    return path.open("rb")


def _check_names(
    source: Path, names: Sequence[str], lists: Mapping[str, Mapping[str, object]]
) -> None:
    if len(names) < 10:
        raise ValueError(f"{source}: got {len(names)} pictures, expected at least 10")
    for file, rows in lists.items():
        if absent := [name for name in names if name not in rows]:
            raise ValueError(f"{file}: no row for {absent[0]}, which {source} has")


def _split(
    names: Sequence[str], partition: Mapping[str, int]
) -> tuple[bool, dict[str, list[str]]]:
    """Whether the split is the official one, and the names in each part."""
    parts = {
        split: [name for name in names if partition.get(name) == number]
        for number, split in enumerate(SPLITS)
    }
    if all(parts.values()):
        return True, parts
    cuts = [0, len(names) * 8 // 10, len(names) * 9 // 10, len(names)]
    return False, {split: list(names[cuts[n] : cuts[n + 1]]) for n, split in enumerate(SPLITS)}


def _read_attributes(root: str) -> dict[str, NDArray[np.uint8]]:
    """Each picture's attributes: zeros and ones of shape (40,)."""
    path, lines = _read_lines(root, ATTRIBUTE_FILE)
    header = lines[1] if len(lines) > 1 else ""
    if tuple(header.split()) != ATTRIBUTES:
        raise ValueError(
            f"{path}: got the header {header[:80]!r}, expected CelebA's 40 attributes"
        )
    values = {}
    for name, *signs in map(str.split, lines[2:]):
        if len(signs) != len(ATTRIBUTES) or not set(signs) <= {"1", "-1"}:
            raise ValueError(
                f"{path}: got {len(signs)} values for {name}, expected 40, 1 or -1 each"
            )
        values[name] = np.array([sign == "1" for sign in signs], np.uint8)
    return values


def _read_partition(root: str) -> dict[str, int]:
    """Each picture's part of the official split, by its number."""
    path, lines = _read_lines(root, PARTITION_FILE)
    rows = [line.split() for line in lines]
    if bad := [row for row in rows if len(row) != 2 or row[1] not in {"0", "1", "2"}]:
        raise ValueError(f"{path}: got the row {' '.join(bad[0])!r}, expected NAME 0|1|2")
    return {name: int(number) for name, number in rows}


def _read_lines(root: str, name: str) -> tuple[Path, list[str]]:
    """A list's file and its lines; empty ones left out."""
    path = _find_list(root, name) or _official(root, name)
    try:
        lines = _read_list(path, name).decode().splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: cannot be read as {name}: {error}; replace it") from None
    return path, [line for line in lines if line.strip()]


def _find_list(root: str, name: str) -> Path | None:
    """A list's file, which may be zipped or gzipped."""
    return find(root, name) or find(root, f"{name}.gz") or find(root, f"{Path(name).stem}.zip")


def _read_list(path: Path, name: str) -> bytes:
    """A list's content, unpacked."""
    if path.suffix == ".zip":
        with open_archive(path) as archive:
            members = [member for member in archive.namelist() if Path(member).name == name]
            if len(members) != 1:
                raise ValueError(f"{path}: got {len(members)} files {name}, expected one")
            return archive.read(members[0])
    try:
        return (gzip.decompress if path.suffix == ".gz" else bytes)(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: cannot be read as {name}: {error}; replace it") from None
