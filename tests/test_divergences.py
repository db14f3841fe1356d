"""Closed forms against numerical integration, Monte Carlo and SciPy."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch.distributions import MultivariateNormal

from mmvae_bary.distributions import (
    DiagonalGaussian,
    Gaussian,
    Mixture,
    diagonal_gaussian,
    full_gaussian,
    parameters,
    rebuild,
    standard_gaussian,
)
from mmvae_bary.divergences import (
    alpha,
    hellinger,
    jeffreys,
    kl,
    kl_convexity_bound,
    kl_to_standard,
    reverse_kl,
    wasserstein,
)
from tests.conftest import random_experts

P, Q = (0.3, 0.7), (-0.5, 1.4)  # mean and standard deviation


def integral(function: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> float:
    p, q = stats.norm(*P), stats.norm(*Q)
    return float(integrate.quad(lambda z: function(p.pdf(z), q.pdf(z)), -15, 15, limit=200)[0])


BY_INTEGRATION: dict[str, tuple[Callable[..., torch.Tensor], float]] = {
    "kl": (kl, integral(lambda p, q: p * np.log(p / q))),
    "reverse_kl": (reverse_kl, integral(lambda p, q: q * np.log(q / p))),
    "jeffreys": (jeffreys, integral(lambda p, q: (p - q) * np.log(p / q) / 2)),
    "hellinger": (hellinger, 1 - integral(lambda p, q: np.sqrt(p * q))),
    "alpha-0.3": (
        partial(alpha, alpha=0.3),
        (1 - integral(lambda p, q: p**0.3 * q**0.7)) / (0.3 * 0.7),
    ),
}


def gaussian(loc: float, scale: float) -> DiagonalGaussian:
    return diagonal_gaussian(torch.tensor([loc]).double(), torch.tensor([scale]).double())


@pytest.mark.parametrize("name", BY_INTEGRATION)
def test_closed_forms_equal_integrals(name: str) -> None:
    function, expected = BY_INTEGRATION[name]
    assert function(gaussian(*P), gaussian(*Q)).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("full", [False, True])
def test_the_divergence_from_the_prior_is_that_from_any_gaussian(full: bool) -> None:
    q: Gaussian = random_experts(6, 3)
    if full:
        q = full_gaussian(q.mean, torch.diag_embed(q.stddev) + torch.randn(6, 3, 3, 3).tril(-1))
    torch.testing.assert_close(kl_to_standard(q), kl(q, standard_gaussian(q)))
    bound = kl_convexity_bound(Mixture(q, torch.tensor([0.5, 0.2, 0.3])))
    torch.testing.assert_close(bound, kl(q, standard_gaussian(q)) @ torch.tensor([0.5, 0.2, 0.3]))
    leaves = [x.double().requires_grad_() for x in parameters(q)]
    assert torch.autograd.gradcheck(lambda *x: kl_to_standard(rebuild(q, *x)), leaves)


def test_wasserstein_equals_the_distance_of_quantiles() -> None:
    p, q = stats.norm(*P), stats.norm(*Q)
    expected = integrate.quad(lambda u: (p.ppf(u) - q.ppf(u)) ** 2, 0, 1, limit=200)[0]
    assert wasserstein(gaussian(*P), gaussian(*Q)).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("function", [kl, reverse_kl, jeffreys, hellinger, alpha, wasserstein])
def test_divergences_are_zero_at_equality_and_positive_elsewhere(
    function: Callable[..., torch.Tensor],
) -> None:
    p, q = random_experts(6, dtype=torch.float64), random_experts(6, dtype=torch.float64)
    torch.testing.assert_close(function(p, p), torch.zeros(6).double(), atol=1e-12, rtol=0)
    assert (function(p, q) > 0).all()
    assert function(p, random_experts(2, 6, dtype=torch.float64)).shape == (2, 6)


def test_alpha_goes_from_reverse_to_forward_kl() -> None:
    p, q = random_experts(6, dtype=torch.float64), random_experts(6, dtype=torch.float64)
    torch.testing.assert_close(alpha(p, q, 0), reverse_kl(p, q))
    torch.testing.assert_close(alpha(p, q, 1), kl(p, q))
    torch.testing.assert_close(alpha(p, q, 1e-5), reverse_kl(p, q), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(alpha(p, q, 1 - 1e-5), kl(p, q), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(alpha(p, q, 0.5), 4 * hellinger(p, q))
    with pytest.raises(ValueError, match="got alpha=2, expected a number from 0 to 1"):
        alpha(p, q, 2)


def test_convexity_bound_lies_above_the_kl_of_a_mixture() -> None:
    weights = torch.tensor([0.2, 0.5, 0.3]).double()
    q = Mixture(random_experts(4, 3, dtype=torch.float64), weights)
    p = diagonal_gaussian(torch.zeros(3).double(), torch.ones(3).double())
    points = q.sample((50_000,))
    estimate = (q.log_prob(points) - p.log_prob(points)).mean(0)
    assert (kl_convexity_bound(q, p) >= estimate - 0.02).all()
    one = random_experts(4, dtype=torch.float64)
    torch.testing.assert_close(kl_convexity_bound(one, p), kl(one, p))


def test_full_covariances() -> None:
    p = MultivariateNormal(torch.zeros(2), torch.eye(2))
    assert kl(p, p).item() == 0
    diagonal = diagonal_gaussian(torch.zeros(2), torch.ones(2))
    for divergence in (wasserstein, hellinger):
        with pytest.raises(
            TypeError, match="got a MultivariateNormal and an Independent, expected"
        ):
            divergence(p, diagonal)
