"""The embedded benchmark: scikit-learn's handwritten digits as image, scene and text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from mmvae_bary.data.base import SPLITS, MultimodalDataModule, StoredTuples, TupleDataset
from mmvae_bary.data.missing import Missing
from mmvae_bary.data.text import DIGIT_WORDS, encode_texts, shift_right
from mmvae_bary.distributions import derive_seed

ALPHABET = " abcdefghijklmnopqrstuvwxyz"
TEXT_LENGTH = 8
SIDE = 16
VERSION = 1  # to be raised whenever a seed gives other tuples than before


class DigitsDataModule(MultimodalDataModule):
    """A miniature of MNIST-SVHN-Text from scikit-learn's 1,797 real 8x8 scans; no download.

    Three modalities share the digit, which is the label:

    - ``image``, 1x16x16: a scan, enlarged, in [0, 1];
    - ``scene``, 3x16x16: another scan of the digit as a soft mask between two random colours at
      least half a unit apart, under a random gradient of colour and noise, in [0, 1];
    - ``text``, 8x27: the digit's English word at a random start among blanks, one-hot.

    The scans are split first, stratified by digit, and the tuples drawn afterwards, so that no
    scan is in two splits. Tuples are a function of the seed alone.

    Args:
        batch_size: Training tuples in a batch.
        eval_batch_size: Validation and test tuples in a batch.
        seed: Seed of the tuples and of their order.
        cache: Folder where the classifiers learned from the data are kept.
        num_train: Number of training tuples.
        num_validation: Number of validation tuples.
        num_test: Number of test tuples.
        missing: What training is to do without; see :class:`MultimodalDataModule`.
        drop_incomplete: Train on those tuples alone that lack nothing.

    Example:
        >>> data = DigitsDataModule(batch_size=4, num_train=40)
        >>> data.setup("fit")
        >>> batch = next(iter(data.train_dataloader()))
        >>> {name: tuple(x.shape) for name, x in batch.inputs.items()}
        {'image': (4, 1, 16, 16), 'scene': (4, 3, 16, 16), 'text': (4, 8, 27)}
    """

    num_classes = len(DIGIT_WORDS)
    alphabets: ClassVar[Mapping[str, str]] = {"text": ALPHABET}

    def __init__(
        self,
        batch_size: int = 128,
        eval_batch_size: int = 500,
        seed: int = 0,
        cache: str = "data",
        num_train: int = 10_000,
        num_validation: int = 1_000,
        num_test: int = 2_000,
        missing: Missing = 0.0,
        drop_incomplete: bool = False,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, seed, cache, missing, drop_incomplete)
        self.sizes = dict(zip(SPLITS, (num_train, num_validation, num_test), strict=True))
        for split, size in self.sizes.items():
            if size < 1:
                raise ValueError(f"got {size} {split} tuples, expected at least 1")

    def fingerprint(self, split: str) -> str:
        return f"digits-v{VERSION}-seed{self.seed}-{split}{self.sizes[split]}"

    def load(self) -> dict[str, TupleDataset]:
        scans = _split_scans(self.seed)
        datasets: dict[str, TupleDataset] = {}
        for number, split in enumerate(SPLITS):
            # a stream for each split, so that the size of one does not change another
            generator = torch.Generator().manual_seed(derive_seed(self.seed, number))
            datasets[split] = _draw_tuples(*scans[split], self.sizes[split], generator)
        return datasets


def _split_scans(seed: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Scans of shape (N, 1, 16, 16) in [0, 1] and their digits, disjoint and stratified."""
    # scikit-learn takes a second to import, which importing this package should not take
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, digits = load_digits(return_X_y=True)
    rest, test = train_test_split(
        np.arange(len(digits)), test_size=0.2, stratify=digits, random_state=seed
    )
    train, validation = train_test_split(
        rest, test_size=0.125, stratify=digits[rest], random_state=seed
    )
    scans = torch.from_numpy(pixels).float().reshape(-1, 1, 8, 8) / 16
    scans = interpolate(scans, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    labels = torch.from_numpy(digits)
    return {
        split: (scans[index], labels[index])
        for split, index in zip(SPLITS, (train, validation, test), strict=True)
    }


def _draw_tuples(
    scans: Tensor, labels: Tensor, size: int, generator: torch.Generator
) -> StoredTuples:
    """Pair scans of the same digit at random, the digits in equal parts."""
    label = (torch.arange(size) % len(DIGIT_WORDS))[torch.randperm(size, generator=generator)]
    image, scene = _draw_pairs(labels, label, generator)
    inputs = {
        "image": _to_bytes(scans[image]),
        "scene": _to_bytes(_paint(scans[scene], generator)),
        "text": _write(label, generator),
    }
    return StoredTuples(inputs, label, {"text": len(ALPHABET)})


def _draw_pairs(
    labels: Tensor, label: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """For every label the indices of two different random scans that show it."""
    first, second = torch.empty_like(label), torch.empty_like(label)
    for digit in range(len(DIGIT_WORDS)):
        wanted = (label == digit).nonzero().squeeze(-1)
        scans = (labels == digit).nonzero().squeeze(-1)
        place = torch.randint(len(scans), (len(wanted),), generator=generator)
        step = torch.randint(1, len(scans), (len(wanted),), generator=generator)
        first[wanted], second[wanted] = scans[place], scans[(place + step) % len(scans)]
    return first, second


def _paint(masks: Tensor, generator: torch.Generator) -> Tensor:
    """Turn masks of shape (N, 1, H, W) into coloured scenes of shape (N, 3, H, W)."""
    size = len(masks)
    foreground, background = _contrasting_colours(size, generator)
    scenes = background + (foreground - background) * masks
    place = torch.linspace(-1, 1, SIDE)
    ramps = torch.stack(torch.meshgrid(place, place, indexing="ij"))  # (2, H, W)
    slopes = 0.2 * (2 * torch.rand(size, 3, 2, generator=generator) - 1)
    gradient = torch.einsum("ncr,rhw->nchw", slopes, ramps)
    noise = 0.05 * torch.randn(scenes.shape, generator=generator)
    return (scenes + gradient + noise).clamp(0, 1)


def _contrasting_colours(size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pairs of colours of shape (N, 3, 1, 1), uniform among those at least 0.5 apart."""
    # three pairs in four are far enough apart, so this many hold enough of them
    colours = torch.rand(2 * size + 100, 2, 3, 1, 1, generator=generator)
    distance = (colours[:, 0] - colours[:, 1]).flatten(1).norm(dim=1)
    chosen = colours[distance >= 0.5][:size]
    return chosen[:, 0], chosen[:, 1]


def _write(label: Tensor, generator: torch.Generator) -> Tensor:
    """The words of the labels among blanks, as symbol indices of shape (N, 8)."""
    lengths = torch.tensor([len(word) for word in DIGIT_WORDS])[label]
    starts = (torch.rand(len(label), generator=generator) * (TEXT_LENGTH + 1 - lengths)).long()
    return shift_right(encode_texts(DIGIT_WORDS, TEXT_LENGTH, ALPHABET)[label], starts)


def _to_bytes(pictures: Tensor) -> Tensor:
    return (pictures * 255).round().to(torch.uint8)
