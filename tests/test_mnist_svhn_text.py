"""MNIST-SVHN-Text: pairing by hand, and the real data where it is at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

from mmvae_bary import MNISTSVHNTextDataModule
from mmvae_bary.data.mnist_svhn_text import (
    PairedDigits,
    _read_truncated_svhn,
    pair_by_label,
)
from mmvae_bary.data.text import ALPHABET, DIGIT_WORDS, encode_texts
from tests.conftest import digest, digest_elsewhere


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_pairs_share_the_label_and_each_kept_sample_comes_as_often() -> None:
    first, second = torch.tensor([3, 3, 1, 3, 1]), torch.tensor([1, 3, 3, 1, 1, 1])
    pairs, label = pair_by_label(first, second, 20, generator())
    assert torch.equal(first[pairs[:, 0].long()], label)
    assert torch.equal(second[pairs[:, 1].long()], label)
    assert pairs[:, 0].bincount().tolist() == [20, 20, 20, 0, 20]
    assert pairs[:, 1].bincount().tolist() == [20, 20, 20, 20]
    assert len(label[:20].unique()) == 2
    again, _ = pair_by_label(first, second, 20, generator())
    assert torch.equal(pairs, again)
    pairs, label = pair_by_label(first, second, 20, generator(), repeat_fewer=True)
    assert torch.equal(second[pairs[:, 1].long()], label)
    assert pairs[:, 0].bincount().tolist() == [20, 20, 40, 20, 40]
    assert pairs[:, 1].bincount().sum() == 140
    assert (pairs[:, 1].bincount() >= 20).all()


def toy(starts: torch.Tensor | None) -> PairedDigits:
    label = torch.arange(10).repeat(100)
    return PairedDigits(
        torch.zeros(1, 28, 28, dtype=torch.uint8),
        torch.zeros(1, 3, 32, 32, dtype=torch.uint8),
        torch.zeros(1000, 2, dtype=torch.int32),
        label,
        starts,
        encode_texts(DIGIT_WORDS, 8, ALPHABET),
    )


def test_text_never_runs_off_its_places_and_starts_anywhere_before() -> None:
    everything = torch.arange(1000)
    batch = toy(None)[everything]
    assert batch.label is not None
    texts = ["".join(ALPHABET[s] for s in row) for row in batch.inputs["text"].argmax(-1).tolist()]
    for text, label in zip(texts, batch.label.tolist(), strict=True):
        assert text.strip() == DIGIT_WORDS[label]
        assert text[-1] == " "
    starts = {text.index("six") for text in texts if "six" in text}
    assert starts == {0, 1, 2, 3, 4}
    again = toy(None)[everything].inputs["text"]
    assert not torch.equal(again, batch.inputs["text"])
    fixed = toy(torch.zeros(1000, dtype=torch.long))
    assert torch.equal(fixed[everything].inputs["text"], fixed[everything].inputs["text"])


def test_real_data(tmp_path: Path, real_data: Path) -> None:
    data = MNISTSVHNTextDataModule(
        root=str(real_data), cache=str(tmp_path), verify=False, limit_test=500
    )
    data.prepare_data()
    data.setup("fit")
    train, test = data.datasets["train"], data.datasets["test"]
    assert isinstance(train, PairedDigits)
    assert len(train.mnist) == 60_000
    assert len(train.svhn) == 8_000
    assert len(train) == 20 * 60_000  # MNIST has more of every digit
    assert train.pairs[:, 0].bincount().unique().tolist() == [20]
    assert train.pairs[:, 1].bincount().min() > 20
    assert len(test) == 500
    batch = next(iter(data.train_dataloader()))
    assert {name: tuple(x.shape[1:]) for name, x in batch.inputs.items()} == {
        "mnist": (1, 28, 28),
        "svhn": (3, 32, 32),
        "text": (8, 71),
    }
    assert data.val_dataloader() == []
    kept = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert [path.name for path in kept] == [data.kind]
    assert data.notes == [
        "at most 500 test tuples",
        "SVHN truncated: 8000 training and 2000 test digits, split by index, and repeated so that "
        "all of MNIST is paired",
    ]


def test_two_processes_get_the_same_tuples(tmp_path: Path, real_data: Path) -> None:
    """The pictures, labels and test texts; training texts are drawn as they are read."""
    made = (
        f"MNISTSVHNTextDataModule(root={str(real_data)!r}, cache={str(tmp_path)!r}, verify=False, "
        "repeats=1, limit_train=2000)"
    )
    torch.manual_seed(0)
    data = eval(made)
    data.setup("fit")
    assert digest_elsewhere(made) == digest(data)


def test_a_part_of_svhn_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no \*32x32\*\.mat under .*, expected a part"):
        _read_truncated_svhn(str(tmp_path))
    (tmp_path / "test_32x32.mat").write_bytes(b"not what it should be" * 100)
    with pytest.raises(ValueError, match=r"test_32x32\.mat: cannot be read as SVHN"):
        _read_truncated_svhn(str(tmp_path))
    newer = b"MATLAB 7.3 MAT-file".ljust(124, b"\0") + b"\x00\x02IM"
    (tmp_path / "test_32x32.mat").write_bytes(newer + bytes(1000))
    with pytest.raises(ValueError, match=r"cannot be read as SVHN: Please use HDF reader"):
        _read_truncated_svhn(str(tmp_path))
    small = {"X": np.zeros((28, 28, 3, 5), np.uint8), "y": np.ones((5, 1))}
    savemat(tmp_path / "test_32x32.mat", small)
    with pytest.raises(ValueError, match=r"got pictures of uint8 and shape \(3, 28, 28\), expec"):
        _read_truncated_svhn(str(tmp_path))
