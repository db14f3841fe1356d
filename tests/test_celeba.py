"""CelebA: texts and crops by hand, made-up files in every shape, and the real faces."""

from __future__ import annotations

import gzip
import io
import multiprocessing
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from mmvae_bary import CelebADataModule
from mmvae_bary.data import StoredTuples
from mmvae_bary.data.celeba import ATTRIBUTES, describe, encode_attributes, shrink
from mmvae_bary.data.text import ALPHABET
from tests.conftest import digest, digest_elsewhere

HALF = (89, 109)


def values(*names: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.array([attribute in names for attribute in ATTRIBUTES], np.uint8)


def jpeg(number: int, size: tuple[int, int] = HALF) -> bytes:
    """A picture of noise that the number decides."""
    noise = np.random.default_rng(number).integers(256, size=(*size[::-1], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG")
    return buffer.getvalue()


def make(
    root: Path,
    count: int = 30,
    *,
    size: tuple[int, int] = HALF,
    parts: int = 1,
    rows: int | None = None,
    extra: dict[str, bytes] | None = None,
) -> Path:
    """Files as they are published: pictures, attributes and the official split into parts."""
    root.mkdir(exist_ok=True)
    names = [f"{number:06}.jpg" for number in range(1, count + 1)]
    with zipfile.ZipFile(root / "img_align_celeba_some.zip", "w") as archive:
        for number, name in enumerate(names):
            archive.writestr(f"img_align_celeba/{name}", jpeg(number, size))
        for name, picture in (extra or {}).items():
            archive.writestr(name, picture)
    signs = np.random.default_rng(0).choice([-1, 1], (count, 40))
    lines = [f"{n} {' '.join(map(str, row))}" for n, row in zip(names, signs, strict=True)]
    content = "\n".join([str(count), " ".join(ATTRIBUTES) + " ", *lines[:rows]]) + "\n"
    with zipfile.ZipFile(root / "list_attr_celeba.zip", "w") as archive:
        archive.writestr("list_attr_celeba.txt", content)
    split = "".join(f"{n} {i * parts // count}\n" for i, n in enumerate(names))
    (root / "list_eval_partition.txt.gz").write_bytes(gzip.compress(split.encode()))
    return root


def module(root: Path, seed: int = 0) -> CelebADataModule:
    return CelebADataModule(root=str(root), cache=str(root / "cache"), seed=seed)


def read(text: torch.Tensor) -> str:
    return "".join(ALPHABET[symbol] for symbol in text.tolist())


def attributes(data: CelebADataModule, split: str) -> Tensor:
    label = data.datasets[split].label
    assert label is not None
    return label


def test_text_lists_what_is_there_and_drops_what_does_not_fit() -> None:
    assert describe(values("Smiling", "5_o_Clock_Shadow")) == "5 o clock shadow, smiling"
    assert describe(values()) == ""
    everything = describe(values(*ATTRIBUTES))
    assert len(everything) <= 256
    assert everything.startswith("5 o clock shadow, arched eyebrows, attractive, ")
    assert not everything.endswith(", ")


def test_texts_start_anywhere_among_asterisks_and_leave_the_last_place_free() -> None:
    rows = np.stack([values("Smiling")] * 3000)
    texts = [read(text) for text in encode_attributes(rows, np.random.default_rng(0))]
    assert {text.strip("*") for text in texts} == {"smiling"}
    starts = {text.index("smiling") for text in texts}
    assert min(starts) == 0
    assert max(starts) == 256 - 1 - len("smiling") - 1
    assert all(len(text) == 256 and text.endswith("*") for text in texts)


def test_the_middle_is_cropped_and_resized_once() -> None:
    ramp = np.add.outer(np.arange(218), np.arange(178)).clip(0, 255).astype(np.uint8)
    face = np.stack([ramp] * 3, -1)
    small = shrink(face, "face")
    assert small.shape == (3, 64, 64)
    assert abs(int(small[0, 0, 0]) - (35 + 15 + 1)) <= 1  # the corner of the crop
    half = np.asarray(Image.fromarray(face).resize(HALF, Image.Resampling.BOX))
    assert np.abs(shrink(half, "face").astype(int) - small)[:, 2:-2, 2:-2].max() <= 4
    with pytest.raises(ValueError, match=r"face: got 100x100 pixels, expected 178x218 or 89x109"):
        shrink(np.zeros((100, 100, 3), np.uint8), "face")


def test_tuples_of_an_archive_split_by_index(tmp_path: Path) -> None:
    data = module(make(tmp_path))
    data.prepare_data()
    data.setup("fit")
    assert [len(data.datasets[split]) for split in ("train", "validation", "test")] == [24, 3, 3]
    assert data.notes == [
        "evaluated on the test part",
        "pictures of half size",
        "only 24 + 3 + 3 pictures, split by index",
    ]
    batch = next(iter(data.test_dataloader()))
    assert batch.inputs["image"].shape == (3, 3, 64, 64)
    assert batch.inputs["text"].shape == (3, 256, 71)
    assert batch.label is not None
    assert batch.label.shape == (3, 40)
    for text, label in zip(batch.inputs["text"].argmax(-1), batch.label, strict=True):
        assert read(text).strip("*") == describe(label.numpy())
    expected = shrink(np.asarray(Image.open(io.BytesIO(jpeg(27)))), "it")
    assert torch.equal(batch.inputs["image"][0], torch.from_numpy(expected / np.float32(255)))
    assert len(data.sample_batch(2)) == 2
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    module(tmp_path).prepare_data()
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}


def test_official_split_and_full_size_from_a_folder(tmp_path: Path) -> None:
    make(tmp_path, size=(178, 218), parts=3)
    with zipfile.ZipFile(tmp_path / "img_align_celeba_some.zip") as archive:
        archive.extractall(tmp_path / "img_align_celeba")  # a folder in a folder
    (tmp_path / "img_align_celeba_some.zip").unlink()
    data = module(tmp_path)
    data.setup("fit")
    assert [len(data.datasets[split]) for split in ("train", "validation", "test")] == [10] * 3
    as_published = "only 10 + 10 + 10 pictures, split as published"
    assert data.notes == ["evaluated on the test part", as_published]
    other = CelebADataModule(
        root=str(tmp_path), cache=str(tmp_path / "cache"), evaluate_on="validation", limit_test=4
    )
    other.setup("fit")
    assert len(other.datasets["test"]) == 4
    validation = {row.numpy().tobytes() for row in attributes(other, "validation")}
    assert {row.numpy().tobytes() for row in attributes(other, "test")} <= validation
    assert other.notes == [
        "at most 4 test tuples",
        "evaluated on the validation part",
        as_published,
    ]


BAD_FILES = {
    "a missing row": ({"rows": -1}, "list_attr_celeba.txt: no row for 000030.jpg, which "),
    "a path that climbs out": (
        {"extra": {"../000001.jpg": b""}},
        "img_align_celeba_some.zip: got the member '../000001.jpg', expected paths inside",
    ),
    "too few pictures": ({"count": 9}, "got 9 pictures, expected at least 10"),
    "another size": (
        {"size": (64, 64)},
        "000001.jpg: got 64x64 pixels, expected 178x218 or 89x109",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files_are_refused(tmp_path: Path, case: str) -> None:
    arguments, message = BAD_FILES[case]
    root = make(tmp_path, **arguments)  # type: ignore[arg-type]
    refused(root, message)


def refused(root: Path, message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        module(root).prepare_data()
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert [path for path in (root / "cache").iterdir() if path.suffix != ".lock"] == []


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    root = make(tmp_path)
    path = root / "img_align_celeba_some.zip"
    whole = path.read_bytes()
    path.write_bytes(whole[:5000] + b"\0\0\0\0" + whole[5004:])
    refused(root, "img_align_celeba_some.zip: damaged archive: Bad CRC-32 for file")
    path.write_bytes(whole[:-100])
    refused(root, "img_align_celeba_some.zip: damaged archive: File is not a zip file")
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(1, 11):
            archive.writestr(f"{number:06}.jpg", jpeg(number)[: 2000 if number == 5 else None])
    refused(root, "000005.jpg: cannot be read as a picture")
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(1, 11):
            archive.writestr(f"{number:06}.jpg", jpeg(number, (178, 218) if number > 4 else HALF))
    refused(root, "000005.jpg: got 178x218 pixels, expected 89x109")
    path.rename(root / "img_align_celeba.zip")
    refused(root, "img_align_celeba.zip: got a file of MD5")
    with pytest.raises(ValueError, match="got evaluate_on='both', expected one of"):
        CelebADataModule(evaluate_on="both")  # type: ignore[arg-type]


def test_lists_are_checked(tmp_path: Path) -> None:
    root = make(tmp_path)
    attributes = root / "list_attr_celeba.txt"
    attributes.write_text("30\nSmiling Male\n", encoding="utf-8")
    refused(root, "list_attr_celeba.txt: got the header 'Smiling Male', expected CelebA's 40")
    attributes.write_text(f"1\n{' '.join(ATTRIBUTES)}\n000001.jpg 1 -1\n", encoding="utf-8")
    refused(root, "list_attr_celeba.txt: got 2 values for 000001.jpg, expected 40, 1 or -1 each")
    attributes.unlink()
    (root / "list_eval_partition.txt").write_text("000001.jpg 7\n", encoding="utf-8")
    refused(root, "list_eval_partition.txt: got the row '000001.jpg 7', expected NAME 0|1|2")
    (root / "list_eval_partition.txt").unlink()
    path = root / "list_eval_partition.txt.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    refused(root, "list_eval_partition.txt.gz: cannot be read as list_eval_partition.txt: Compr")
    path.write_bytes(whole)
    attributes.touch()
    refused(root, "list_attr_celeba.txt: got the header '', expected CelebA's 40 attributes")


def test_other_lists_are_another_data_set(tmp_path: Path) -> None:
    """Or what was made of the labels before would be taken for what these say."""
    data = module(make(tmp_path))
    data.setup("fit")
    with zipfile.ZipFile(tmp_path / "list_attr_celeba.zip") as archive:
        content = archive.read("list_attr_celeba.txt").decode()
    head, names, *rows = content.splitlines()
    turned = [row.replace("-1", "1") for row in rows]
    text = "\n".join([head, names, *turned])
    (tmp_path / "list_attr_celeba.txt").write_text(text, encoding="utf-8")
    other = module(tmp_path)
    other.setup("fit")
    assert attributes(other, "train").all()
    assert not attributes(data, "train").all()
    assert other.fingerprint("train") != data.fingerprint("train")


def test_two_processes_get_the_same_tuples(tmp_path: Path) -> None:
    data = module(make(tmp_path), seed=3)
    data.setup("fit")
    made = f"CelebADataModule(root={str(tmp_path)!r}, cache={str(tmp_path / 'other')!r}, seed=3)"
    assert digest_elsewhere(made) == digest(data)
    other = module(tmp_path, seed=4)
    other.setup("fit")
    assert digest(other) != digest(data)


def test_preparing_survives_being_killed_at_any_moment(tmp_path: Path) -> None:
    """SIGKILL at moments spread over the whole of it; then a run that is left alone."""
    root = make(tmp_path, 1000)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mmvae_bary", "PIL.Image", "rich.progress"])
    whole = CelebADataModule(root=str(root), cache=str(tmp_path / "whole"))
    start = time.perf_counter()
    whole.prepare_data()
    seconds = time.perf_counter() - start
    kept = tmp_path / "cache" / whole.kind
    scratch = kept.with_name(f"{kept.name}.part") / "scratch"
    unfinished = 0
    for moment in np.linspace(0.0, 1.1, 8):
        process = context.Process(target=module(root).prepare_data)
        process.start()
        while not (scratch / "train.npy").exists() and process.is_alive():
            time.sleep(0.001)
        time.sleep(moment * seconds)
        process.kill()
        process.join()
        unfinished += scratch.exists()
        if kept.exists():
            break
    assert unfinished > 2
    arrays, expected = module(root).arrays(), whole.arrays()
    assert arrays.keys() == expected.keys()
    for name, array in arrays.items():
        assert torch.equal(array, expected[name]), name
    left = {path.name for path in kept.parent.iterdir()}
    assert left == {kept.name, f"{kept.name}.lock"}


def test_real_faces(tmp_path: Path, real_data: Path) -> None:
    data = CelebADataModule(root=str(real_data), cache=str(tmp_path), limit_train=100)
    data.prepare_data()
    data.setup("fit")
    assert data.notes == [
        "at most 100 train tuples",
        "evaluated on the test part",
        "pictures of half size",
        "only 8000 + 1000 + 1000 pictures, split by index",
    ]
    stored = data.datasets["test"]
    assert isinstance(stored, StoredTuples)
    assert 0.2 < stored.label.float().mean() < 0.25
    assert 90 < stored.inputs["image"].float().mean() < 140
