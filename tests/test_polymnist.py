"""PolyMNIST: the recipe by hand, the archive as published, and mistakes in either."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmvae_bary import PolyMNISTDataModule
from mmvae_bary.data import StoredTuples
from mmvae_bary.data.mnist import read_mnist
from mmvae_bary.data.polymnist import (
    put_before,
    read_archive,
    read_backgrounds,
    shuffle_within,
    texture,
)
from mmvae_bary.distributions import derive_seed
from tests.conftest import digest, digest_elsewhere


def test_digit_inverts_a_window_of_the_background() -> None:
    stream = np.random.default_rng(0)
    digits = (np.random.default_rng(1).random((50, 28, 28)) > 0.8) * np.uint8(255)
    background = texture(0, side=40)
    pictures = put_before(digits, background, stream).transpose(0, 2, 3, 1)
    windows = np.where(digits[..., None] > 128, 255 - pictures, pictures)
    places = [(top, left) for top in range(12) for left in range(12)]
    crops = {background[t : t + 28, left : left + 28].tobytes() for t, left in places}
    found = {window.tobytes() for window in windows.astype(np.uint8)}
    assert found <= crops
    assert len(found) > 10


def test_each_image_is_used_once_and_the_label_stays() -> None:
    labels = np.array([0, 1, 0, 1, 1, 0, 2])
    order = shuffle_within(labels, np.random.default_rng(0))
    assert sorted(order) == list(range(7))
    assert (labels[order] == labels).all()
    assert (order != np.arange(7)).any()


def test_textures_differ() -> None:
    textures = [texture(number) for number in range(7)]
    assert all(np.array_equal(texture(number), textures[number]) for number in range(7))
    assert len({made.tobytes() for made in textures}) == 7


def picture(value: int, side: int = 28) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), (value, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def archive(path: Path, *, leave_out: str = "") -> Path:
    """Tuples whose value tells modality and index, in no order."""
    with zipfile.ZipFile(path, "w") as file:
        for split in ("test", "train"):
            for m in (1, 0):
                for index, digit in ((10, 7), (2, 3), (1, 3)):
                    name = f"MMNIST/{split}/m{m}/{index}.{digit}.png"
                    if name != leave_out:
                        file.writestr(name, picture(100 * m + index))
    return path


def test_published_tuples_are_matched_by_index_and_digit(tmp_path: Path) -> None:
    arrays = read_archive(archive(tmp_path / "PolyMNIST.zip"))
    assert arrays["train_m0"].shape == (3, 3, 28, 28)
    assert arrays["train_m0"][:, 0, 0, 0].tolist() == [1, 2, 10]
    assert arrays["train_m1"][:, 0, 0, 0].tolist() == [101, 102, 110]
    assert arrays["test_labels"].tolist() == [3, 3, 7]


def test_published_tuples_of_a_data_module(tmp_path: Path) -> None:
    path = archive(tmp_path / "PolyMNIST.zip")
    data = PolyMNISTDataModule(root=str(tmp_path), cache=str(tmp_path / "cache"), limit_test=2)
    data.prepare_data()
    path.unlink()  # what is converted once is not asked for again
    data.setup("fit")
    assert data.modalities == ("m0", "m1")
    assert [len(data.datasets[split]) for split in ("train", "test")] == [3, 2]
    assert data.notes == ["at most 2 test tuples", "only 3 + 3 of the published tuples"]


def test_a_damaged_or_incomplete_archive_is_named(tmp_path: Path) -> None:
    path = archive(tmp_path / "PolyMNIST.zip", leave_out="MMNIST/train/m1/2.3.png")
    with pytest.raises(ValueError, match="train m1 lacks the tuple of index 2 and digit 3"):
        read_archive(path)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("MMNIST/test/m2/1.3.png", picture(1))
    with pytest.raises(ValueError, match=r"got the modalities \['0', '1'\] in train and \['0', "):
        read_archive(path)
    with zipfile.ZipFile(archive(path), "a") as file:
        for split in ("train", "test"):
            file.writestr(f"MMNIST/{split}/m0/1.9.png", picture(1, side=32))
            file.writestr(f"MMNIST/{split}/m1/1.9.png", picture(1))
    with pytest.raises(ValueError, match=r"m0/1\.9\.png: got 32x32 pixels, expected 28x28"):
        read_archive(path)
    path.write_bytes(archive(path).read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"PolyMNIST\.zip: damaged archive"):
        read_archive(path)


def test_bad_backgrounds_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="backgrounds: no picture in"):
        read_backgrounds(str(tmp_path))
    (tmp_path / "a.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match=r"a\.png: cannot be read as a picture"):
        read_backgrounds(str(tmp_path))
    Image.new("RGB", (20, 100)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"got \(100, 20\) pixels, expected over 28 each"):
        read_backgrounds(str(tmp_path))


def test_real_recipe(tmp_path: Path, real_data: Path) -> None:
    """Each MNIST image once per modality, and only the digit shared; alike in two processes."""
    folder = str(real_data / "polymnist_backgrounds")
    made = (
        f"PolyMNISTDataModule(root={str(real_data)!r}, cache={str(tmp_path)!r}, "
        f"backgrounds={folder!r})"
    )
    data = eval(made)
    data.setup("fit")
    stored = data.datasets["train"]
    assert isinstance(stored, StoredTuples)
    assert list(stored.inputs) == ["m0", "m1", "m2", "m3", "m4"]
    assert {len(data.datasets[split]) for split in ("train", "test")} == {60_000, 10_000}
    assert data.notes
    images = read_mnist(str(real_data), tmp_path / "scratch")
    for m in range(5):
        stream = np.random.default_rng(derive_seed(0, 0, m))
        order = shuffle_within(images["mnist_train_labels"], stream)
        assert sorted(order) == list(range(60_000))
        assert (images["mnist_train_labels"][order] == stored.label.numpy()).all()
        again = put_before(images["mnist_train"][order], read_backgrounds(folder)[m], stream)
        assert np.array_equal(again[:500], stored.inputs[f"m{m}"][:500].numpy())
    limited = made.replace(")", ", limit_train=500, limit_test=300)")
    small = eval(limited)
    small.setup("fit")
    assert len(small.datasets["train"]) == 500
    other = limited.replace(str(tmp_path), str(tmp_path / "other"))
    assert digest_elsewhere(other) == digest(small)


def test_limits_are_checked() -> None:
    with pytest.raises(ValueError, match="got limit_test=0, expected at least 1"):
        PolyMNISTDataModule(limit_test=0)
    with pytest.raises(ValueError, match="got num_textures=0, expected at least 1"):
        PolyMNISTDataModule(num_textures=0)
