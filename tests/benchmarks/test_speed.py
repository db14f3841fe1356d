"""What takes time, piece by piece, at the digits' shapes.

Run once each by the tests; ``pytest tests/benchmarks --benchmark-enable`` times them, and with
``--benchmark-autosave`` and ``--benchmark-compare`` compares with an earlier time.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mmvae_bary import MWBVAE, WBVAE, Batch, MoEVAE, MoPoEVAE, MultimodalVAE, PoEVAE
from mmvae_bary.callbacks.evaluation import source_rows
from mmvae_bary.distributions import diagonal_gaussian
from mmvae_bary.divergences import kl_convexity_bound
from mmvae_bary.metrics import CrossModalCoherence, LinearProbe
from mmvae_bary.metrics.coherence import judged_sources
from tests.benchmarks.compare import SETTINGS, stepping

DIGITS = SETTINGS["digits"]
PRESETS = [PoEVAE, MoEVAE, MoPoEVAE, WBVAE, MWBVAE]


@pytest.fixture
def model() -> MultimodalVAE:
    return DIGITS.model(MWBVAE).eval()


@pytest.mark.parametrize("cls", PRESETS)
def test_training_step(benchmark: Any, cls: type[MultimodalVAE]) -> None:
    made, batch = DIGITS.model(cls), Batch(DIGITS.tensors(DIGITS.batch_size))
    benchmark(stepping(made, lambda: made.elbo(batch, made.encode_batch(batch)).loss))


@pytest.mark.parametrize("cls", PRESETS)
def test_fusion_forward_and_backward(benchmark: Any, cls: type[MultimodalVAE]) -> None:
    barycenter = DIGITS.model(cls).barycenter
    loc = torch.randn(256, 5, 64, requires_grad=True)
    scale = torch.rand(256, 5, 64).add(0.5).requires_grad_()

    def fuse() -> None:
        q = barycenter(diagonal_gaussian(loc, scale))
        loss = kl_convexity_bound(q).sum() + q.rsample().sum()
        torch.autograd.grad(loss, (loc, scale))

    benchmark(fuse)


@torch.inference_mode()
def test_log_likelihood_given_every_subset(benchmark: Any, model: MultimodalVAE) -> None:
    inputs = DIGITS.tensors(64)
    encoding = model.encode_modalities(inputs)
    benchmark(model.log_weights, inputs, encoding, num_samples=12)


@torch.inference_mode()
def test_coherence(benchmark: Any, model: MultimodalVAE) -> None:
    inputs, label = DIGITS.tensors(64), torch.arange(64) % 10
    judge = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 10))
    metric = CrossModalCoherence(model.names, dict.fromkeys(model.names, judge))
    rows = source_rows(model, judged_sources)

    def update() -> None:
        z = model.conditionals(model.encode_modalities(inputs)).rsample((1,))
        made = {k: model.decode_modality(k, z[:, r]).mean for k, r in rows.items()}
        metric.update(made, label)

    benchmark(update)


def test_linear_probe_of_every_subset(benchmark: Any) -> None:
    probe = LinearProbe([f"m{m}" for m in range(5)], num_classes=10)
    features, label = torch.randn(31, 500, 20), torch.arange(500) % 10
    benchmark(probe.fit, features, label)
