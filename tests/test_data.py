"""The digits: what a tuple is, that splits share no scan, and that the seed decides all."""

from __future__ import annotations

import itertools

import pytest
import torch

from mmvae_bary import DigitsDataModule
from mmvae_bary.data import BatchIndices, BatchLoader, StoredTuples
from mmvae_bary.data.digits import ALPHABET, _draw_pairs, _split_scans
from mmvae_bary.data.text import DIGIT_WORDS
from tests.conftest import digest, digest_elsewhere


def test_tuples(data: DigitsDataModule) -> None:
    batch = next(iter(data.test_dataloader()))
    assert batch.label is not None
    assert batch.inputs["image"].shape == (203, 1, 16, 16)
    assert batch.inputs["scene"].shape == (203, 3, 16, 16)
    assert batch.inputs["text"].shape == (203, 8, 27)
    for picture in (batch.inputs["image"], batch.inputs["scene"]):
        assert picture.dtype == torch.float32
        assert 0 <= picture.min() <= picture.max() <= 1
    for text, label in zip(batch.inputs["text"].argmax(-1).tolist(), batch.label, strict=True):
        assert "".join(ALPHABET[symbol] for symbol in text).strip() == DIGIT_WORDS[label]
    stored = data.datasets["train"]
    assert isinstance(stored, StoredTuples)
    starts = (stored.inputs["text"][stored.label == 1] > 0).int().argmax(-1)
    assert set(starts.tolist()) == {0, 1, 2, 3, 4, 5}
    assert batch.label.bincount().tolist() == [21, 21, 21, *[20] * 7]


def test_runs_of_several_seeds_train_in_other_orders_on_the_same_tuples(
    data: DigitsDataModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = []
    for seed in ("0", "1", "0"):
        monkeypatch.setenv("PL_GLOBAL_SEED", seed)
        orders.append(torch.cat([batch.label for batch in data.train_dataloader()]))  # type: ignore[misc]
    assert torch.equal(orders[0], orders[2])
    assert not torch.equal(orders[0], orders[1])
    again = DigitsDataModule(num_train=600, num_validation=100, num_test=203)
    again.setup("fit")
    assert digest(again) == digest(data)


def test_no_scan_is_in_two_splits() -> None:
    splits = _split_scans(seed=0)
    sizes = {split: len(labels) for split, (_, labels) in splits.items()}
    assert sum(sizes.values()) == 1797
    flat = [scan.numpy().tobytes() for scans, _ in splits.values() for scan in scans]
    distinct = [len({scan.numpy().tobytes() for scan in scans}) for scans, _ in splits.values()]
    assert len(set(flat)) == sum(distinct)
    for _, labels in splits.values():
        shares = labels.bincount() / len(labels)
        assert (shares - 0.1).abs().max() < 0.02


def test_images_and_scenes_of_a_tuple_are_different_scans_of_one_digit() -> None:
    scans = torch.arange(10).repeat(3)
    label = torch.arange(10).repeat(50)
    image, scene = _draw_pairs(scans, label, torch.Generator().manual_seed(0))
    assert (image != scene).all()
    assert torch.equal(scans[image], label)
    assert torch.equal(scans[scene], label)
    assert len(image.unique()) == len(scene.unique()) == 30


def test_the_size_of_one_split_does_not_change_another(data: DigitsDataModule) -> None:
    other = DigitsDataModule(num_train=50, num_validation=20, num_test=203)
    other.setup("fit")
    everything = torch.arange(203)
    for name, x in other.datasets["test"][everything].inputs.items():
        assert torch.equal(x, data.datasets["test"][everything].inputs[name])


def test_tuples_are_a_function_of_the_seed() -> None:
    digests = []
    for seed in (3, 4):
        data = DigitsDataModule(num_train=50, num_validation=20, num_test=30, seed=seed)
        data.setup("fit")
        digests.append(digest(data))
    made = "DigitsDataModule(num_train=50, num_validation=20, num_test=30, seed=3)"
    assert digest_elsewhere(made) == digests[0]
    assert digests[0] != digests[1]


def test_probe_rows_are_drawn_without_replacement(data: DigitsDataModule) -> None:
    rows = data.probe_dataloader(600, seed=0).batch_sampler.index
    assert sorted(rows.tolist()) == list(range(600))
    again = data.probe_dataloader(600, seed=0).batch_sampler.index
    assert torch.equal(rows, again)
    with pytest.raises(
        ValueError, match="got num_rows=601 for the linear probe, expected at most the 600"
    ):
        data.probe_dataloader(601, seed=0)


def indices(rank: int, world_size: int, *, shuffle: bool, size: int = 103) -> list[list[int]]:
    batches = BatchIndices(
        torch.arange(size), 10, shuffle=shuffle, seed=1, rank=rank, world_size=world_size
    )
    batches.set_epoch(2)
    result = [batch.tolist() for batch in batches]
    assert len(result) == len(batches)
    return result


def test_processes_share_whole_batches() -> None:
    """Evaluation sees every sample once; training sees equally many batches in each process."""
    alone = indices(0, 1, shuffle=False)
    shared = [indices(rank, 2, shuffle=False) for rank in range(2)]
    assert shared == [alone[0::2], alone[1::2]]
    assert sorted(itertools.chain.from_iterable(alone)) == list(range(103))
    alone = indices(0, 1, shuffle=True)
    assert [indices(rank, 3, shuffle=True) for rank in range(3)] == [
        alone[rank:9:3] for rank in range(3)
    ]


def test_order_is_a_function_of_seed_and_epoch() -> None:
    batches = BatchIndices(torch.arange(50), 10, shuffle=True, seed=1)
    first = torch.cat(list(batches))
    assert torch.equal(first, torch.cat(list(batches)))
    batches.set_epoch(1)
    assert not torch.equal(first, torch.cat(list(batches)))


def test_sample_batch_shows_one_tuple_of_each_class(data: DigitsDataModule) -> None:
    label = data.sample_batch(10).label
    assert label is not None
    assert label.tolist() == list(range(10))
    assert len(data.sample_batch(4)) == 4


def test_loader_reads_the_data_set_by_one_index(data: DigitsDataModule) -> None:
    loader = BatchLoader(data.datasets["test"], BatchIndices(torch.arange(7), 4))
    assert [len(batch) for batch in loader] == [4, 3]


def test_loader_resumes_where_it_stood(data: DigitsDataModule) -> None:
    loader, other = (
        BatchLoader(data.datasets["test"], BatchIndices(torch.arange(9), 3)) for _ in range(2)
    )
    labels = [batch.label.tolist() for batch in loader if batch.label is not None]
    assert loader.state_dict() == {"position": 0}
    next(iter(loader))
    other.load_state_dict(loader.state_dict())
    rest = [batch.label.tolist() for batch in other if batch.label is not None]
    assert rest == labels[1:]
    assert len(list(other)) == 3


def test_endless_batches_go_on_in_new_orders(data: DigitsDataModule) -> None:
    batches = itertools.islice(data.endless_batches("test", 100), 5)  # two in an epoch
    labels = [batch.label for batch in batches if batch.label is not None]
    assert [len(label) for label in labels] == [100] * 5
    assert not torch.equal(labels[0], labels[2])
    assert len(next(data.endless_batches("test", 1000))) == 203


def test_bad_arguments() -> None:
    with pytest.raises(RuntimeError, match="got no data yet, expected setup"):
        DigitsDataModule().sample_batch(10)
    with pytest.raises(ValueError, match="got batch_size=0, expected at least 1"):
        DigitsDataModule(batch_size=0)
    data = DigitsDataModule(num_train=50, num_validation=20, num_test=30)
    data.setup("fit")
    with pytest.raises(ValueError, match="got 50 train tuples in 0 batches of 128 for"):
        data.train_dataloader()
    with pytest.raises(ValueError, match="got -1 test tuples, expected at least 1"):
        DigitsDataModule(num_test=-1)
