"""Metrics against scikit-learn and counts by hand; caches that are whole or not there."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from torchmetrics import Metric

from mmvae_bary import MWBVAE, DigitsDataModule, Modality
from mmvae_bary.likelihoods import Categorical, Laplace
from mmvae_bary.metrics import (
    AttributeCoherence,
    AttributeProbe,
    ClassifierFeatures,
    CrossModalCoherence,
    FrechetDistance,
    InceptionFeatures,
    JointCoherence,
    LinearProbe,
    LogLikelihood,
    ModalityClassifiers,
    ReconstructionQuality,
    average_precision,
    logistic_regression,
)
from mmvae_bary.networks import DigitsSceneClassifier, MLPClassifier, MLPDecoder, MLPEncoder


def test_logistic_regression_equals_scikit_learn() -> None:
    """Ten classes, three representations, of widths and scales that differ."""
    label = torch.randint(10, (200,))
    features = torch.randn(3, 200, 12) + torch.randn(10, 12)[label]
    features = features * torch.tensor([0.1, 1.0, 20.0]).reshape(3, 1, 1)
    weight, bias = logistic_regression(features, label, 10, tolerance=1e-6)
    for k in range(3):
        reference = LogisticRegression(max_iter=10_000, tol=1e-8).fit(features[k], label)
        logits = (features[k] @ weight[k] + bias[k]).double()
        expected = reference.predict_proba(features[k])
        np.testing.assert_allclose(logits.softmax(-1).numpy(), expected, atol=2e-4)


def test_two_classes_have_scikit_learns_penalty() -> None:
    """Which fits the difference of two columns of weights as one."""
    label = torch.randint(2, (100,))
    features = torch.randn(1, 100, 6) + label[:, None]
    weight, bias = logistic_regression(features, label, 2, tolerance=1e-6)
    reference = LogisticRegression(tol=1e-8).fit(features[0], label)
    np.testing.assert_allclose((weight[0, :, 1] - weight[0, :, 0]), reference.coef_[0], atol=1e-3)
    np.testing.assert_allclose(bias[0, 0, 1] - bias[0, 0, 0], reference.intercept_[0], atol=1e-3)


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


def test_probe_of_digits_latents_equals_scikit_learn_in_every_subset() -> None:
    """Of a model trained for a while; the rows are those that a run is judged by."""
    data = DigitsDataModule(num_train=1500, num_test=1000)
    data.setup("fit")
    model = MWBVAE(digits_modalities(), latent_dim=10, beta=2.5)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for batch in islice(data.endless_batches("train", 128), 150):
        optimizer.zero_grad()
        model.elbo(batch, model.encode_modalities(batch.inputs)).loss.backward()
        optimizer.step()
    with torch.no_grad():
        (rows,) = data.probe_dataloader(500, 0)
        (test,) = data.batches("test", 1000)
        latents, judged = (
            model.conditionals(model.encode_modalities(x.inputs)).mean for x in (rows, test)
        )
    assert rows.label is not None
    assert test.label is not None
    weight, bias = logistic_regression(latents, rows.label, 10, tolerance=1e-6)
    ours = (judged @ weight + bias).argmax(-1).numpy()
    for k in range(7):
        # solved well by both: of latents hardly trained the defaults leave 1% open
        reference = LogisticRegression(max_iter=10_000, tol=1e-7).fit(latents[k], rows.label)
        theirs = reference.predict(judged[k])
        assert (ours[k] == theirs).mean() >= 0.995
        shares = [(found == test.label.numpy()).mean() for found in (ours[k], theirs)]
        assert shares[0] == pytest.approx(shares[1], abs=0.003)
    assert shares[0] > 0.6


def digits_modalities() -> dict[str, Modality]:
    shapes = {"image": (1, 16, 16), "scene": (3, 16, 16), "text": (8, 27)}
    return {
        name: Modality(
            shape,
            MLPEncoder(shape, 10),
            MLPDecoder(10, shape),
            Categorical() if name == "text" else Laplace(0.75),
        )
        for name, shape in shapes.items()
    }


def test_an_unsolved_probe_is_told() -> None:
    label = torch.randint(3, (30,))
    with pytest.warns(UserWarning, match=r"L-BFGS: gradient of .* after 2 steps, expected at mo"):
        logistic_regression(torch.randn(1, 30, 4), label, 3, max_iterations=2)


def test_probe_fits_inside_inference_mode() -> None:
    with torch.inference_mode():
        label = torch.randint(3, (30,))
        probe = LinearProbe(["a"], 3)
        probe.fit(torch.randn(1, 30, 4), label)
        probe.update(torch.randn(1, 30, 4), label)
    with pytest.raises(RuntimeError, match=r"got update\(\) before fit\(\)"):
        LinearProbe(["a"], 3).update(torch.randn(1, 30, 4), label)


def attributes(size: int) -> torch.Tensor:
    """Four attributes of a sample: often, rarely, seldom and never there."""
    return (torch.rand(size, 4) < torch.tensor([0.6, 0.3, 0.1, 0.0])).to(torch.uint8)


ATTRIBUTES = ["often", "rarely", "seldom", "never"]


def test_average_precision_equals_scikit_learn() -> None:
    label = attributes(300)
    logits = 20 * torch.randn(300, 4) + 10 * label  # so large that float32 sigmoids would tie
    result = average_precision(logits, label)
    for place in range(3):
        expected = average_precision_score(label[:, place], logits[:, place])
        assert result[place].item() == pytest.approx(expected, abs=1e-6)
    assert result[3].isnan()


def test_average_precision_asks_for_order_alone() -> None:
    """Of scores however wide; NaN and infinities do not spoil the others."""
    scores, label = torch.randn(200, 1), (torch.rand(200, 1) < 0.3).long()
    expected = average_precision(scores, label)
    torch.testing.assert_close(average_precision(1e6 * scores, label), expected)
    torch.testing.assert_close(average_precision(scores.double().exp(), label), expected.double())
    place = scores[:, 0].argmax()
    scores[place] = torch.inf
    torch.testing.assert_close(average_precision(scores, label), expected)
    scores[place] = torch.nan
    lowest = scores.nan_to_num(nan=-10.0)
    torch.testing.assert_close(average_precision(scores, label), average_precision(lowest, label))


def test_attribute_probe_equals_scikit_learn_in_batches() -> None:
    label = attributes(700)
    features = torch.randn(3, 700, 6) + torch.randn(4, 6)[label.long().argmax(-1)]
    probe = AttributeProbe(["a", "b"], ATTRIBUTES)
    probe.fit(features[:, :500], label[:500])
    for rows in torch.arange(500, 700).split(64):
        probe.update(features[:, rows], label[rows])
    result = probe.compute()
    for k, key in enumerate(["a", "b", "a+b"]):
        expected = []
        for place, name in enumerate(ATTRIBUTES[:3]):
            reference = LogisticRegression(max_iter=1000)
            reference.fit(features[k, :500], label[:500, place])
            scores = reference.decision_function(features[k, 500:])
            expected.append(average_precision_score(label[500:, place], scores))
            got = result[f"probe/average_precision/{key}/{name}"].item()
            assert got == pytest.approx(expected[-1], abs=2e-3)
        got = result[f"probe/average_precision/{key}"].item()
        assert got == pytest.approx(np.mean(expected), abs=2e-3)
    assert "probe/average_precision/a/never" not in result
    shares = label[500:, :3].float().mean(0)
    assert result["probe/chance"].item() == pytest.approx(shares.mean().item())


def test_attribute_coherence_by_scikit_learn() -> None:
    metric = AttributeCoherence(["a", "b"], dict.fromkeys("ab", torch.nn.Identity()), ATTRIBUTES)
    label = attributes(200)
    generated = {name: torch.randn(2, 2, 200, 4) + label for name in "ab"}  # two samples an item
    for rows in torch.arange(200).split(70):
        metric.update({name: x[:, :, rows] for name, x in generated.items()}, label[rows])
    result = metric.compute()
    twice = label.repeat(2, 1)
    for key, row in (("a->b", 0), ("b->a", 0), ("a+b->a", 1)):
        key, made = f"coherence/{key}", generated[key[-1]][:, row]
        expected = [
            average_precision_score(twice[:, place], made[..., place].flatten())
            for place in range(3)
        ]
        assert result[key].item() == pytest.approx(np.mean(expected), abs=1e-6)
        assert result[f"{key}/rarely"].item() == pytest.approx(expected[1], abs=1e-6)
    mean = (result["coherence/a->b"] + result["coherence/b->a"]) / 2
    assert result["coherence/mean"] == result["coherence/mean/1"]
    assert result["coherence/mean"].item() == pytest.approx(mean.item())
    chance = label[:, :3].float().mean(0)
    assert result["coherence/chance"].item() == pytest.approx(chance.mean().item())
    assert not any("never" in key for key in result)


def test_joint_coherence_of_attributes_is_agreement_on_each() -> None:
    metric = JointCoherence(["a", "b"], dict.fromkeys("ab", torch.nn.Identity()), ["x", "y"])
    first = torch.tensor([[1.0, -1.0], [2.0, 3.0], [-1.0, 1.0], [-1.0, 1.0]])
    metric.update({"a": first, "b": first * torch.tensor([1.0, -1.0])})
    metric.update({"a": first[:2], "b": first[:2]})
    result = {key: value.item() for key, value in metric.compute().items()}
    error = np.std([1, 0.5, 0.5, 0.5, 1, 0.5]) / 5**0.5
    assert result == pytest.approx(
        {
            "coherence/joint": 4 / 6,
            "coherence/joint/standard_error": error,
            "coherence/joint/x": 1.0,
            "coherence/joint/y": 2 / 6,
        }
    )


def shares() -> Iterator[tuple[dict[str, torch.Tensor], torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    for size in (10, 20, 7):
        label = torch.randint(2, (size, 2), generator=generator)
        yield {x: torch.randn(1, 2, size, 2, generator=generator) for x in "ab"}, label


def two_attributes() -> AttributeCoherence:
    return AttributeCoherence(["a", "b"], dict.fromkeys("ab", torch.nn.Identity()), ["x", "y"])


def log_weights() -> Iterator[tuple[torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    for size in (10, 20, 7):
        yield (10 * torch.randn(4, 3, 3, size, generator=generator) - 2000,)


def class_shares() -> Iterator[tuple[dict[str, torch.Tensor], torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    for size in (10, 20, 7):
        label = torch.randint(2, (size,), generator=generator)
        yield {x: torch.randn(3, 2, size, 2, generator=generator) for x in "ab"}, label


def two_classes() -> CrossModalCoherence:
    return CrossModalCoherence(["a", "b"], dict.fromkeys("ab", torch.nn.Identity()), 3, 2)


def pictures(sizes: Sequence[int] = (40, 50, 30)) -> Iterator[tuple[dict[str, torch.Tensor], ...]]:
    generator = torch.Generator().manual_seed(0)
    for size in sizes:
        shapes = ((size, 6), (1, size, 6), (size, 6))
        yield tuple(
            {x: torch.randn(shape, generator=generator) + place for x in "ab"}
            for place, shape in enumerate(shapes)
        )


def few_pictures() -> Iterator[tuple[dict[str, torch.Tensor], ...]]:
    return pictures((40, 1))


def odd_pictures() -> Iterator[tuple[dict[str, torch.Tensor], ...]]:
    first, second = pictures((40, 30))
    second[1]["b"][:] = torch.nan
    return iter([first, second])


def two_distances() -> FrechetDistance:
    torch.manual_seed(0)
    classifier = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    return FrechetDistance(["a", "b"], dict.fromkeys("ab", ClassifierFeatures(classifier)))


def reconstructions() -> Iterator[tuple[dict[str, torch.Tensor], ...]]:
    generator = torch.Generator().manual_seed(0)
    for size in (10, 20, 7):
        real = {"a": torch.rand(size, 3, 12, 12, generator=generator)}
        yield real, {"a": real["a"] + 0.1 * torch.randn(2, *real["a"].shape, generator=generator)}


def two_reconstructions() -> ReconstructionQuality:
    return ReconstructionQuality(["a"], {"a": (3, 12, 12)})


def log_likelihood() -> LogLikelihood:
    return LogLikelihood(["a", "b"])


SHARED: dict[str, tuple[Callable[[], Metric], Callable[[], Iterator[tuple[Any, ...]]]]] = {
    "scores are gathered in one order": (two_attributes, shares),
    "moments are merged": (log_likelihood, log_weights),
    "hits are summed": (two_classes, class_shares),
    "features' moments are summed": (two_distances, pictures),
    "a process may have one sample": (two_distances, few_pictures),
    "a process may have features that are not finite": (two_distances, odd_pictures),
    "errors are summed": (two_reconstructions, reconstructions),
}
TWO_PROCESSES = """
import json
import sys
from torch.distributed import init_process_group
from tests.test_metrics import SHARED
rank = int(sys.argv[1])
init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
make, shares = SHARED[sys.argv[3]]
metric = make()
for number, share in enumerate(shares()):  # the first and the last to one process
    if number % 2 == rank:
        metric.update(*share)
print(json.dumps({key: value.item() for key, value in metric.compute().items()}))
"""


@pytest.mark.parametrize("case", SHARED)
def test_two_processes_with_uneven_batches_equal_one(tmp_path: Path, case: str) -> None:
    make, batches = SHARED[case]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TWO_PROCESSES, str(rank), str(tmp_path / "meet"), case],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
        )
        for rank in range(2)
    ]
    printed = [process.communicate()[0] for process in processes]
    metric = make()
    for share in batches():
        metric.update(*share)
    expected = {key: value.item() for key, value in metric.compute().items()}
    for said in printed:
        assert json.loads(said) == pytest.approx(expected, rel=1e-5, nan_ok=True)


NAMES = ("a", "b", "c")


def one_hot_classifiers() -> dict[str, torch.nn.Module]:
    """Samples that are their own logits."""
    return {name: torch.nn.Identity() for name in NAMES}


@pytest.mark.parametrize("num_samples", [1, 4])
def test_cross_modal_coherence_counts_hits(num_samples: int) -> None:
    """Shares, standard errors over items and shares by class, against NumPy."""
    metric = CrossModalCoherence(NAMES, one_hot_classifiers(), num_samples, num_classes=4)
    hits: dict[str, list[np.ndarray[Any, Any]]] = {}
    labels = []
    for size in (30, 11):
        label = torch.randint(3, (size,))  # the fourth class has no item
        generated = {name: torch.randn(num_samples, 4, size, 4) for name in NAMES}
        metric.update(generated, label)
        labels.append(label.numpy())
        for target, others in {"a": "bc", "b": "ac", "c": "ab"}.items():
            hit = (generated[target].argmax(-1) == label).numpy()
            both = f"{others[0]}+{others[1]}"
            for k, source in enumerate([others[0], others[1], both, "a+b+c"]):
                hits.setdefault(f"coherence/{source}->{target}", []).append(hit[:, k].mean(0))
    by_item = {key: np.concatenate(parts) for key, parts in hits.items()}
    directions = [key for key in by_item if "a+b+c" not in key]
    by_item["coherence/mean"] = np.mean([by_item[key] for key in directions], 0)
    for size in (1, 2):
        keys = [key for key in directions if key.count("+") == size - 1]
        by_item[f"coherence/mean/{size}"] = np.mean([by_item[key] for key in keys], 0)
    for name in NAMES:
        keys = [key for key in directions if key.endswith(name)]
        by_item[f"coherence/mean->{name}"] = np.mean([by_item[key] for key in keys], 0)
    classes = np.concatenate(labels)
    expected = {}
    for key, share in by_item.items():
        expected[key] = share.mean()
        expected[f"{key}/standard_error"] = share.std() / np.sqrt(len(share) - 1)
        for c in range(3):
            expected[f"{key}/class_{c}"] = share[classes == c].mean()
    result = {key: value.item() for key, value in metric.compute().items()}
    assert result == pytest.approx(expected, abs=1e-6)


def test_one_item_has_no_standard_error() -> None:
    metric = CrossModalCoherence(NAMES, one_hot_classifiers())
    metric.update({name: torch.eye(4)[None, None, :1].repeat(1, 4, 1, 1) for name in NAMES},
                  torch.tensor([0]))  # fmt: skip
    joint = JointCoherence(NAMES, one_hot_classifiers())
    joint.update({name: torch.eye(4)[:1] for name in NAMES})
    likelihood = log_likelihood()
    likelihood.update(torch.zeros(4, 3, 3, 1))
    for made in (metric, joint, likelihood):
        result = made.compute()
        assert not any("standard_error" in key for key in result)
        assert all(value.isfinite() for value in result.values())


def test_only_what_is_there_counts() -> None:
    """A figure with items that lack modalities is that of the items that have them."""
    sources = {"a": ["b", "a+b"], "b": ["a", "a+b"]}
    has = {"a": torch.rand(90) < 0.6, "b": torch.rand(90) < 0.6}
    has["a+b"] = has["a"] & has["b"]
    there = {name: torch.stack([has[s] for s in of]) for name, of in sources.items()}
    both = {name: torch.stack([has[name], has["a+b"]]) for name in "ab"}
    label, binary = torch.randint(4, (90,)), attributes(90)
    made = {name: torch.randn(2, 2, 90, 4) for name in "ab"}  # two samples, two sources
    real, prior = ({name: torch.randn(90, 6) for name in "ab"} for _ in range(2))
    drawn = {name: torch.randn(2, 90, 6) for name in "ab"}

    def judged(rows: torch.Tensor, there: Any, both: Any) -> dict[str, torch.Tensor]:
        hits = CrossModalCoherence(["a", "b"], one_hot_classifiers(), 2, 4)
        precision = AttributeCoherence(["a", "b"], one_hot_classifiers(), ATTRIBUTES)
        distance, quality = two_distances(), ReconstructionQuality(["a", "b"], {"b": (6,)})
        some = {name: x[:, :, rows] for name, x in made.items()}
        hits.update(some, label[rows], there)
        precision.update(some, binary[rows], there)
        near, far, free = (
            {name: x[..., rows, :] for name, x in samples.items()}
            for samples in (real, drawn, prior)
        )
        one = None if there is None else {name: x[:1] for name, x in there.items()}
        distance.update(
            near,
            {name: x[:1] for name, x in far.items()},
            free,
            both and {name: x[0] for name, x in both.items()},
            one,
        )
        quality.update(near, far, both)
        attributed = {f"attributes/{key}": x for key, x in precision.compute().items()}
        return hits.compute() | attributed | distance.compute() | quality.compute()

    everything = judged(torch.arange(90), there, both)
    for source, rows in has.items():
        alone = judged(rows.nonzero().flatten(), None, None)
        for key in (key for key in everything if f"/{source}->" in key and "frechet" not in key):
            torch.testing.assert_close(everything[key], alone[key], msg=key)
        if source == "a+b":
            assert everything["coherence/mean"] == alone["coherence/mean"]
    distance, other = two_distances(), {"a": has["b"], "b": has["a"]}
    distance.update(
        {name: real[name][has[name]] for name in "ab"},
        {name: drawn[name][:1, rows] for name, rows in other.items()},
        {name: prior[name][rows] for name, rows in other.items()},
    )
    for key in ("frechet/a->b", "frechet/b->a"):
        torch.testing.assert_close(everything[key], distance.compute()[key])
    lacking = {name: torch.zeros_like(x) for name, x in there.items()}
    nothing = judged(torch.arange(90), lacking, lacking)
    assert all("chance" in key or "prior" in key for key in nothing), sorted(nothing)


def test_joint_coherence_asks_all_to_agree() -> None:
    metric = JointCoherence(NAMES, one_hot_classifiers())
    eye = torch.eye(4)
    metric.update({"a": eye, "b": eye, "c": eye[[0, 1, 3, 2]]})
    result = metric.compute()
    assert result["coherence/joint"].item() == 0.5
    assert result["coherence/joint/standard_error"].item() == pytest.approx(0.5 / 3**0.5)


@pytest.mark.parametrize("attributes", [(), ("x", "y", "z")])
def test_logits_that_are_not_finite_agree_with_nothing(attributes: tuple[str, ...]) -> None:
    metric = JointCoherence(["a", "b"], dict.fromkeys("ab", lambda x: x), attributes)
    broken = torch.full((4, 3), torch.nan)
    metric.update({"a": broken, "b": broken})
    assert metric.compute()["coherence/joint"] == 0


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
    return ModalityClassifiers(networks, max_steps=40)


def test_classifiers_are_learned_once_and_frozen(data: DigitsDataModule, tmp_path: Path) -> None:
    device = torch.device("cpu")
    first, second = classifiers(), classifiers()
    path = first.path(str(tmp_path), data.fingerprint("train"))
    assert not first.load(path, device)
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first.fit(data.endless_batches("train", 128), device)
    first.measure(data.batches("test", 128), data.fingerprint("test"))
    first.save(path)
    assert torch.equal(torch.rand(1), expected)  # the run's random stream is untouched
    assert second.load(path, device)
    assert second.score == first.score
    assert second.measured_on == data.fingerprint("test")
    assert first.score["text"] > 0.5
    for networks in (first.networks, second.networks):
        assert not any(module.training for module in networks.modules())
        assert not any(parameter.requires_grad for parameter in networks.parameters())
    batch = next(iter(data.test_dataloader()))
    scene = batch.inputs["scene"]
    assert torch.equal(first.networks["scene"](scene), second.networks["scene"](scene))
    assert [file.name for file in path.parent.iterdir()] == [path.name]  # nothing half-written


def test_classifiers_of_another_recipe_have_another_file() -> None:
    other = ModalityClassifiers({"image": MLPClassifier((1, 16, 16), 10)}, max_steps=3)
    assert other.path("root", "data") != classifiers().path("root", "data")


def test_frechet_distances_equal_scipy() -> None:
    """In the features of a classifier, means and covariances over all batches."""
    metric, features = two_distances(), two_distances().features["a"]
    batches = list(pictures())
    with torch.no_grad():
        for batch in batches:
            metric.update(*batch)
        real, generated, prior = (
            np.concatenate([features(batch[k]["b"].flatten(0, -2)).numpy() for batch in batches])
            for k in range(3)
        )
    result = metric.compute()
    for key, made in (("frechet/a->b", generated), ("frechet/prior->b", prior)):
        one, other = np.cov(real.T), np.cov(made.T)
        root = sqrtm(one @ other).real
        expected = ((real.mean(0) - made.mean(0)) ** 2).sum() + np.trace(one + other - 2 * root)
        assert result[key].item() == pytest.approx(expected, rel=1e-4)
    assert result["frechet/mean->b"] == result["frechet/a->b"]
    with pytest.raises(ValueError, match="got a classifier without a linear layer, Identity, exp"):
        ClassifierFeatures(torch.nn.Identity())


def test_what_has_no_distance_is_left_out() -> None:
    """Of a single sample, with one modality no mean over sources, and NaN for broken features."""
    metric = two_distances()
    one, many = torch.randn(1, 6), torch.randn(9, 6)
    metric.update(*(dict.fromkeys("ab", t) for t in (one, one[None], one)))
    assert metric.compute() == {}
    metric = two_distances()
    has = {"a": torch.arange(9) < 9, "b": torch.arange(9) < 1}
    there = {"a": has["b"][None], "b": has["a"][None]}
    real, generated, prior = (dict.fromkeys("ab", t) for t in (many, many[None], many))
    metric.update(real, generated, prior, has, there)
    assert set(metric.compute()) == {"frechet/prior->a"}  # of b there is one, real or made from
    classifier = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.Linear(4, 2))
    alone = FrechetDistance(["a"], {"a": ClassifierFeatures(classifier)})
    alone.update({"a": many}, {"a": many[None][:0]}, {"a": many + 1})
    assert list(alone.compute()) == ["frechet/prior->a"]
    alone.update({"a": many}, {"a": many[None][:0]}, {"a": many * torch.nan})
    assert alone.compute()["frechet/prior->a"].isnan()


def test_reconstruction_quality_by_hand() -> None:
    metric = ReconstructionQuality(["a", "b"], {"a": (3, 12, 12), "b": (5,)})
    real = {"a": torch.rand(8, 3, 12, 12), "b": torch.randn(8, 5)}
    metric.update(
        real,
        {
            "a": torch.stack([real["a"], real["a"] + 0.1]),
            "b": torch.stack([real["b"] + 1, real["b"]]),
        },
    )
    result = {key: value.item() for key, value in metric.compute().items()}
    assert "psnr/a->a" not in result  # infinite
    assert 0.5 < result.pop("ssim/a+b->a") < 1  # brighter, of the same structure
    assert result == pytest.approx(
        {"mse/a->a": 0, "ssim/a->a": 1, "mse/a+b->a": 0.01, "psnr/a+b->a": 20, "mse/b->b": 1,
         "mse/a+b->b": 0}, abs=1e-5
    )  # fmt: skip


def test_inception_features_of_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network of published distances, of random weights as its own are not at hand."""
    path = tmp_path / "weights.pth"
    with monkeypatch.context() as patched:
        patched.setattr(torch.nn.Module, "load_state_dict", lambda *_: None)
        torch.save({}, path)
        network = InceptionFeatures(str(path)).network
    torch.save(network.state_dict(), path)
    features = InceptionFeatures(str(path))
    with torch.no_grad():
        assert features(torch.rand(2, 1, 28, 28)).shape == (2, 2048)
