"""Your own data: tables of every kind, with modalities missing, and what a model makes of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import mudata
import numpy as np
import pandas as pd
import pytest
import torch
from lightning.pytorch import Trainer
from numpy.typing import NDArray
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from torch import nn

from mmvae_bary import (
    MWBVAE,
    ArrayDataModule,
    Batch,
    DigitsDataModule,
    LinearProbeCallback,
    LogLikelihoodCallback,
    Modality,
    MuDataModule,
    PredictionCallback,
    cli,
    default_modalities,
)
from mmvae_bary.data import ArrayTuples, SparseRows
from mmvae_bary.data.missing import draw_presence
from mmvae_bary.likelihoods import Bernoulli, Categorical, NegativeBinomial, Normal
from mmvae_bary.metrics import LogLikelihood
from tests.conftest import trainer

SIZE = 90


def tables(seed: int = 0) -> dict[str, NDArray[Any]]:
    """Counts and real numbers of one cause, the latter missing in every third row."""
    rng = np.random.default_rng(seed)
    cause = rng.normal(size=(SIZE, 2))
    protein = cause @ rng.normal(size=(2, 4)) + 0.1 * rng.normal(size=(SIZE, 4))
    protein[::3] = np.nan
    rna = rng.poisson(np.exp(cause @ rng.normal(size=(2, 7))))
    return {"rna": rna, "protein": protein}


def classes(seed: int = 0) -> NDArray[Any]:
    cause = np.random.default_rng(seed).normal(size=(SIZE, 2))
    return np.where(cause[:, 0] > 0, "high", "low")


def loaded(*args: Any, **kwargs: Any) -> ArrayDataModule:
    data = ArrayDataModule(*args, **kwargs)
    data.setup("fit")
    return data


def everything(data: ArrayDataModule) -> Batch:
    return data.datasets["all"][torch.arange(len(data.datasets["all"]))]


def rows_of(data: ArrayDataModule, split: str) -> list[int]:
    part = data.datasets[split]
    assert isinstance(part, ArrayTuples)
    rows: list[int] = part.rows.tolist()
    return rows


def test_rows_of_nan_are_missing_and_training_rows_alone_standardise() -> None:
    given = tables()
    data = loaded(given, label=classes())
    batch = everything(data)
    assert batch.present is not None
    assert batch.present[:, 0].all()
    assert torch.equal(batch.present[:, 1], torch.arange(SIZE) % 3 != 0)
    assert batch.inputs["rna"].tolist() == given["rna"].tolist()
    assert (batch.inputs["protein"][::3] == 0).all()
    train = data.datasets["train"][torch.arange(len(data.datasets["train"]))]
    assert train.present is not None
    known = train.inputs["protein"][train.present[:, 1]]
    torch.testing.assert_close(known.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(known.std(0), torch.ones(4))
    there = np.arange(SIZE) % 3 != 0
    original = data.original(batch.inputs)["protein"].numpy()[there]
    np.testing.assert_allclose(original, given["protein"][there], rtol=1e-5, atol=1e-5)
    assert data.classes == ["high", "low"]
    assert batch.label is not None
    assert [data.classes[code] for code in batch.label.tolist()] == classes().tolist()


def test_splits_share_the_rows_and_are_a_function_of_the_seed() -> None:
    parts = [loaded(tables(), seed=seed) for seed in (0, 0, 1)]
    rows = [{name: rows_of(data, name) for name in data.datasets} for data in parts]
    assert rows[0] == rows[1] != rows[2]
    assert sorted(rows[0]["train"] + rows[0]["validation"] + rows[0]["test"]) == rows[0]["all"]
    assert len(rows[0]["test"]) == 18
    own = ["test", "train", "validation"] * 30
    assert rows_of(loaded(tables(), split=own), "test") == list(range(0, SIZE, 3))


def frames(given: dict[str, NDArray[Any]]) -> dict[str, pd.DataFrame]:
    """Frames in different orders, protein without the rows that it lacks."""
    names = [f"p{row}" for row in range(SIZE)]
    rna = pd.DataFrame(given["rna"], index=pd.Index(names, name="patient"))
    protein = pd.DataFrame(given["protein"]).assign(patient=names)
    there = protein[~protein[0].isna()]
    return {"rna": rna, "protein": there.iloc[::-1]}


def test_rows_are_aligned_by_name() -> None:
    given = tables()
    shuffled = frames(given)["rna"].iloc[::-1, :1].clip(upper=1)
    by_name = loaded(frames(given), index="patient", label=shuffled)
    by_place = everything(loaded(given))
    batch = everything(by_name)
    assert by_name.samples is not None
    assert by_name.samples.tolist() == [f"p{row}" for row in range(SIZE)]
    assert batch.present is not None
    assert by_place.present is not None
    assert torch.equal(batch.present, by_place.present)
    for name, x in by_place.inputs.items():
        torch.testing.assert_close(batch.inputs[name], x)
    assert batch.label is not None
    assert batch.label.tolist() == given["rna"][:, 0].clip(max=1).tolist()


def write(folder: Path, given: dict[str, NDArray[Any]], kind: str) -> dict[str, str]:
    paths = {name: str(folder / f"{name}.{kind}") for name in given}
    for name, values in given.items():
        if kind == "npy":
            np.save(paths[name], values)
        elif kind == "npz":
            np.savez(paths[name], other=np.zeros(3), table=values)
            paths[name] += ":table"
        else:
            frame = pd.DataFrame(values, columns=[f"c{c}" for c in range(values.shape[1])])
            if kind == "h5ad":
                anndata.AnnData(frame.set_axis(map(str, frame.index))).write_h5ad(paths[name])
            elif kind == "tsv":
                frame.to_csv(paths[name], sep="\t", index=False)
            else:
                getattr(frame, f"to_{kind}")(paths[name], index=False)
    return paths


@pytest.mark.parametrize("kind", ["npy", "npz", "csv", "tsv", "parquet", "h5ad"])
def test_files_hold_what_arrays_hold(kind: str, tmp_path: Path) -> None:
    given = tables()
    expected, batch = everything(loaded(given)), everything(loaded(write(tmp_path, given, kind)))
    assert expected.present is not None
    assert batch.present is not None
    assert torch.equal(batch.present, expected.present)
    for name, x in expected.inputs.items():
        torch.testing.assert_close(batch.inputs[name], x)


def test_sparse_rows_stay_sparse_and_read_as_dense_ones(tmp_path: Path) -> None:
    given = tables()
    matrix = sparse.csr_matrix(given["rna"])
    sparse.save_npz(tmp_path / "rna.npz", matrix)
    for table in (matrix, sparse.coo_array(given["rna"]), str(tmp_path / "rna.npz")):
        data = loaded({"rna": table})
        stored = data.datasets["all"]
        assert isinstance(stored, ArrayTuples)
        assert isinstance(stored.inputs["rna"], SparseRows)
        assert everything(data).inputs["rna"].tolist() == given["rna"].tolist()
        assert data.kinds == {"rna": "counts"}


def test_kinds_are_seen_and_can_be_set() -> None:
    rng = np.random.default_rng(0)
    given = {
        "counts": rng.poisson(3.0, (SIZE, 3)),
        "binary": rng.integers(0, 2, (SIZE, 5)),
        "choice": np.eye(4)[rng.integers(0, 4, SIZE)],
        "real": torch.randn(SIZE, 2),
        "picture": torch.rand(SIZE, 1, 12, 12),
        "set": rng.poisson(3.0, (SIZE, 3)),
    }
    data = loaded(given, kinds={"set": "real"})
    expected = ["counts", "binary", "one-hot", "real", "real", "real"]
    assert list(data.kinds.values()) == expected
    assert set(data.scalings) == {"real", "set"}  # pictures keep their scale
    modalities = default_modalities(data)
    classes = [NegativeBinomial, Bernoulli, Categorical, Normal, Normal, Normal]
    assert [type(m.likelihood) for m in modalities.values()] == classes
    dispersion = modalities["counts"].likelihood
    assert isinstance(dispersion, NegativeBinomial)
    assert dispersion.scale.shape == (3,)
    model = MWBVAE(modalities, latent_dim=3)
    batch = next(iter(data.train_dataloader()))
    model.elbo(batch, model.encode_batch(batch)).loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name


def test_networks_of_ones_own_are_taken_as_they_are() -> None:
    encoder, decoder = nn.Sequential(nn.Flatten(), nn.Linear(4, 6)), nn.Linear(3, 4)
    modality = Modality((4,), encoder, decoder)
    model = MWBVAE({"a": modality, "b": Modality((2,))}, latent_dim=3)
    assert model.modalities["a"].encoder is encoder
    assert model.modalities["a"].decoder is decoder


def trained() -> tuple[MWBVAE, ArrayDataModule]:
    data = ArrayDataModule(tables(), batch_size=16)
    model = MWBVAE(default_modalities(data), latent_dim=3)
    trainer(max_epochs=2, limit_val_batches=0).fit(model, data)
    return model, data


def test_embeddings_are_the_posteriors_of_what_each_sample_has() -> None:
    model, data = trained()
    batch, found = everything(data), model.embed(data)
    assert found.mean.shape == found.std.shape == (SIZE, 3)
    for row in (0, 1):  # without protein, and with it
        given = ["rna"] if row == 0 else ["rna", "protein"]
        alone = model.eval().encode({k: x[[row]] for k, x in batch.inputs.items()}, given)
        torch.testing.assert_close(found.mean[[row]], alone.mean)
        torch.testing.assert_close(found.std[[row]], alone.stddev)
    protein = model.embed(data, given=["protein"])
    torch.testing.assert_close(protein.std[::3], torch.ones(30, 3))  # the prior
    assert (protein.std[1::3] < 1).any()
    arrays = model.embed({"rna": batch.inputs["rna"]})
    torch.testing.assert_close(arrays.mean[::3], found.mean[::3])
    with pytest.raises(ValueError, match="given: got unknown modality 'dna'"):
        model.embed(data, given=["dna"])
    with pytest.raises(ValueError, match="got given='rna', expected a sequence of names"):
        model.embed(data, given="rna")
    doubles = model.embed({"rna": batch.inputs["rna"].double().numpy()})
    torch.testing.assert_close(doubles.mean, arrays.mean)


def test_imputation_keeps_what_is_there() -> None:
    model, data = trained()
    batch, imputed = everything(data), model.impute(data, num_samples=2)
    there = torch.arange(SIZE) % 3 != 0
    assert torch.equal(imputed["rna"], batch.inputs["rna"])
    assert torch.equal(imputed["protein"][there], batch.inputs["protein"][there])
    assert (imputed["protein"][~there] != 0).all()
    without = model.impute({"rna": batch.inputs["rna"]})
    assert without["protein"].shape == (SIZE, 4)
    with pytest.raises(ValueError, match="got num_samples=0, expected at least 1"):
        model.impute(data, num_samples=0)


def test_mixed_subsets_equal_the_samples_one_by_one() -> None:
    """Posterior, gradient and metrics of a sample do not depend on what others lack."""
    data = loaded(tables())
    model = MWBVAE(default_modalities(data), latent_dim=3).eval()
    batch = everything(data)
    assert batch.present is not None
    encoding = model.encode_batch(batch)
    whole = model.conditionals(encoding)
    there = model.has_subsets(encoding, SIZE)
    for row in range(6):
        names = [n for n, p in zip(model.names, batch.present[row], strict=True) if p]
        alone = {name: batch.inputs[name][[row]] for name in names}
        one = model.conditionals(model.encode_modalities(alone))
        for place, subset in enumerate(model.subsets):
            assert there[place, row] == (set(subset) <= set(names))
            if there[place, row]:
                torch.testing.assert_close(whole.mean[place, row], one.mean[place, 0])


def test_probe_and_likelihood_count_what_is_there() -> None:
    """The probe of a subset is scikit-learn's on the samples that have it whole."""
    data = ArrayDataModule(tables(), label=classes(), batch_size=16)
    model = MWBVAE(default_modalities(data), latent_dim=3)
    probe, likelihood = LinearProbeCallback(None), LogLikelihoodCallback(4)
    judge = trainer(probe, likelihood, max_epochs=3, limit_val_batches=0)
    judge.fit(model, data)
    judge.test(model, data, verbose=False)
    figures = {key: value.item() for key, value in judge.callback_metrics.items()}
    label = everything(data).label
    assert label is not None
    for subset in model.subsets:
        rows = {
            split: [r for r in rows_of(data, split) if "protein" not in subset or r % 3]
            for split in ("train", "test")
        }
        features = model.embed(data, subset).mean.numpy()
        theirs = LogisticRegression(max_iter=1000).fit(
            features[rows["train"]], label[rows["train"]]
        )
        score = theirs.score(features[rows["test"]], label[rows["test"]])
        assert figures[f"probe/accuracy/{'+'.join(subset)}"] == pytest.approx(score, abs=1e-6)
    (metric,) = likelihood.metrics
    assert isinstance(metric, LogLikelihood)
    test = rows_of(data, "test")
    both = sum(row % 3 != 0 for row in test)
    # subsets rna, protein, both and their mean; of all, of rna, of protein
    counts = [[both, len(test), both], [both] * 3, [both] * 3, [both] * 3]
    assert metric.moments[0, 0].tolist() == counts


def test_reconstructions_are_means_over_what_is_there() -> None:
    """However samples without a modality are spread over batches."""
    data = ArrayDataModule(tables(), split=["train"] * 60 + ["test"] * 30, batch_size=16)
    model = MWBVAE(default_modalities(data), latent_dim=3)
    figures = []
    for size in (1, 30):  # draws are seeded by the batch, and so not the same
        data.eval_batch_size = size
        (found,) = trainer().test(model, data, verbose=False)
        figures.append(found)
    for name in model.names:
        first, second = (found[f"test/reconstruction/{name}"] for found in figures)
        assert first == pytest.approx(second, rel=0.2)


def test_columns_of_new_samples_are_put_in_order() -> None:
    given = frames(tables())
    data = loaded(given, index="patient")
    other = {name: frame.iloc[:, ::-1] for name, frame in given.items()}
    new = ArrayDataModule(other, index="patient")
    new.load_state_dict(data.state_dict())
    new.setup("fit")
    for name, x in everything(data).inputs.items():
        torch.testing.assert_close(everything(new).inputs[name], x)
    fewer = ArrayDataModule({**given, "rna": given["rna"].iloc[:, 1:]}, index="patient")
    fewer.load_state_dict(data.state_dict())
    with pytest.raises(ValueError, match="rna: got no column '0', which training had, expected"):
        fewer.setup("fit")


def test_samples_that_never_meet_are_told() -> None:
    given = frames(tables())
    given["protein"]["patient"] = given["protein"]["patient"] + " "
    with pytest.warns(UserWarning, match="no sample has more than one of .* called alike"):
        loaded(given, index="patient")


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_new_samples_are_scaled_as_the_training_ones(tmp_path: Path) -> None:
    """By a checkpoint, or by hand: the same sample has the same embedding in other company."""
    given = tables()
    data = ArrayDataModule(given, label=classes(), batch_size=16)
    model = MWBVAE(default_modalities(data), latent_dim=3)
    trainer(max_epochs=1, limit_val_batches=0).fit(model, data)
    expected = model.embed(data).mean[:20]
    few = {name: table[:20] for name, table in given.items()}
    alone = ArrayDataModule(few, label=["low"] * 20)
    alone.load_state_dict(data.state_dict())
    torch.testing.assert_close(model.embed(alone).mean, expected)
    assert alone.classes == ["high", "low"]
    assert str(alone) == "ArrayDataModule(train: 14, validation: 2, test: 4, all: 20)"
    saving = Trainer(
        max_epochs=1, limit_val_batches=0, accelerator="cpu", logger=False,
        default_root_dir=tmp_path, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    saving.fit(model, data)
    (path,) = (tmp_path / "checkpoints").iterdir()
    expected = model.embed(data).mean[:20]
    for size in (20, 2):  # of two, one trains, which could not be standardised by
        new = ArrayDataModule({name: table[:size] for name, table in given.items()})
        found = trainer().predict(model, new, ckpt_path=path)
        assert found is not None
        torch.testing.assert_close(found[0]["mean"], expected[:size])  # type: ignore[call-overload]
    tested = ArrayDataModule(few, label=["low", *["high"] * 19], split=["test"] * 20)
    assert trainer().predict(model, tested, ckpt_path=path)  # without a row to train on
    new = ArrayDataModule.load_from_checkpoint(path, modalities=few, label=None)
    torch.testing.assert_close(model.embed(new).mean, expected)
    other = ArrayDataModule(few, label=["none"] * 20)
    other.load_state_dict(data.state_dict())
    with pytest.raises(ValueError, match=r"label: got 'none', expected one of \['high', 'low'\]"):
        other.setup("fit")


def test_what_no_sample_tells_is_left_out() -> None:
    """A subset that no training sample has whole has no probe."""
    given = {name: table.astype(float) for name, table in tables().items()}
    given["rna"][1:60:3] = given["rna"][2:60:3] = np.nan  # unpaired until row 60
    split = ["train"] * 60 + ["test"] * 30
    data = ArrayDataModule(given, label=classes(), split=split, batch_size=16)
    model = MWBVAE(default_modalities(data), latent_dim=3)
    judge = trainer(LinearProbeCallback(None), max_epochs=1, limit_val_batches=0)
    judge.fit(model, data)
    judge.test(model, data, verbose=False)
    probes = {key for key in judge.callback_metrics if key.startswith("probe/")}
    assert probes == {"probe/accuracy/rna", "probe/accuracy/protein", "probe/accuracy/mean"}


def test_numbers_far_from_zero_keep_their_digits() -> None:
    seconds = 1.6e9 + 500 * np.random.default_rng(0).normal(size=(SIZE, 2))
    data = loaded({"time": seconds})
    known = everything(data).inputs["time"]
    assert known.std(0).sub(1).abs().max() < 0.2
    labels = [10, 9, 2] * 30
    assert loaded({"time": seconds}, label=labels).classes == [2, 9, 10]


def test_labels_by_name_come_as_series_or_files(tmp_path: Path) -> None:
    given = frames(tables())
    column = pd.Series(classes(), index=given["rna"].index, name="type")[::-1]
    column.to_frame().reset_index().to_parquet(tmp_path / "type.parquet")
    for label in (column, tmp_path / "type.parquet", str(tmp_path / "type.parquet")):
        data = loaded(given, index="patient", label=label)
        found = everything(data).label
        assert found is not None
        assert [data.classes[code] for code in found.tolist()] == classes().tolist()
    there = pd.DataFrame({"protein": np.arange(SIZE) % 2 == 0}, index=given["rna"].index)[::-1]
    masked = everything(loaded(given, index="patient", present=there)).present
    assert masked is not None
    assert torch.equal(masked[:, 1], (torch.arange(SIZE) % 2 == 0) & (torch.arange(SIZE) % 3 != 0))


def test_what_is_masked_need_not_be_whole() -> None:
    given = tables()
    given["protein"][4, 0] = np.nan
    there = np.arange(SIZE) != 4
    batch = everything(loaded(given, present={"protein": there}))
    assert batch.present is not None
    assert not batch.present[4, 1]


def test_means_of_likelihoods_leave_out_what_is_not_there() -> None:
    weights = torch.randn(5, 3, 3, 8)
    there = torch.rand(3, 3, 8) > 0.4
    weights[..., ~there] = torch.nan
    metric = LogLikelihood(["a", "b"])
    metric.update(weights[..., :3], there[..., :3])
    metric.update(weights[..., 3:], there[..., 3:])
    value = weights.logsumexp(0) - np.log(5)
    for row, subset in enumerate(["a", "b", "a+b"]):
        for column, target in enumerate(["", "->a", "->b"]):
            expected = value[row, column][there[row, column]].mean()
            torch.testing.assert_close(
                metric.compute()[f"log_likelihood/{subset}{target}"], expected
            )


@pytest.mark.parametrize("file_format", ["npz", "parquet"])
def test_predictions_are_what_python_gives(file_format: Any, tmp_path: Path) -> None:
    model, data = trained()
    data.eval_batch_size = 40
    writer = PredictionCallback(file_format)
    predict = trainer(writer, default_root_dir=tmp_path)
    predict.predict(model, data, return_predictions=False)
    path = tmp_path / f"predictions.{file_format}"
    assert sorted(tmp_path.iterdir()) == [path]
    if file_format == "npz":
        with np.load(path) as file:
            found = dict(file)
    else:
        found = {key: np.stack(column) for key, column in pd.read_parquet(path).items()}
    assert "sample" not in found
    expected = model.embed(data)
    np.testing.assert_allclose(found["mean"], expected.mean, atol=1e-6)
    np.testing.assert_allclose(found["std"], expected.std, atol=1e-6)
    there = np.arange(SIZE) % 3 != 0
    assert np.isnan(found["mean/protein"]).all(1).tolist() == (~there).tolist()
    np.testing.assert_allclose(found["mean/rna"], model.embed(data, ["rna"]).mean, atol=1e-6)
    given = tables()["protein"]
    np.testing.assert_allclose(found["imputed/protein"][there], given[there], atol=1e-5)
    assert np.isfinite(found["imputed/protein"]).all()


@pytest.mark.parametrize("file_format", ["npz", "parquet"])
def test_predictions_name_their_samples(file_format: Any, tmp_path: Path) -> None:
    data = ArrayDataModule(frames(tables()), index="patient", eval_batch_size=40)
    model = MWBVAE(default_modalities(data), latent_dim=3)
    trainer(PredictionCallback(file_format), default_root_dir=tmp_path).predict(model, data)
    path = tmp_path / f"predictions.{file_format}"
    if file_format == "npz":
        with np.load(path) as file:
            names = file["sample"].tolist()
    else:
        names = pd.read_parquet(path)["sample"].tolist()
    assert names == [f"p{row}" for row in range(SIZE)]


def test_files_to_predictions_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = write(tmp_path, tables(), "csv")
    named = ", ".join(f"{name}: {path}" for name, path in paths.items())
    pd.DataFrame({"label": classes()}).to_csv(tmp_path / "label.csv", index=False)
    quick = ["--trainer.max_epochs=2", "--trainer.enable_progress_bar=false"]
    cli.main(
        [
            "fit",
            "--config=own.yaml",
            f"--data.init_args.modalities={{{named}}}",
            f"--data.init_args.label={tmp_path}/label.csv",
            "--data.init_args.batch_size=20",
            "--trainer.callbacks+=LinearProbeCallback",
            "--trainer.callbacks.init_args.num_rows=null",
            *quick,
        ]
    )
    run = Path("runs/own/version_0")
    config = (run / "config.yaml").read_text(encoding="utf-8")
    assert "mmvae_bary.likelihoods.NegativeBinomial" in config  # the choice is kept
    printed = capsys.readouterr()
    assert "rna+protein" in printed.out
    assert "→" not in printed.out  # nothing judges coherence
    assert printed.err.count("samples have it") == 2  # each table is read once
    checkpoint = run / "checkpoints" / "last.ckpt"
    cli.main(["predict", f"--config={run}/config.yaml", f"--ckpt_path={checkpoint}", *quick[1:]])
    with np.load("runs/own/version_1/predictions.npz") as file:
        assert file["mean"].shape == (SIZE, 20)
    logger = ["--trainer.logger=CSVLogger", "--trainer.logger.save_dir=runs",
              "--trainer.logger.name=own", "--trainer.logger.version=0"]  # fmt: skip
    given = [f"--config={run}/config.yaml", f"--ckpt_path={checkpoint}", *logger, *quick[1:]]
    kept = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}
    with pytest.raises(SystemExit, match="got runs/own/version_0, the folder of another run, ex"):
        cli.main(["predict", *given])
    assert kept == {path: path.read_bytes() for path in run.iterdir() if path.is_file()}
    loaded_again = MWBVAE.load_from_checkpoint(checkpoint)
    assert loaded_again.names == ("rna", "protein")


def test_training_does_without_what_is_imposed_to_be_missing() -> None:
    sizes = {"num_train": 600, "num_validation": 60, "num_test": 60}
    data = DigitsDataModule(batch_size=600, missing=0.5, **sizes)  # type: ignore[arg-type]
    data.setup("fit")
    (batch,) = data.train_dataloader()
    assert batch.present is not None
    assert batch.present.any(1).all()
    assert 0.5 < batch.present.float().mean() < 0.6  # one in eight would have lost all
    assert next(iter(data.test_dataloader())).present is None
    complete = DigitsDataModule(batch_size=20, missing=0.5, drop_incomplete=True, **sizes)  # type: ignore[arg-type]
    complete.setup("fit")
    loader = complete.train_dataloader()
    assert len(loader) == int(batch.present.all(1).sum()) // 20
    assert all(part.present is None for part in loader)
    by_class = DigitsDataModule(batch_size=600, missing={"image": [0, 3]}, **sizes)  # type: ignore[arg-type]
    by_class.setup("fit")
    (batch,) = by_class.train_dataloader()
    assert batch.present is not None
    assert batch.label is not None
    lacking = (batch.label == 0) | (batch.label == 3)
    assert torch.equal(batch.present[:, 0], ~lacking)
    assert batch.present[:, 1:].all()


def test_what_is_imposed_to_be_missing_adds_to_what_is() -> None:
    """But a sample keeps something that it has."""
    tables = {name: np.random.default_rng(0).random((400, 2)) for name in "ab"}
    tables["a"][::2] = np.nan
    data = ArrayDataModule(tables, missing=0.5, batch_size=200)
    data.setup("fit")
    own = (next(iter(data.train_dataloader()))).present
    assert own is not None
    assert own.any(1).all()
    shares = own.float().mean(0)
    assert 0.2 < shares[0] < 0.45  # half of the half that has it, and those it alone is left to
    assert 0.5 < shares[1] < 0.9
    batch = data.datasets["train"][torch.arange(200)]
    assert batch.present is not None


def test_what_is_missing_is_a_function_of_the_seed() -> None:
    first, again, other = (draw_presence(0.3, "abc", 50, None, seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def unequal() -> ArrayDataModule:
    return loaded({"a": np.zeros((5, 2)), "b": np.zeros((4, 2))})


def repeated() -> ArrayDataModule:
    return loaded({"a": pd.DataFrame({"id": ["x", "x"], "v": [1.0, 2.0]})}, index="id")


def replaced(value: Any, row: int = 4, column: int | slice = 0) -> dict[str, NDArray[Any]]:
    given = tables()
    given["protein"] = given["protein"].astype(object if isinstance(value, str) else float)
    given["protein"][row, column] = value
    return given


def none_at_all() -> dict[str, NDArray[Any]]:
    given = {name: table.astype(float) for name, table in tables().items()}
    given["rna"][3] = np.nan
    return given


def negative() -> dict[str, NDArray[Any]]:
    given = tables()
    given["rna"][2, 1] = -1
    return given


def constant() -> dict[str, NDArray[Any]]:
    given = tables()
    given["protein"][:, 2] = np.where(np.isnan(given["protein"][:, 2]), np.nan, 3.5)
    return given


rare = np.where(np.arange(SIZE) == 0, "rare", "common")
own_split = np.where(np.arange(SIZE) < 9, "test", "train")
BAD: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "unequal lengths": (
        unequal,
        ValueError,
        r"got tables of different lengths, {'a': 5, 'b': 4} rows",
    ),
    "duplicate index": (
        repeated,
        ValueError,
        "a: got id 'x' more than once, expected a row for each",
    ),
    "nothing at all": (
        lambda: loaded(none_at_all()),
        ValueError,
        "got no modality at all in row 3, ex",
    ),
    "NaN inside": (
        lambda: loaded(replaced(np.nan)),
        ValueError,
        "protein: got NaN inside row 4, expected",
    ),
    "infinite": (
        lambda: loaded(replaced(np.inf)),
        ValueError,
        "protein: got infinite values in row 4",
    ),
    "constant": (
        lambda: loaded(constant()),
        ValueError,
        "protein: got constant columns in the trai.*at 2",
    ),
    "strings": (
        lambda: loaded(replaced("n/a")),
        ValueError,
        "protein: got 'n/a' in column 0, row 4, exp",
    ),
    "an empty row of one-hot": (
        lambda: loaded(
            {"a": sparse.csr_array(np.diag([0.0, 1, 1, 1, 1, 1]))}, kinds={"a": "one-hot"}
        ),
        ValueError,
        "a: got values from 0 to 0 in row 0, which are not of kind 'one-hot', expected one 1 amo",
    ),
    "negative count": (
        lambda: loaded(negative(), kinds={"rna": "counts"}),
        ValueError,
        "rna: got values from -1 to .* in row 2, which are not of kind 'counts', expected whole n",
    ),
    "empty class": (
        lambda: loaded(tables(), label=rare, split=own_split),
        ValueError,
        "label: got no training sample of class 'rare'",
    ),
    "mask of a wrong shape": (
        lambda: loaded(tables(), present=np.ones((SIZE, 3), dtype=bool)),
        ValueError,
        r"present: got bool of shape \(90, 3\), expected bool of shape \(90, 2\)",
    ),
    "mask of numbers": (
        lambda: loaded(tables(), present={"rna": np.ones(SIZE)}),
        ValueError,
        r"present\['rna'\]: got float64 of shape \(90,\), expected bool of shape \(90,\)",
    ),
    "mask of an unknown": (
        lambda: loaded(tables(), present={"dna": np.ones(SIZE, dtype=bool)}),
        ValueError,
        r"present: got \['dna'\], expected some of \['rna', 'protein'\]",
    ),
    "no modality": (
        lambda: ArrayDataModule({}),
        ValueError,
        "modalities: got none, expected a table",
    ),
    "shares": (
        lambda: ArrayDataModule(tables(), test_share=1.0),
        ValueError,
        "something left to train on",
    ),
    "unknown kind": (
        lambda: loaded(tables(), kinds={"rna": "floats"}),
        ValueError,
        "got kind 'floats', exp",
    ),
    "kind of an unknown": (
        lambda: ArrayDataModule(tables(), kinds={"dna": "real"}),
        ValueError,
        "kinds: got",
    ),
    "no table": (
        lambda: loaded({"a": 3}),
        TypeError,
        "a: got a int, expected an array, a tensor, a frame",
    ),
    "no file": (
        lambda: loaded({"a": "none.npz"}),
        FileNotFoundError,
        "a: got 'none.npz', which is no file",
    ),
    "index of an array": (
        lambda: loaded(tables(), index="id"),
        ValueError,
        "which has no column 'id'",
    ),
    "index of another": (
        lambda: loaded({"a": pd.DataFrame({"v": [1.0, 2.0]})}, index="id"),
        ValueError,
        r"a: got no column 'id' to align rows by, expected one among \['v'\]",
    ),
    "labels of another length": (
        lambda: loaded(tables(), label=[0, 1]),
        ValueError,
        "label: got 2 rows, ex",
    ),
    "labels missing": (
        lambda: loaded(tables(), label=np.where(np.arange(SIZE) == 7, np.nan, 1.0)),
        ValueError,
        "label: got none in row 7, expected one for each",
    ),
    "attributes": (
        lambda: loaded(tables(), label=np.full((SIZE, 2), 2)),
        ValueError,
        "label: got 2 columns with values other than 0 and 1 in rows 0, 1, 2, 3, 4 and 85 more",
    ),
    "split": (
        lambda: loaded(tables(), split=["dev"] * SIZE),
        ValueError,
        "split: got 'dev', expected one",
    ),
    "no training": (
        lambda: loaded(tables(), split=["test"] * SIZE),
        ValueError,
        "got no training sample among",
    ),
    "labels without names": (
        lambda: loaded(frames(tables()), index="patient", label=classes()),
        ValueError,
        "label: got .*, expected a table with 'patient' in it",
    ),
    "counts to standardise": (
        lambda: loaded(tables(), standardize=["rna"]),
        ValueError,
        "standardize: got 'rna', which is counts, expected real numbers, dense",
    ),
    "a modality that nobody has": (
        lambda: loaded({"a": np.ones((3, 2)), "b": np.full((3, 2), np.nan)}),
        ValueError,
        "b: got no row with values, expected some",
    ),
    "names and none": (
        lambda: loaded({"a": np.ones((90, 2)), "b": cells().mod["rna"]}),
        ValueError,
        "got tables whose rows have names and others",
    ),
    "sparse to standardise": (
        lambda: loaded({"a": sparse.csr_array(tables()["rna"])}, standardize=["a"]),
        ValueError,
        "standardize: got 'a', which is counts and sparse, expected real numbers, dense",
    ),
    "vectors": (
        lambda: loaded({"a": np.zeros(5)}),
        ValueError,
        r"a: got shape \(5,\), expected \(N, ...\)",
    ),
    "share": (
        lambda: DigitsDataModule(missing=1.0),
        ValueError,
        "got missing=1.0, expected a share from 0",
    ),
    "missing from an unknown": (
        lambda: draw_presence({"x": [0]}, ["a"], 3, torch.zeros(3), 0),
        ValueError,
        r"missing: got \['x'\], expected some of \['a'\]",
    ),
    "missing everything": (
        lambda: draw_presence({"a": [2], "b": [2]}, ["a", "b"], 3, torch.arange(3), 0),
        ValueError,
        "missing: got every modality for class 2, expected one to be left",
    ),
    "missing by no class": (
        lambda: draw_presence({"a": [2]}, ["a"], 3, None, 0),
        ValueError,
        "missing by class: got data without classes",
    ),
    "format": (
        lambda: PredictionCallback("csv"),  # type: ignore[arg-type]
        ValueError,
        "got file_format='csv', expected one of",
    ),
}


@pytest.mark.filterwarnings("ignore::FutureWarning:mudata", "ignore::UserWarning:mudata")
@pytest.mark.parametrize("case", BAD)
def test_bad_data_are_named(case: str) -> None:
    make, error, message = BAD[case]
    with pytest.raises(error, match=message):
        make()


def cells() -> Any:
    """Ninety cells, a third of which lack protein, in another order; counts in a layer."""
    given, names = tables(), [f"cell{row}" for row in range(SIZE)]
    rna = anndata.AnnData(np.log1p(given["rna"]), obs=pd.DataFrame(index=names))
    rna.layers["counts"] = sparse.csr_matrix(given["rna"])
    there = [row for row in range(SIZE) if row % 3][::-1]
    protein = anndata.AnnData(
        given["protein"][there], obs=pd.DataFrame(index=[names[row] for row in there])
    )
    both = mudata.MuData({"rna": rna, "protein": protein})
    both.obs["type"] = pd.Series(classes(), index=names)
    return both


@pytest.mark.filterwarnings("ignore::FutureWarning:mudata", "ignore::UserWarning:mudata")
def test_cells_of_mudata_are_aligned_and_get_their_embedding_back(tmp_path: Path) -> None:
    both = cells()
    both.write(tmp_path / "cells.h5mu")
    by_place = everything(loaded(tables()))
    for source in (both, str(tmp_path / "cells.h5mu")):
        data = MuDataModule(source, layers={"rna": "counts"}, label="type")
        data.setup("fit")
        assert data.samples is not None
        order = [int(name.removeprefix("cell")) for name in data.samples]
        batch = everything(data)
        assert batch.present is not None
        assert by_place.present is not None
        assert torch.equal(batch.present, by_place.present[order])
        assert torch.equal(batch.inputs["rna"], by_place.inputs["rna"][order])
        assert data.kinds == {"rna": "counts", "protein": "real"}
        assert batch.label is not None
        assert [data.classes[c] for c in batch.label.tolist()] == classes()[order].tolist()
    model = MWBVAE(default_modalities(data), latent_dim=3)
    found = model.embed(data)
    data.store(found.mean)
    assert data.samples is not None
    stored = data.mudata.obsm["X_mmvae"]
    for row, name in enumerate(data.mudata.obs_names):
        np.testing.assert_allclose(stored[row], found.mean[data.samples.tolist().index(name)])
    with pytest.raises(ValueError, match="got 2 rows, expected one for each of 90 cells"):
        data.store(found.mean[:2])


@pytest.mark.filterwarnings("ignore::FutureWarning:mudata", "ignore::UserWarning:mudata")
def test_bad_mudata_are_named() -> None:
    both = cells()
    with pytest.raises(ValueError, match=r"modalities: got \['dna'\], expected some of \['rna"):
        MuDataModule(both, modalities=["dna"])
    with pytest.raises(ValueError, match="layers: got 'raw' for 'rna', expected one of"):
        MuDataModule(both, layers={"rna": "raw"})
    with pytest.raises(ValueError, match="label: got 'cluster', expected a column of obs, which"):
        MuDataModule(both, label="cluster")


def test_arrays_are_copied_only_where_they_must_be() -> None:
    given = np.random.default_rng(0).standard_normal((8, 2, 3)).astype(np.float32)
    frozen = given.copy()
    frozen.flags.writeable = False
    tables = {"same": given, "frozen": frozen, "turned": given[::-1], "wide": given.astype(float)}
    data = ArrayDataModule(tables, validation_share=0, test_share=0)
    data.setup("fit")
    inputs = next(iter(data.predict_dataloader())).inputs
    stored = data.datasets["all"].inputs  # type: ignore[attr-defined]
    assert stored["same"].data_ptr() == given.ctypes.data
    assert stored["frozen"].data_ptr() != frozen.ctypes.data
    for name, table in tables.items():
        np.testing.assert_array_equal(inputs[name].numpy(), table.astype(np.float32))
    frozen_rows = sparse.csr_array(np.eye(8, 3, dtype=np.float32))
    for part in (frozen_rows.data, frozen_rows.indices, frozen_rows.indptr):
        part.flags.writeable = False
    ArrayDataModule({"rows": frozen_rows}, validation_share=0, test_share=0).setup("fit")
