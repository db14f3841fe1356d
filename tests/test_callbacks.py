"""Callbacks in a Trainer of one's own, and what they refuse before time is spent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import nn
from torchmetrics import Metric

from mmvae_bary import (
    MWBVAE,
    ArrayDataModule,
    Batch,
    CoherenceCallback,
    DigitsDataModule,
    LinearProbeCallback,
    LogLikelihoodCallback,
    MoEVAE,
    QualityCallback,
    SampleGridCallback,
    default_modalities,
)
from mmvae_bary.data.missing import Masked
from mmvae_bary.likelihoods import Categorical, Laplace
from mmvae_bary.metrics import LogLikelihood
from mmvae_bary.metrics.coherence import sources
from mmvae_bary.modality import Modality
from mmvae_bary.networks import MLPClassifier, MLPDecoder, MLPEncoder
from tests.conftest import trainer

SHAPES = {"image": (1, 16, 16), "scene": (3, 16, 16), "text": (8, 27)}


def model(cls: type[MWBVAE] | type[MoEVAE] = MWBVAE) -> MWBVAE | MoEVAE:
    modalities = {
        name: Modality(
            shape,
            MLPEncoder(shape, 5, [16]),
            MLPDecoder(5, shape, [16]),
            Categorical() if name == "text" else Laplace(0.75),
        )
        for name, shape in SHAPES.items()
    }
    return cls(modalities, 5)


def test_probe_of_a_mixture_by_component_or_mean(cache: str) -> None:
    """Of a mixture the two differ, of one Gaussian they do not; both are reproducible."""
    data = DigitsDataModule(num_train=600, num_test=120, cache=cache)
    figures: dict[tuple[type, str], Mapping[str, float]] = {}
    for cls in (MWBVAE, MoEVAE):
        torch.manual_seed(0)
        judged = model(cls)
        for representation in ("component", "mean", "component"):
            run = trainer(LinearProbeCallback(representation=representation))
            (result,) = run.test(judged, datamodule=data, verbose=False)
            key = (cls, representation)
            assert figures.setdefault(key, result) == result
    assert figures[MWBVAE, "component"] == figures[MWBVAE, "mean"]
    joint = "probe/accuracy/image+scene+text"
    assert figures[MoEVAE, "component"][joint] < figures[MoEVAE, "mean"][joint]


def test_log_likelihood_of_the_first_test_tuples(cache: str) -> None:
    """By the mixture or one component, which differ for a mixture alone; in the test alone."""
    data = DigitsDataModule(num_validation=50, num_test=120, eval_batch_size=48, cache=cache)
    figures = {}
    for cls in (MWBVAE, MoEVAE):
        torch.manual_seed(0)
        judged = model(cls)
        for proposal in ("mixture", "component"):
            callback = LogLikelihoodCallback(4, 60, proposal, grouped=True)
            run = trainer(callback)
            (result,) = run.test(judged, datamodule=data, verbose=False)
            for metric in callback.metrics:
                assert isinstance(metric, LogLikelihood)
                assert (metric.moments[0] == 60).all()
            figures[cls, proposal] = result
    for place in ("image", "scene->text", "image+scene+text"):
        key = f"log_likelihood/{place}"
        assert figures[MWBVAE, "mixture"][key] == figures[MWBVAE, "component"][key]
        if "+" in key:
            assert figures[MoEVAE, "mixture"][key] != figures[MoEVAE, "component"][key]
        grouped = figures[MWBVAE, "mixture"][f"log_likelihood_grouped/{place}"]
        assert grouped > figures[MWBVAE, "mixture"][key]
    (validation,) = trainer(LogLikelihoodCallback()).validate(judged, data, verbose=False)
    assert not any("log_likelihood" in key for key in validation)


def test_quality_in_the_test_alone(cache: str) -> None:
    """Distances of every direction and errors of what is no text, the same whatever the batch."""
    networks: dict[str, nn.Module] = {name: MLPClassifier(x, 10) for name, x in SHAPES.items()}
    judged, results = model(), []
    for size in (48, 120):
        data = DigitsDataModule(num_validation=50, num_test=120, eval_batch_size=size, cache=cache)
        run = trainer(CoherenceCallback(networks, max_steps=20, gate=0.0), QualityCallback())
        results += run.test(judged, datamodule=data, verbose=False)
    quality = {key for key in results[0] if key.startswith(("frechet", "mse", "psnr", "ssim"))}
    directions = {
        f"{s}->{t}" for t in SHAPES for s in ["prior", *map("+".join, sources(list(SHAPES), t))]
    }
    assert {key.removeprefix("frechet/") for key in quality if "frechet" in key} == {
        *directions,
        *(f"mean->{name}" for name in SHAPES),
    }
    given = {f"{s}->{t}" for t in ("image", "scene") for s in (t, "image+scene+text")}
    assert {key for key in quality if "frechet" not in key} == {
        f"{key}/{place}" for key in ("mse", "psnr", "ssim") for place in given
    }
    for key in quality:
        assert results[0][key] == pytest.approx(results[1][key], rel=0.5, abs=0.05)  # other draws
    (validation,) = run.validate(judged, data, verbose=False)
    assert not quality & {key.removeprefix("val/") for key in validation}
    assert "coherence/mean/class_3" in results[0]
    assert not any("class_" in key for key in validation)


def test_coherence_of_data_without_a_number_of_classes(cache: str) -> None:
    """Where nothing says how many classes there are, there is none by class."""

    class Unnumbered(DigitsDataModule):
        @property
        def num_classes(self) -> int:  # type: ignore[override]
            raise AttributeError

    networks: dict[str, nn.Module] = {name: MLPClassifier(x, 10) for name, x in SHAPES.items()}
    data = Unnumbered(num_test=120, cache=cache)
    run = trainer(CoherenceCallback(networks, max_steps=20, gate=0.0))
    (result,) = run.test(model(), datamodule=data, verbose=False)
    assert "coherence/mean" in result
    assert not any("class_" in key for key in result)


def test_an_incomplete_test_set_is_judged_by_what_is_there(cache: str) -> None:
    class Incomplete(DigitsDataModule):
        def setup(self, stage: str) -> None:
            super().setup(stage)
            test = self.datasets["test"]
            present = torch.ones(len(test), 3, dtype=torch.bool)
            present[:40, 0], present[80:, 2] = False, False
            self.datasets = {**self.datasets, "test": Masked(test, present)}

    networks: dict[str, nn.Module] = {name: MLPClassifier(x, 10) for name, x in SHAPES.items()}
    judges = CoherenceCallback(networks, max_steps=20, gate=0.0)
    run = trainer(judges, QualityCallback(), LinearProbeCallback())
    data = Incomplete(num_test=120, cache=cache)
    (result,) = run.test(model(), datamodule=data, verbose=False)
    for key in ("coherence/mean", "frechet/image->scene", "ssim/image->image"):
        assert abs(result[key]) < torch.inf
    for source, size in (("image", 80), ("image+text", 40)):
        key = f"coherence/{source}->scene"
        expected = (result[key] * (1 - result[key]) / (size - 1)) ** 0.5
        assert result[f"{key}/standard_error"] == pytest.approx(expected)


def test_grids_show_what_is_there() -> None:
    """Zeros that stand for what is missing are neither shown nor given."""
    pictures = {name: torch.rand(60, 1, 6, 6) for name in ("left", "right")}
    pictures["left"][::2] = torch.nan
    pictures["right"][1::2] = torch.nan
    pictures["right"][1] = pictures["left"][1]  # one in training has both
    data = ArrayDataModule(pictures, split=["train"] * 30 + ["test"] * 30)
    run = trainer(SampleGridCallback())
    run.test(MWBVAE(default_modalities(data), 2), datamodule=data, verbose=False)
    assert {path.name for path in Path("samples").iterdir()} == {
        "left_to_right.png",
        "right_to_left.png",
        "prior_to_all.png",
    }


def test_the_probe_s_rows_have_the_precision_of_those_it_judges(cache: str) -> None:
    seen = set()
    asked = model()
    asked.modalities["image"].encoder.register_forward_hook(
        lambda module, given, output: seen.add(output.dtype)
    )
    data = DigitsDataModule(num_test=64, cache=cache)
    run = trainer(LinearProbeCallback(), precision="bf16-mixed")
    run.test(asked, datamodule=data, verbose=False)
    assert seen == {torch.bfloat16}


def test_evaluation_holds_no_more_of_more_items(cache: str) -> None:
    """Beside a batch only sums, and of the training set the probe's few rows."""
    networks: dict[str, nn.Module] = {name: MLPClassifier(x, 10) for name, x in SHAPES.items()}
    held = []
    for size in (60, 240):
        data = DigitsDataModule(num_test=size, eval_batch_size=60, cache=cache)
        callbacks = [
            CoherenceCallback(networks, max_steps=1, gate=0.0),
            LinearProbeCallback(50),
            LogLikelihoodCallback(2),
            QualityCallback(),
        ]
        trainer(*callbacks).test(model(), datamodule=data, verbose=False)
        metrics = [part for c in callbacks for metric in c.metrics for part in metric.modules()]
        states = [metric.metric_state for metric in metrics if isinstance(metric, Metric)]
        held.append([torch.as_tensor(x).nbytes for state in states for x in state.values()])
    assert held[0] == held[1]


def test_quality_takes_classifiers(cache: str) -> None:
    data = DigitsDataModule(num_test=120, cache=cache)
    with pytest.raises(ValueError, match="got a configuration without a CoherenceCallback, exp"):
        trainer(QualityCallback()).test(model(), datamodule=data)
    with pytest.raises(
        FileNotFoundError, match=r"inception: got 'no\.pth', expected a file of we"
    ):
        QualityCallback("no.pth")


def test_bad_log_likelihoods_are_refused(data: DigitsDataModule) -> None:
    for numbers in ((0, None), (12, 0)):
        with pytest.raises(ValueError, match=r"got num_\w+=0, expected at least 1"):
            LogLikelihoodCallback(*numbers)
    with pytest.raises(ValueError, match="got num_samples=0, expected at least 1"):
        CoherenceCallback({}, num_samples=0)
    with pytest.raises(ValueError, match="got proposal='prior', expected one of"):
        LogLikelihoodCallback(proposal="prior")  # type: ignore[arg-type]
    judged, batch = model(), data.sample_batch(2)
    incomplete = Batch(batch.inputs, torch.ones(2, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match="grouped: got samples with a mask, expected none to la"):
        LogLikelihoodCallback(grouped=True).update(
            judged, incomplete, judged.encode_modalities(batch.inputs)
        )


def test_classifiers_for_other_modalities_are_refused(cache: str) -> None:
    data = DigitsDataModule(cache=cache)
    callback = CoherenceCallback({"image": MLPClassifier((1, 16, 16), 10)})
    with pytest.raises(
        ValueError, match=r"classifiers: got \['image'\], expected one for each of"
    ):
        trainer(callback).test(model(), datamodule=data)


def test_batches_without_a_data_module_are_refused(data: DigitsDataModule) -> None:
    with pytest.raises(TypeError, match="got a trainer with datamodule NoneType, expected a Mul"):
        trainer(LinearProbeCallback()).test(model(), dataloaders=data.test_dataloader())
    with pytest.raises(ValueError, match="got representation='mode', expected one of"):
        LinearProbeCallback(representation="mode")  # type: ignore[arg-type]


def test_classifiers_take_labels(tmp_path: Path) -> None:
    data = ArrayDataModule({name: torch.rand(60, 4) for name in "ab"}, cache=str(tmp_path))
    judge = CoherenceCallback({name: MLPClassifier((4,), 2) for name in "ab"}, max_steps=1)
    with pytest.raises(ValueError, match="classifiers: got data without labels, expected a label"):
        trainer(judge).test(MWBVAE(default_modalities(data), 2), datamodule=data)
