"""Metrics against scikit-learn and counts by hand; caches that are whole or not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from mmvae_bary import DigitsDataModule
from mmvae_bary.metrics import (
    CrossModalCoherence,
    JointCoherence,
    LinearProbe,
    ModalityClassifiers,
    logistic_regression,
)
from mmvae_bary.networks import DigitsSceneClassifier, MLPClassifier


def test_logistic_regression_equals_scikit_learn() -> None:
    """Ten classes, three representations, of widths and scales that differ."""
    label = torch.randint(10, (200,))
    features = torch.randn(3, 200, 12) + torch.randn(10, 12)[label]
    features = features * torch.tensor([0.1, 1.0, 20.0]).reshape(3, 1, 1)
    weight, bias = logistic_regression(features, label, 10)
    for k in range(3):
        reference = LogisticRegression(max_iter=10_000, tol=1e-8).fit(features[k], label)
        logits = (features[k] @ weight[k] + bias[k]).double()
        expected = reference.predict_proba(features[k])
        np.testing.assert_allclose(logits.softmax(-1).numpy(), expected, atol=2e-4)


def test_probe_accuracy_equals_scikit_learn_in_batches() -> None:
    label = torch.randint(10, (700,))
    features = 0.7 * torch.randn(3, 700, 8) + torch.randn(10, 8)[label]
    probe = LinearProbe(["a", "b"], 10)
    probe.fit(features[:, :500], label[:500])
    for rows in torch.arange(500, 700).split(64):
        probe.update(features[:, rows], label[rows])
    result = probe.compute()
    for k, key in enumerate(["a", "b", "a+b"]):
        reference = LogisticRegression(max_iter=1000).fit(features[k, :500], label[:500])
        expected = reference.score(features[k, 500:], label[500:])
        assert result[f"probe/accuracy/{key}"].item() == pytest.approx(expected, abs=0.0051)
    assert set(result) == {*(f"probe/accuracy/{key}" for key in ("a", "b", "a+b", "mean"))}


def test_probe_fits_inside_inference_mode() -> None:
    with torch.inference_mode():
        label = torch.randint(3, (30,))
        probe = LinearProbe(["a"], 3)
        probe.fit(torch.randn(1, 30, 4), label)
        probe.update(torch.randn(1, 30, 4), label)
    with pytest.raises(RuntimeError, match=r"got update\(\) before fit\(\)"):
        LinearProbe(["a"], 3).update(torch.randn(1, 30, 4), label)


NAMES = ("a", "b", "c")


def one_hot_classifiers() -> dict[str, torch.nn.Module]:
    """Samples that are their own logits."""
    return {name: torch.nn.Identity() for name in NAMES}


def test_cross_modal_coherence_counts_hits() -> None:
    metric = CrossModalCoherence(NAMES, one_hot_classifiers())
    expected: dict[str, list[float]] = {}
    for size in (5, 3):
        label = torch.randint(4, (size,))
        generated = {name: torch.randn(3, size, 4) for name in NAMES}
        metric.update(generated, label)
        hits = {name: (x.argmax(-1) == label).tolist() for name, x in generated.items()}
        for target, others in {"a": "bc", "b": "ac", "c": "ab"}.items():
            for k, source in enumerate([others[0], others[1], f"{others[0]}+{others[1]}"]):
                expected.setdefault(f"coherence/{source}->{target}", []).extend(hits[target][k])
    result = {key: value.item() for key, value in metric.compute().items()}
    means = {key: float(np.mean(hits)) for key, hits in expected.items()}
    for key, value in means.items():
        assert result[key] == pytest.approx(value)
    assert result["coherence/mean"] == pytest.approx(np.mean(list(means.values())))
    singles = [value for key, value in means.items() if "+" not in key]
    assert result["coherence/mean/1"] == pytest.approx(np.mean(singles))
    groups = {"coherence/mean", "coherence/mean/1", "coherence/mean/2"}
    assert set(result) == {*means, *groups, *(f"coherence/mean->{name}" for name in NAMES)}


def test_joint_coherence_asks_all_to_agree() -> None:
    metric = JointCoherence(NAMES, one_hot_classifiers())
    eye = torch.eye(4)
    metric.update({"a": eye, "b": eye, "c": eye[[0, 1, 3, 2]]})
    assert metric.compute()["coherence/joint"].item() == 0.5


def test_missing_classifier_is_named() -> None:
    with pytest.raises(ValueError, match=r"got no classifier for \['c'\], expected one for each"):
        CrossModalCoherence(NAMES, {"a": torch.nn.Identity(), "b": torch.nn.Identity()})
    with pytest.raises(ValueError, match="expected at least two"):
        CrossModalCoherence(["a"], {"a": torch.nn.Identity()})


def classifiers() -> ModalityClassifiers:
    networks = {
        "image": MLPClassifier((1, 16, 16), 10),
        "scene": DigitsSceneClassifier(),
        "text": MLPClassifier((8, 27), 10),
    }
    return ModalityClassifiers(networks, max_epochs=2)


def test_classifiers_are_learned_once_and_frozen(data: DigitsDataModule, tmp_path: Path) -> None:
    device = torch.device("cpu")
    first, second = classifiers(), classifiers()
    path = first.path(str(tmp_path), data.fingerprint)
    assert not first.load(path, device)
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    epochs = (data.batches("train", 128, epoch) for epoch in range(2))
    first.fit(epochs, data.batches("test", 128), path, device)
    assert torch.equal(torch.rand(1), expected)  # the run's random stream is untouched
    assert second.load(path, device)
    assert second.accuracy == first.accuracy
    assert first.accuracy["text"] > 0.5
    for networks in (first.networks, second.networks):
        assert not any(module.training for module in networks.modules())
        assert not any(parameter.requires_grad for parameter in networks.parameters())
    batch = next(iter(data.test_dataloader()))
    scene = batch.inputs["scene"]
    assert torch.equal(first.networks["scene"](scene), second.networks["scene"](scene))
    assert [file.name for file in path.parent.iterdir()] == [path.name]  # nothing half-written


def test_classifiers_of_another_recipe_have_another_file() -> None:
    other = ModalityClassifiers({"image": MLPClassifier((1, 16, 16), 10)}, max_epochs=3)
    assert other.path("root", "data") != classifiers().path("root", "data")
