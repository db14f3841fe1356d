"""Full covariances: divergences, the Bures-Wasserstein barycenter, and barycenters by Newton."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import ot
import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from mmvae_bary import divergences
from mmvae_bary.barycenters import (
    AlphaBarycenter,
    Barycenter,
    GeometricBarycenter,
    HellingerBarycenter,
    JeffreysBarycenter,
    MomentMatchingBarycenter,
    NumericalBarycenter,
    WassersteinBarycenter,
)
from mmvae_bary.distributions import diagonal_gaussian, full_gaussian, map_parameters, select
from mmvae_bary.matrices import symmetric_sqrt
from tests.conftest import random_experts

DIVERGENCES = ["kl", "reverse_kl", "jeffreys", "hellinger", "alpha", "wasserstein"]


def random_full(*batch_shape: int, dim: int = 3, spread: float = 1.0) -> MultivariateNormal:
    """Gaussians in random directions, whose standard deviations differ by about e^spread."""
    vectors, _ = torch.linalg.qr(torch.randn(*batch_shape, dim, dim, dtype=torch.float64))
    scales = torch.exp(spread * torch.randn(*batch_shape, dim, dtype=torch.float64))
    factor = vectors * scales.unsqueeze(-2)
    loc = torch.randn(*batch_shape, dim, dtype=torch.float64)
    return full_gaussian(loc, torch.linalg.cholesky(factor @ factor.mT))


def as_full(loc: Tensor, scale: Tensor) -> MultivariateNormal:
    return full_gaussian(loc, torch.diag_embed(scale))


@pytest.mark.parametrize("name", DIVERGENCES)
def test_divergences_of_full_gaussians(name: str) -> None:
    """Those of diagonal ones, whatever the axes are called and wherever they point."""
    divergence: Callable[..., Tensor] = getattr(divergences, name)
    p, q = (random_experts(5, dim=3, dtype=torch.float64) for _ in range(2))
    full = [as_full(g.base_dist.loc, g.base_dist.scale) for g in (p, q)]
    torch.testing.assert_close(divergence(*full), divergence(p, q))
    first, second = random_full(5), random_full(5)
    turn, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))
    turned = [
        MultivariateNormal(g.loc @ turn.mT, turn @ g.covariance_matrix @ turn.mT)
        for g in (first, second)
    ]
    torch.testing.assert_close(divergence(*turned), divergence(first, second))
    assert (divergence(first, second) > 0).all()
    torch.testing.assert_close(
        divergence(first, first), torch.zeros(5, dtype=torch.float64), atol=1e-7, rtol=0
    )


def test_wasserstein_equals_pot() -> None:
    p, q = random_full(20), random_full(20)
    for row, squared in enumerate(divergences.wasserstein(p, q)):
        distance = ot.gaussian.bures_wasserstein_distance(
            p.loc[row], q.loc[row], p.covariance_matrix[row], q.covariance_matrix[row]
        )
        assert squared.item() == pytest.approx(float(distance) ** 2, rel=1e-6)


def test_wasserstein_keeps_small_distances_of_large_covariances() -> None:
    p = map_parameters(Tensor.float, random_full(200, dim=8))
    assert (divergences.wasserstein(p, p) >= 0).all()
    assert (divergences.wasserstein(p, p) < 1e-5).all()
    moved = map_parameters(lambda t: 1.001 * t, p)
    exact = divergences.wasserstein(*(map_parameters(Tensor.double, q) for q in (p, moved)))
    torch.testing.assert_close(divergences.wasserstein(p, moved), exact.float())


def test_bures_wasserstein_barycenters_equal_pot() -> None:
    """A hundred random problems, in one call and one by one."""
    experts = random_full(100, 4, dim=5)
    weights = torch.rand(100, 4, dtype=torch.float64)
    posterior = WassersteinBarycenter(tolerance=1e-10)(experts, weights)
    assert isinstance(posterior, MultivariateNormal)
    for row in range(100):
        mean, covariance = ot.gaussian.bures_wasserstein_barycenter(
            experts.loc[row].numpy(),
            experts.covariance_matrix[row].numpy(),
            (weights[row] / weights[row].sum()).numpy(),
            eps=1e-11,
        )
        np.testing.assert_allclose(posterior.loc[row], np.squeeze(mean), rtol=1e-6, atol=1e-9)
        ours = posterior.covariance_matrix[row].numpy()
        assert np.linalg.norm(ours - covariance) <= 1e-6 * np.linalg.norm(covariance)


def test_diagonal_covariances_have_the_closed_form() -> None:
    experts = random_experts(6, 3, dtype=torch.float64)
    expected = WassersteinBarycenter()(experts)
    full = as_full(experts.base_dist.loc, experts.base_dist.scale)
    posterior = WassersteinBarycenter()(full)
    torch.testing.assert_close(posterior.mean, expected.mean)
    torch.testing.assert_close(posterior.covariance_matrix, torch.diag_embed(expected.variance))  # type: ignore[union-attr]


def test_absent_full_experts_reach_nothing() -> None:
    experts = random_full(4, 3)
    loc, scale = experts.loc.clone(), experts.scale_tril.clone()
    weights = torch.tensor([[1.0, 1, 1], [1, 0, 1], [0, 0, 1], [0, 0, 0]])
    loc[weights == 0], scale[weights == 0] = torch.nan, torch.nan
    loc.requires_grad_(), scale.requires_grad_()
    posterior = WassersteinBarycenter()(full_gaussian(loc, scale), weights)
    (posterior.mean.sum() + posterior.variance.sum()).backward()
    for gradient in (loc.grad, scale.grad):
        assert gradient is not None
        assert (gradient[weights == 0] == 0).all()
        assert gradient.isfinite().all()
    third = select(experts, 2)
    assert isinstance(third, MultivariateNormal)
    torch.testing.assert_close(posterior.variance[2], third.variance[2])
    torch.testing.assert_close(posterior.variance[3], torch.ones(3, dtype=torch.float64))
    alone = WassersteinBarycenter()(map_parameters(lambda x: x[[1]][:, [0, 2]], experts))
    torch.testing.assert_close(posterior.variance[1], alone.variance[0])


def test_gradient_of_a_root_where_eigenvalues_coincide() -> None:
    matrix = torch.eye(3, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: symmetric_sqrt((x + x.mT) / 2), matrix)
    assert torch.autograd.gradgradcheck(lambda x: symmetric_sqrt((x + x.mT) / 2), matrix)


def test_gradients_through_the_fixed_point() -> None:
    experts = random_full(2, 3, spread=0.5)
    weights = torch.rand(2, 3, dtype=torch.float64).requires_grad_()

    def fuse(loc: Tensor, factor: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        posterior = WassersteinBarycenter(1e-13)(full_gaussian(loc, factor.tril()), weights)
        return posterior.mean, posterior.covariance_matrix  # type: ignore[union-attr]

    loc, factor = experts.loc.requires_grad_(), experts.scale_tril.requires_grad_()
    assert torch.autograd.gradcheck(fuse, (loc, factor, weights), check_undefined_grad=False)


def test_what_does_not_converge_is_said_with_its_residual() -> None:
    barycenter = WassersteinBarycenter(tolerance=1e-12, max_iterations=1)
    with pytest.warns(
        UserWarning, match=r"residual \d\.\de-\d+ after 1 iterations, expected at m"
    ):
        barycenter(random_full(3, dim=4))
    with pytest.raises(ValueError, match="got tolerance=0 and max_iterations=100, expected both"):
        WassersteinBarycenter(tolerance=0)
    with pytest.warns(UserWarning, match=r"step of \d\.\de[+-]\d+ after 1 iterations"):
        NumericalBarycenter(divergences.jeffreys, max_iterations=1)(random_experts(3))


def test_newton_finds_the_closed_forms() -> None:
    experts = random_experts(8, 3, dtype=torch.float64)
    weights = torch.rand(8, 3, dtype=torch.float64)
    share = (weights / weights.sum(-1, keepdim=True)).unsqueeze(-1)
    loc, scale = experts.base_dist.loc, experts.base_dist.scale
    mean = (share * loc).sum(1)
    matched = diagonal_gaussian(
        mean, ((share * (scale.square() + loc.square())).sum(1) - mean.square()).sqrt()
    )
    for divergence, expected in (
        (divergences.reverse_kl, GeometricBarycenter()(experts, weights)),
        (divergences.wasserstein, WassersteinBarycenter()(experts, weights)),
        (divergences.kl, matched),
    ):
        found = NumericalBarycenter(divergence)(experts, weights)
        torch.testing.assert_close(found.mean, expected.mean, atol=1e-8, rtol=0)
        torch.testing.assert_close(found.stddev, expected.stddev, atol=1e-8, rtol=0)


def test_newton_finds_full_covariances() -> None:
    experts = random_full(5, 3, spread=0.5)
    found = NumericalBarycenter(divergences.wasserstein)(experts)
    expected = WassersteinBarycenter(1e-12)(experts)
    torch.testing.assert_close(found.mean, expected.mean, atol=1e-7, rtol=0)
    ours, theirs = (q.covariance_matrix for q in (found, expected))  # type: ignore[union-attr]
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


def test_newton_finds_the_same_with_gradients_and_without() -> None:
    """Also in units far from one, where a gradient is large and a step of it would be wild."""
    experts = map_parameters(lambda t: 1e4 * t, random_full(5, 3, spread=0.5))
    barycenter = NumericalBarycenter(divergences.wasserstein)
    followed = barycenter(map_parameters(lambda t: t.requires_grad_(), experts))
    with torch.no_grad():
        expected = barycenter(experts)
    torch.testing.assert_close(followed.mean, expected.mean, rtol=1e-10, atol=0)
    torch.testing.assert_close(followed.variance, expected.variance, rtol=1e-10, atol=0)


FULL_GRADIENTS: dict[str, Callable[[], Barycenter]] = {
    "jeffreys": JeffreysBarycenter,
    "moments": MomentMatchingBarycenter,
    "hellinger": HellingerBarycenter,
    "alpha": lambda: AlphaBarycenter(0.5, tolerance=1e-9),
    "numerical": lambda: NumericalBarycenter(divergences.jeffreys, tolerance=1e-9),
}


@pytest.mark.parametrize("name", FULL_GRADIENTS)
def test_gradients_of_full_covariances(name: str) -> None:
    experts = random_full(1, 2, dim=2, spread=0.5)
    weights = torch.rand(1, 2, dtype=torch.float64).requires_grad_()

    def fuse(loc: Tensor, factor: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        posterior = FULL_GRADIENTS[name]()(full_gaussian(loc, factor.tril()), weights)
        return posterior.mean, posterior.covariance_matrix  # type: ignore[union-attr]

    inputs = (experts.loc.requires_grad_(), experts.scale_tril.requires_grad_(), weights)
    assert torch.autograd.gradcheck(fuse, inputs, check_undefined_grad=False, fast_mode=True)


def test_gradients_through_newton_reach_the_divergence() -> None:
    experts = random_experts(2, 3, dtype=torch.float64)
    weights = torch.rand(2, 3, dtype=torch.float64).requires_grad_()
    share = torch.tensor(0.3, dtype=torch.float64).requires_grad_()

    def fuse(loc: Tensor, scale: Tensor, weights: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        def divergence(p: MultivariateNormal, q: MultivariateNormal, /) -> Tensor:
            return divergences.kl(q, p) + share * divergences.wasserstein(p, q)

        barycenter = NumericalBarycenter(divergence, tolerance=1e-10)  # type: ignore[arg-type]
        posterior = barycenter(diagonal_gaussian(loc, scale), weights)
        return posterior.mean, posterior.stddev

    loc, scale = (x.requires_grad_() for x in (experts.base_dist.loc, experts.base_dist.scale))
    assert torch.autograd.gradcheck(fuse, (loc, scale, weights, share), check_undefined_grad=False)
