"""PolyMNIST: the recipe by hand, the archive as published, and mistakes in either."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmvae_bary.data.polymnist import (
    put_before,
    read_archive,
    read_backgrounds,
    shuffle_within,
    texture,
)


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


def picture(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (28, 28), (value, 0, 0)).save(buffer, "PNG")
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
        file.writestr("../escape.txt", "nothing is unpacked")
    return path


def test_published_tuples_are_matched_by_index_and_digit(tmp_path: Path) -> None:
    arrays = read_archive(archive(tmp_path / "PolyMNIST.zip"))
    assert arrays["train_m0"].shape == (3, 3, 28, 28)
    assert arrays["train_m0"][:, 0, 0, 0].tolist() == [1, 2, 10]
    assert arrays["train_m1"][:, 0, 0, 0].tolist() == [101, 102, 110]
    assert arrays["test_labels"].tolist() == [3, 3, 7]
    assert not (tmp_path.parent / "escape.txt").exists()


def test_a_damaged_or_incomplete_archive_is_named(tmp_path: Path) -> None:
    path = archive(tmp_path / "PolyMNIST.zip", leave_out="MMNIST/train/m1/2.3.png")
    with pytest.raises(ValueError, match="train m1 lacks the tuple of index 2 and digit 3"):
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
