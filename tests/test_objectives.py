"""The ELBO against hand-made sums and against the exact evidence of a linear Gaussian model."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Independent, Normal

from mmvae_bary.distributions import (
    DiagonalGaussian,
    Mixture,
    diagonal_gaussian,
    standard_gaussian,
)
from mmvae_bary.divergences import kl
from mmvae_bary.objectives import PrivateLatent, elbo
from tests.conftest import random_experts


def normal(loc: torch.Tensor, scale: float = 1.0) -> DiagonalGaussian:
    return diagonal_gaussian(loc, torch.full_like(loc, scale))


def test_terms_by_hand() -> None:
    q, private = random_experts(4), random_experts(4)
    x = {"a": torch.randn(4, 2), "b": torch.randn(4, 5)}
    likelihoods = {name: normal(torch.randn_like(value)) for name, value in x.items()}
    terms = elbo(
        q,
        likelihoods,
        x,
        weights={"a": 2.0, "b": 0.5},
        beta=2.5,
        private={"b": PrivateLatent(private, 3.0)},
    )
    prior = standard_gaussian(q)
    nll_a, nll_b = (-likelihoods[name].log_prob(x[name]) for name in "ab")
    expected = 2 * nll_a + 0.5 * nll_b + 2.5 * (kl(q, prior) + 3 * kl(private, prior))
    torch.testing.assert_close(terms.loss, expected.mean())
    torch.testing.assert_close(terms.log_likelihood["b"], -nll_b.mean())
    torch.testing.assert_close(terms.kl, kl(q, prior).mean())


def test_absent_modalities_add_nothing_and_every_sample_counts_once() -> None:
    q = random_experts(4)
    x = {"a": torch.randn(4, 2), "b": torch.randn(4, 5)}
    likelihoods = {name: normal(torch.zeros_like(value)) for name, value in x.items()}
    present = {"a": torch.tensor([True] * 4), "b": torch.tensor([True, False, False, False])}
    arguments = {"weights": {"a": 1.0, "b": 1.0}, "beta": 1.0}
    terms = elbo(q, likelihoods, x, present=present, **arguments)  # type: ignore[arg-type]
    nll_a, nll_b = (-likelihoods[name].log_prob(x[name]) for name in "ab")
    expected = (nll_a + kl(q, standard_gaussian(q))).sum() + nll_b[0]
    torch.testing.assert_close(terms.loss, expected / 4)
    torch.testing.assert_close(terms.log_likelihood["b"], -nll_b[0])


def test_elbo_with_the_exact_posterior_is_the_evidence() -> None:
    """x = z + noise: with the posterior of Bayes' rule the bound is tight, for any sample z."""
    x = torch.randn(6, 3, dtype=torch.float64)
    q = normal(x / 2, 0.5**0.5)
    z = q.sample((20_000,))
    terms = elbo(
        q.expand((20_000, 6)),
        {"x": Independent(Normal(z, 1.0), 1)},
        {"x": x},
        weights={"x": 1.0},
        beta=1.0,
    )
    evidence = normal(torch.zeros_like(x), 2**0.5).log_prob(x).mean()
    torch.testing.assert_close(-terms.loss, evidence, atol=0.02, rtol=0)


@pytest.mark.parametrize("batch_size", [1, 16])
def test_weights_of_a_mixture_learn(batch_size: int) -> None:
    """By the gradient of the expected squared error; nearly, where a batch is its own baseline."""
    logits = torch.tensor([0.3, -0.2]).requires_grad_()
    components = diagonal_gaussian(torch.tensor([[0.0], [2.0]]), torch.full((2, 1), 0.1))
    exact = (logits.softmax(0) * torch.tensor([0.0, 2.0])).sum()
    (expected,) = torch.autograd.grad(exact, logits)
    x = torch.zeros(batch_size, 1)
    found = torch.zeros(2)
    for _ in range(2000):
        q = Mixture(components, logits.softmax(0)).expand((batch_size,))
        z = q.rsample()
        ratio = q.weight_ratio(z.detach())
        terms = elbo(
            q, {"x": normal(z)}, {"x": x}, weights={"x": 1.0}, beta=0.0, weight_ratio=ratio
        )
        found += torch.autograd.grad(terms.loss, logits)[0] / 2000
    torch.testing.assert_close(found, expected, atol=0.08, rtol=0)


def test_divergence_of_a_mixture_is_the_convexity_bound() -> None:
    components = random_experts(4, 3)
    q = Mixture(components, torch.tensor([0.5, 0.25, 0.25]))
    x = {"a": torch.zeros(4, 2)}
    terms = elbo(q, {"a": normal(x["a"])}, x, weights={"a": 1.0}, beta=1.0)
    expected = (q.weights * kl(components, standard_gaussian(components))).sum(-1).mean()
    torch.testing.assert_close(terms.kl, expected)
