"""Log-likelihoods against linear Gaussian models, whose evidence and posteriors are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from mmvae_bary import (
    MWBVAE,
    Barycenter,
    MixtureOfExperts,
    Modality,
    MultimodalVAE,
    ProductOfExperts,
    SubsetMixture,
    WassersteinBarycenter,
)
from mmvae_bary.barycenters.subsets import powerset
from mmvae_bary.estimators import Estimate, grouped_across_items, importance_weighted
from mmvae_bary.likelihoods import Normal
from mmvae_bary.metrics import LogLikelihood
from tests.conftest import tiny_inputs, tiny_model

NAMES = ("a", "b", "c")
SHARED, OBSERVED = 2, 5
SLOPE, NOISE = 0.7, 0.8
EXACT = ProductOfExperts(prior="always")
WRONG: dict[str, Barycenter] = {
    "Gaussian": WassersteinBarycenter(),
    "mixture of experts": MixtureOfExperts(),
    "mixture of subsets": SubsetMixture(WassersteinBarycenter(), "mixture"),
}


def linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


def linear_gaussian(barycenter: Barycenter, private_dim: int = 0) -> MultimodalVAE:
    r"""A model x_m = A_m (z, s_m) + b_m + noise whose encoders know Bayes' rule.

    The columns of A_m are orthogonal, so that z and s_m are independent given x_m and have
    diagonal covariances. A product of the experts, which are the likelihoods as functions of z,
    and of the prior is the exact posterior given any subset.
    """
    width = SHARED + private_dim
    precision = SLOPE**2 / NOISE**2
    private = torch.arange(width) >= SHARED
    variance = torch.where(private, 1 / (1 + precision), 1 / precision)
    modalities = {}
    for name in NAMES:
        loading = SLOPE * torch.linalg.qr(torch.randn(OBSERVED, width))[0]
        offset = torch.randn(OBSERVED)
        mean = variance.unsqueeze(-1) * loading.T / NOISE**2
        weight = torch.cat([mean, torch.zeros_like(mean)])
        bias = torch.cat([-mean @ offset, variance.log()])
        encoder, decoder = linear(weight, bias), linear(loading, offset)
        modalities[name] = Modality((OBSERVED,), encoder, decoder, Normal(NOISE), private_dim)
    return MultimodalVAE(modalities, SHARED, barycenter).double()


def observations(model: MultimodalVAE, size: int, spread: float = 1.0) -> dict[str, Tensor]:
    """Samples of the model; with a spread above one they differ in likelihood."""
    z = spread * torch.randn(size, SHARED).double()
    with torch.no_grad():
        return {name: p.sample() for name, p in model.decode(z).items()}


def evidence(model: MultimodalVAE, inputs: dict[str, Tensor]) -> Tensor:
    """The exact log p(x) of some modalities, of shape (B,)."""
    layers = [model.modalities[name].decoder for name in inputs]
    loading = torch.cat([layer.weight[:, :SHARED] for layer in layers])  # type: ignore[index]
    own = torch.block_diag(*(layer.weight[:, SHARED:] for layer in layers))  # type: ignore[index]
    noise = NOISE**2 * torch.eye(len(loading)).double()
    covariance = loading @ loading.mT + own @ own.mT + noise
    mean = torch.cat([layer.bias for layer in layers])  # type: ignore[misc]
    x = torch.cat(list(inputs.values()), -1)
    density: Tensor = MultivariateNormal(mean, covariance).log_prob(x)
    return density.detach()


def exact(model: MultimodalVAE, inputs: dict[str, Tensor]) -> Tensor:
    """The joint evidence, then every modality's, of shape (1 + M, B)."""
    alone = [evidence(model, {name: x}) for name, x in inputs.items()]
    return torch.stack([evidence(model, inputs), *alone])


def estimated(model: MultimodalVAE, inputs: dict[str, Tensor], size: int, **how: bool) -> Estimate:
    encoding = model.encode_modalities(inputs)
    return importance_weighted(model.log_weights(inputs, encoding, size, **how))


@pytest.mark.parametrize("private_dim", [0, 2])
def test_exact_posterior_gives_the_evidence(private_dim: int) -> None:
    """One sample is enough, as all weights are one; so it is of one modality from itself."""
    model = linear_gaussian(EXACT, private_dim)
    inputs = observations(model, 6)
    expected = exact(model, inputs)
    estimate = estimated(model, inputs, 3)
    own = [estimate.value[row, 1 + row] for row in range(len(NAMES))]
    got = torch.stack([estimate.value[-1, 0], *own])
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)
    assert estimate.standard_error[-1, 0].max() < 1e-3
    torch.testing.assert_close(
        estimate.effective_sample_size[-1, 0], torch.full((6,), 3.0).double()
    )
    alone = model.log_likelihood(inputs, num_samples=1)
    torch.testing.assert_close(alone, expected[0], rtol=0, atol=1e-5)
    pair = {name: inputs[name] for name in ("c", "a")}
    got = model.log_likelihood(pair, num_samples=1)
    torch.testing.assert_close(got, evidence(model, pair), rtol=0, atol=1e-5)


@pytest.mark.parametrize("one_component", [False, True])
@pytest.mark.parametrize("private_dim", [0, 2])
@pytest.mark.parametrize("proposal", WRONG)
def test_any_proposal_is_unbiased_within_its_error(
    proposal: str, private_dim: int, one_component: bool
) -> None:
    model = linear_gaussian(WRONG[proposal], private_dim)
    inputs = observations(model, 8)
    estimate = estimated(model, inputs, 4000, one_component=one_component)
    errors = ((estimate.value - exact(model, inputs)) / estimate.standard_error).abs()
    assert estimate.standard_error.median() < 0.1
    assert (errors < 3).double().mean() > 0.95  # 0.997 of a normal variable
    assert (errors > 0.5).double().mean() > 0.4  # 0.617, so that errors are not overstated


def test_log_likelihood_given_some() -> None:
    """Of all that is there, from what a part of it, or the prior, says of the latent."""
    model = linear_gaussian(EXACT, 2)
    inputs = observations(model, 4)
    expected = evidence(model, inputs)
    for given in (["a"], ["c", "b"], []):
        got = model.log_likelihood(inputs, given, num_samples=20_000)
        torch.testing.assert_close(got, expected, rtol=0, atol=0.5)


def test_full_covariances() -> None:
    model, inputs = tiny_model(MWBVAE, 2, covariance="full"), tiny_inputs()
    diagonal = tiny_model(MWBVAE, 2)
    diagonal.load_state_dict(model.state_dict(), strict=False)
    results = []
    for judged in (model, diagonal):  # which are the same model until they are trained
        torch.manual_seed(1)
        results.append(estimated(judged, inputs, 5).value)
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("max_elements", [1, 3 * 7 * 5 * 35])
def test_memory_bound_changes_no_figure(max_elements: int) -> None:
    model, inputs = tiny_model(MWBVAE, 2), tiny_inputs()
    sizes: list[int] = []
    model.modalities["text"].decoder.register_forward_hook(
        lambda _, arguments, output: sizes.append(output.numel())
    )
    results = []
    for bound in (max_elements, 2**24):
        torch.manual_seed(1)
        encoding = model.encode_modalities(inputs)
        results.append(model.log_weights(inputs, encoding, 8, max_elements=bound))
    torch.testing.assert_close(*results)
    assert results[0].shape == (8, 7, 4, 5)
    assert max(sizes[:-1]) <= max(max_elements, 7 * 5 * 35)
    assert sizes[-1] == 8 * 7 * 5 * 35


def test_missing_modalities_and_nothing_drawn_are_refused() -> None:
    model, inputs = tiny_model(MWBVAE), tiny_inputs()
    with pytest.raises(ValueError, match="got num_samples=0, expected at least 1"):
        model.log_likelihood(inputs, num_samples=0)
    del inputs["code"]
    with pytest.raises(ValueError, match=r"inputs: got no \['code'\], expected all of \['image'"):
        model.log_weights(inputs, model.encode_modalities(inputs), 3)


def test_error_of_the_estimate_is_its_spread() -> None:
    weights = 0.8 * torch.randn(200, 3000).double()
    estimate = importance_weighted(weights)
    assert estimate.value.std().item() == pytest.approx(
        estimate.standard_error.mean().item(), rel=0.05
    )


def test_grouping_across_items_is_biased_upward() -> None:
    """Though the proposal is the exact posterior, with which any correct estimator is exact."""
    model = linear_gaussian(EXACT)
    inputs = observations(model, 64, spread=3.0)
    weights = model.log_weights(inputs, model.encode_modalities(inputs), 12)[:, -1, 0]  # (12, 64)
    expected = evidence(model, inputs).mean()
    torch.testing.assert_close(importance_weighted(weights).value.mean(), expected)
    flat = weights.flatten().numpy()  # 12 blocks of 64
    by_hand = np.log(np.exp(flat.reshape(64, 12)).mean(-1))
    got = grouped_across_items(weights).value
    np.testing.assert_allclose(got.numpy(), by_hand)
    assert got.mean() - expected > 3


def test_grouping_keeps_subsets_and_targets_apart() -> None:
    weights = torch.randn(12, 7, 4, 5)
    together = grouped_across_items(weights)
    for k in range(7):
        for t in range(4):
            alone = grouped_across_items(weights[:, k, t])
            torch.testing.assert_close(together.value[k, t], alone.value)


def test_metric_equals_numpy_in_batches() -> None:
    """Also where figures are large beside their spread, as likelihoods of pictures are."""
    batches = [3 * torch.randn(12, 3, 3, size).double() - 20_000 for size in (10, 7, 1)]
    metric = LogLikelihood(["a", "b"])
    for batch in batches:
        metric.update(batch.float())
    result = {key: value.item() for key, value in metric.compute().items()}
    weights = torch.cat(batches, -1).float().double().numpy()
    values = np.log(np.exp(weights + 20_000).mean(0)) - 20_000  # (3, 3, 18)
    shares = np.exp(weights + 20_000) / np.exp(weights + 20_000).sum(0)
    sizes = 1 / (shares**2).sum(0)
    values, sizes = (np.concatenate([x, x.mean(0, keepdims=True)]) for x in (values, sizes))
    for row, subset in enumerate([*map("+".join, powerset(["a", "b"])), "mean"]):
        for column, target in enumerate(("", "->a", "->b")):
            key = f"log_likelihood/{subset}{target}"
            of = values[row, column]
            assert result[key] == pytest.approx(of.mean(), abs=1e-2)
            error = of.std(ddof=1) / np.sqrt(18)
            assert result[f"{key}/standard_error"] == pytest.approx(error, rel=1e-2)
            size = sizes[row, column].mean()
            assert result[f"{key}/effective_sample_size"] == pytest.approx(size, rel=1e-3)
    assert len(result) == 4 * 3 * 3
