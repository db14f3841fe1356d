"""Mixtures against torch and Monte Carlo, and the helpers for both Gaussian families."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import (
    Categorical,
    MixtureSameFamily,
    kl_divergence,
)

from mmvae_bary.distributions import (
    Mixture,
    diagonal_gaussian,
    full_gaussian,
    seeded,
    stack,
    standard_gaussian,
    standardized,
    take,
    where,
)
from tests.conftest import random_experts


def random_mixture(*batch_shape: int, components: int = 4) -> Mixture:
    weights = torch.rand(*batch_shape, components).double()
    weights[..., 1] = 0  # one component is absent
    weights = weights / weights.sum(-1, keepdim=True)
    return Mixture(random_experts(*batch_shape, components, dtype=torch.float64), weights)


def reference(mixture: Mixture) -> MixtureSameFamily:
    """Torch's mixture of the components of positive weight."""
    keep = [0, 2, 3]
    components = diagonal_gaussian(
        mixture.components.mean[..., keep, :], mixture.components.stddev[..., keep, :]
    )
    return MixtureSameFamily(Categorical(mixture.weights[..., keep]), components)


def test_density_and_moments_equal_those_of_torch() -> None:
    mixture = random_mixture(5)
    points = torch.randn(7, 5, 3, dtype=torch.float64)
    other = reference(mixture)
    torch.testing.assert_close(mixture.log_prob(points), other.log_prob(points))
    torch.testing.assert_close(mixture.mean, other.mean)
    torch.testing.assert_close(mixture.variance, other.variance)


def test_absent_component_with_nan_has_no_density() -> None:
    loc = torch.tensor([[0.0], [torch.nan]], requires_grad=True)
    mixture = Mixture(diagonal_gaussian(loc, torch.ones(2, 1)), torch.tensor([1.0, 0.0]))
    point = torch.zeros(1)
    torch.testing.assert_close(
        mixture.log_prob(point), torch.distributions.Normal(0, 1).log_prob(point)[0]
    )
    assert mixture.mean.isfinite()
    assert mixture.rsample((100,)).isfinite().all()


def test_draws_have_the_mixture_s_moments() -> None:
    mixture = random_mixture(2)
    draws = mixture.rsample((200_000,))
    torch.testing.assert_close(draws.mean(0), mixture.mean, atol=0.02, rtol=0)
    torch.testing.assert_close(draws.var(0), mixture.variance, atol=0.05, rtol=0)


def chosen(mixture: Mixture, *shape: int) -> Tensor:
    """Which component each draw came from, told by its mean."""
    return mixture.choose(shape).mean[..., 0].round().long()


def numbered_mixture(weights: Tensor) -> Mixture:
    loc = torch.arange(float(weights.shape[-1])).unsqueeze(-1).expand(*weights.shape, 1)
    return Mixture(diagonal_gaussian(loc, torch.ones_like(loc)), weights)


def test_draws_of_a_batch_are_stratified() -> None:
    """With equal weights the counts of the components differ by one at most."""
    counts = chosen(numbered_mixture(torch.full((128, 7), 1 / 7))).bincount(minlength=7)
    assert counts.max() - counts.min() <= 1


def test_every_item_gets_every_component_with_its_weight() -> None:
    """The strata go to the items in random order, so that position in the batch tells nothing."""
    weights = torch.tensor([[0.5, 0.0, 0.5], [0.1, 0.9, 0.0], [0.2, 0.3, 0.5], [0.0, 1.0, 0.0]])
    mixture = numbered_mixture(weights)
    draws = torch.stack([chosen(mixture) for _ in range(4000)])
    shares = torch.nn.functional.one_hot(draws, 3).float().mean(0)
    torch.testing.assert_close(shares, weights, atol=0.03, rtol=0)
    assert (shares[weights == 0] == 0).all()


def test_gradient_of_draws_is_unbiased() -> None:
    """The derivative of E[z^2] with respect to each component's mean is 2 w_k mu_k."""
    loc = torch.tensor([[1.0], [-2.0]], requires_grad=True)
    weights = torch.tensor([0.25, 0.75])
    draws = Mixture(diagonal_gaussian(loc, torch.ones(2, 1)), weights).rsample((100_000,))
    draws.square().mean().backward()
    assert loc.grad is not None
    torch.testing.assert_close(loc.grad, torch.tensor([[0.5], [-3.0]]), atol=0.05, rtol=0)


def test_entropy_lies_between_its_bounds() -> None:
    mixture = random_mixture(3)
    entropy = -mixture.log_prob(mixture.sample((50_000,))).mean(0)
    lower, upper = mixture.entropy_bounds()
    assert (lower <= entropy + 0.02).all()
    assert (entropy <= upper + 0.02).all()


def test_expand_keeps_the_density() -> None:
    mixture = random_mixture(2)
    points = torch.randn(3, 2, 3, dtype=torch.float64)
    torch.testing.assert_close(mixture.expand((3, 2)).log_prob(points), mixture.log_prob(points))
    assert "Mixture(4 x " in repr(mixture)


def test_helpers_take_both_families() -> None:
    full = full_gaussian(torch.randn(5, 2), torch.eye(2).expand(5, 2, 2) * 2)
    for gaussian in (full, random_experts(5)):
        both = stack([gaussian, standard_gaussian(gaussian)])
        assert type(both) is type(gaussian)
        assert both.batch_shape == (5, 2)
        picked = take(both, torch.tensor([0, 1, 0, 1, 0]))
        odd = torch.tensor([False, True, False, True, False])
        expected = where(odd, standard_gaussian(gaussian), gaussian)
        torch.testing.assert_close(
            kl_divergence(picked, expected), torch.zeros(5), atol=1e-5, rtol=0
        )


def test_seeded_draws_leave_the_stream_alone() -> None:
    device = torch.device("cpu")
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    with seeded(5, device):
        inside = torch.rand(2)
    torch.testing.assert_close(torch.rand(2), expected)
    with seeded(5, device):
        torch.testing.assert_close(torch.rand(2), inside)


def test_seeds_of_the_cpu_leave_other_devices_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", called.append)
    with seeded(3, torch.device("cpu")):
        torch.rand(1)
    assert not called


def test_log_densities_can_be_differentiated_twice() -> None:
    # as where a barycenter is found by Newton's method of a divergence that asks for densities
    inputs = [
        torch.randn(4, dtype=torch.double, requires_grad=True),
        torch.randn(4, dtype=torch.double, requires_grad=True),
        torch.rand(4, dtype=torch.double).add(0.5).requires_grad_(),
    ]
    assert torch.autograd.gradgradcheck(standardized, inputs)
