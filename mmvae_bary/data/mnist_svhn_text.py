"""MNIST-SVHN-Text: digits as a drawing, a house number and a word."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from mmvae_bary.batch import Batch
from mmvae_bary.checks import check_at_least
from mmvae_bary.data.base import TupleDataset
from mmvae_bary.data.files import FileDataModule, find, obtain, short_digest
from mmvae_bary.data.missing import Missing
from mmvae_bary.data.mnist import read_mnist
from mmvae_bary.data.text import ALPHABET, DIGIT_WORDS, encode_texts, shift_right
from mmvae_bary.distributions import derive_seed

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLANK = ALPHABET.index(" ")
TEXT_LENGTH = 8
REPEATS = 20  # of each picture, in the published tuples
VERSION = 3  # to be raised whenever a seed gives other tuples than before


@dataclass(frozen=True, eq=False)
class PairedDigits:
    """Tuples of a drawing, a house number and a word: pictures stored once, tuples as indices.

    Args:
        mnist: Bytes of shape ``(N1, 28, 28)``.
        svhn: Bytes of shape ``(N2, 3, 32, 32)``.
        pairs: Indices into the two, shape ``(N, 2)``.
        label: Digits of shape ``(N,)``.
        starts: Where each word starts, shape ``(N,)``; None draws it anew at each access.
        words: Symbols of each digit's word, shape ``(10, 8)``.
    """

    mnist: Tensor
    svhn: Tensor
    pairs: Tensor
    label: Tensor
    starts: Tensor | None
    words: Tensor

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, index: Tensor) -> Batch:
        first, second = self.pairs[index].long().unbind(-1)
        label = self.label[index]
        words = self.words[label]
        starts = _draw_starts(words) if self.starts is None else self.starts[index]
        text = shift_right(words, starts).long()
        inputs = {
            "mnist": self.mnist.index_select(0, first).unsqueeze(1).float() / 255,
            "svhn": self.svhn.index_select(0, second).float() / 255,
            "text": one_hot(text, len(ALPHABET)).float(),
        }
        return Batch(inputs, label=label)

    def to(self, device: torch.device) -> PairedDigits:
        """The same tuples on another device."""
        return PairedDigits(
            self.mnist.to(device),
            self.svhn.to(device),
            self.pairs.to(device),
            self.label.to(device),
            None if self.starts is None else self.starts.to(device),
            self.words.to(device),
        )


class MNISTSVHNTextDataModule(FileDataModule):
    """MNIST-SVHN-Text, many-to-many: a picture of a digit meets ``repeats`` of the other kind.

    Three modalities share the digit, which is the label: ``mnist`` (1x28x28) and ``svhn``
    (3x32x32) in [0, 1], and ``text`` (8x71), the digit's English word at a random start, drawn
    anew in each epoch of training and fixed by the seed in the test. There is no validation split,
    as in the published protocol.

    Args:
        batch_size: Training tuples in a batch.
        eval_batch_size: Test tuples in a batch.
        seed: Seed of the tuples and of their order.
        cache: Folder for what is made or learned from the data.
        root: Folder with the raw files, wherever they lie in it; what is missing is downloaded.
        repeats: How often each picture is paired.
        verify: Insist on the official SVHN files. If false, one truncated ``*32x32*.mat`` will
            do, of which the first four fifths are for training and the rest for the test, for
            neighbouring digits may come from one house. Its digits are repeated then, so that all
            of MNIST is paired, as nearly all of it is with the whole of SVHN.
        limit_train: Use so many training tuples only, drawn at random; all if None.
        limit_test: Use so many test tuples only, drawn at random; all if None.
        missing: What training is to do without; see :class:`MultimodalDataModule`.
        drop_incomplete: Train on those tuples alone that lack nothing.

    Raises:
        ValueError: If ``repeats``, a batch size or a limit is below one.

    References:
        Sutter, Daunhawer and Vogt, NeurIPS 2020 and ICLR 2021.
    """

    num_classes = len(DIGIT_WORDS)
    alphabets: ClassVar[Mapping[str, str]] = {"text": ALPHABET}

    def __init__(
        self,
        batch_size: int = 256,
        eval_batch_size: int = 500,
        seed: int = 0,
        cache: str = "data",
        root: str = "data",
        repeats: int = REPEATS,
        verify: bool = True,
        limit_train: int | None = None,
        limit_test: int | None = None,
        missing: Missing = 0.0,
        drop_incomplete: bool = False,
    ) -> None:
        limits = {"train": limit_train, "test": limit_test}
        super().__init__(
            batch_size, eval_batch_size, seed, cache, root, limits, missing, drop_incomplete
        )
        check_at_least(1, repeats=repeats)
        self.repeats = repeats
        self.verify = verify

    @property
    def kind(self) -> str:
        if self.verify:
            return f"mnist_svhn-v{VERSION}-official"
        return f"mnist_svhn-v{VERSION}-{short_digest(_find_truncated_svhn(self.root))}"

    def fingerprint(self, split: str) -> str:
        return f"{super().fingerprint(split)}-x{self.repeats}"

    @property
    def notes(self) -> list[str]:
        notes = super().notes
        if self.repeats != REPEATS:
            notes.append(f"pictures paired {self.repeats} times, not {REPEATS}")
        if not self.verify:
            arrays = self.arrays()
            sizes = [len(arrays[f"svhn_{split}"]) for split in ("train", "test")]
            notes.append(
                f"SVHN truncated: {sizes[0]} training and {sizes[1]} test digits, split by index, "
                "and repeated so that all of MNIST is paired"
            )
        return notes

    def load(self) -> dict[str, TupleDataset]:
        arrays = self.arrays()
        return {
            split: self._pair(split, number, arrays) for number, split in enumerate(self.limits)
        }

    def convert(self, scratch: Path) -> dict[str, NDArray[np.generic]]:
        arrays = read_mnist(self.root, scratch)
        svhn = _read_svhn(self.root) if self.verify else _read_truncated_svhn(self.root)
        return {**arrays, **svhn}

    def _pair(self, split: str, number: int, arrays: Mapping[str, Tensor]) -> PairedDigits:
        generator = torch.Generator().manual_seed(derive_seed(self.seed, number))
        labels = arrays[f"mnist_{split}_labels"], arrays[f"svhn_{split}_labels"]
        pairs, label = pair_by_label(
            *labels, self.repeats, generator, repeat_fewer=not self.verify
        )
        words = encode_texts(DIGIT_WORDS, TEXT_LENGTH, ALPHABET)
        starts = _draw_starts(words[label], generator)
        chosen = self.limited(split, len(label))
        return PairedDigits(
            arrays[f"mnist_{split}"],
            arrays[f"svhn_{split}"],
            pairs[chosen],
            label[chosen],
            None if split == "train" else starts[chosen],
            words,
        )


def pair_by_label(
    first: Tensor,
    second: Tensor,
    repeats: int,
    generator: torch.Generator,
    *,
    repeat_fewer: bool = False,
    most: int = 10_000,
) -> tuple[Tensor, Tensor]:
    """Pair samples of the same label, many to many.

    Of each label the first n samples of either side are kept, with n the smaller number, and
    paired ``repeats`` times in two random orders.

    Args:
        first: Labels of shape ``(N1,)``.
        second: Labels of shape ``(N2,)``.
        repeats: How often each sample is paired.
        generator: Where the orders come from.
        repeat_fewer: Keep the larger number instead, and repeat the samples of the side that has
            fewer.
        most: The largest n.

    Returns:
        Indices of shape ``(N, 2)`` and their labels, of shape ``(N,)``, in random order, so that
        the first ones are of all labels.
    """
    choose = max if repeat_fewer else min
    pairs, labels = [], []
    for label in first.unique().tolist():
        sides = [(side == label).nonzero().squeeze(-1) for side in (first, second)]
        n = min(most, choose(map(len, sides))) if all(map(len, sides)) else 0
        for _ in range(repeats):
            orders = [side[torch.randperm(n, generator=generator) % len(side)] for side in sides]
            pairs.append(torch.stack(orders, -1).int())
            labels.append(torch.full((n,), label))
    order = torch.randperm(sum(map(len, labels)), generator=generator)  # not label by label
    return torch.cat(pairs)[order], torch.cat(labels)[order]


def _draw_starts(words: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Starts for words of shape ``(N, 8)`` that leave the last place free, as the reference code.

    Drawn on the words' device, so that training waits for no transfer.
    """
    room = (words == BLANK).sum(-1)
    return (torch.rand(len(words), generator=generator, device=words.device) * room).long()


def _read_svhn(root: str) -> dict[str, NDArray[np.generic]]:
    from rich.progress import track
    from torchvision.datasets import SVHN

    arrays: dict[str, NDArray[np.generic]] = {}
    for split in track(("train", "test"), "SVHN"):
        url, name, md5 = SVHN.split_list[split]
        pictures, labels = _read_mat(obtain(root, name, [url], md5))
        arrays[f"svhn_{split}"], arrays[f"svhn_{split}_labels"] = pictures, labels
    return arrays


def _read_truncated_svhn(root: str) -> dict[str, NDArray[np.generic]]:
    pictures, labels = _read_mat(_find_truncated_svhn(root))
    cut = len(labels) * 4 // 5
    return {
        "svhn_train": pictures[:cut],
        "svhn_train_labels": labels[:cut],
        "svhn_test": pictures[cut:],
        "svhn_test_labels": labels[cut:],
    }


def _find_truncated_svhn(root: str) -> Path:
    if found := find(root, "*32x32*.mat"):
        return found
    there = "there" if Path(root).is_dir() else "in that folder, which does not exist"
    raise FileNotFoundError(f"no *32x32*.mat under {root}, expected a part of SVHN {there}")


def _read_mat(path: Path) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    """Pictures of shape (N, 3, 32, 32) and digits of shape (N,), a zero being stored as ten."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        content = loadmat(path, variable_names=["X", "y"])
        pictures = np.ascontiguousarray(content["X"].transpose(3, 2, 0, 1))
        labels = content["y"].reshape(len(pictures)).astype(np.int64) % 10
    except (
        ValueError, TypeError, KeyError, OSError, NotImplementedError, zlib.error, MatReadError
    ) as error:  # fmt: skip
        raise ValueError(f"{path}: cannot be read as SVHN: {error}; replace it") from None
    if pictures.shape[1:] != (3, 32, 32) or pictures.dtype != np.uint8:
        raise ValueError(
            f"{path}: got pictures of {pictures.dtype} and shape {pictures.shape[1:]}, expected "
            "uint8 and (3, 32, 32); replace it"
        )
    return pictures, labels
