"""What holds of every barycenter on experts drawn by Hypothesis, diagonal and full.

Standard deviations go from 1e-4 to 1e4, condition numbers of covariances to 1e6, and there are one
to eight experts. A property sees 25 problems of each kind for each member, 1,000 under
``--hypothesis-profile nightly``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal

from mmvae_bary.barycenters import (
    AlphaBarycenter,
    Barycenter,
    GeometricBarycenter,
    HellingerBarycenter,
    HellingerMixture,
    JeffreysBarycenter,
    MixtureOfExperts,
    MomentMatchingBarycenter,
    NumericalBarycenter,
    PrecisionWeights,
    ProductOfExperts,
    SubsetMixture,
    WassersteinBarycenter,
    WeightedBarycenter,
)
from mmvae_bary.distributions import (
    Gaussian,
    diagonal_gaussian,
    full_gaussian,
    map_parameters,
    parameters,
    rebuild,
    unsqueeze_last,
)
from mmvae_bary.divergences import kl, wasserstein
from tests.conftest import barycenter_names

# Those that return the Gaussian at which their own divergence is smallest
MINIMISERS: dict[str, Callable[[], Barycenter]] = {
    "geometric": GeometricBarycenter,
    "moments": MomentMatchingBarycenter,
    "wasserstein": WassersteinBarycenter,
    "jeffreys": JeffreysBarycenter,
    "numerical-kl": lambda: NumericalBarycenter(kl),
}
MEMBERS: dict[str, Callable[[], Barycenter]] = {
    **MINIMISERS,
    "mixture": MixtureOfExperts,
    "hellinger": HellingerBarycenter,
    "hellinger-mixture": HellingerMixture,
    "alpha": lambda: AlphaBarycenter(0.5),
    "product": lambda: ProductOfExperts("never"),
    "mopoe": lambda: SubsetMixture(ProductOfExperts("full_set")),
    "mwb": lambda: SubsetMixture(WassersteinBarycenter()),
    "weighted": lambda: WeightedBarycenter(WassersteinBarycenter(), PrecisionWeights()),
}
members = pytest.mark.parametrize("name", MEMBERS)
kinds = pytest.mark.parametrize("kind", ["diagonal", "full"])


class Problem(NamedTuple):
    """Experts of batch shape (2, M) and their weights, (2, M)."""

    experts: Gaussian
    weights: Tensor


def numbers(*shape: int) -> st.SearchStrategy[Tensor]:
    """Numbers in [-1, 1]."""
    return arrays(np.float64, shape, elements=st.floats(-1, 1)).map(torch.tensor)


@st.composite
def problems(draw: st.DrawFn, kind: str) -> Problem:
    m, d = draw(st.integers(1, 8)), draw(st.integers(1, 3))
    loc = 10 ** draw(st.integers(-2, 3)) * draw(numbers(2, m, d))
    present = draw(arrays(np.bool_, (2, m)).map(torch.tensor))
    present[:, draw(st.integers(0, m - 1))] = True
    weights = present * (1 + 0.9 * draw(numbers(2, m)))
    if kind == "diagonal":
        return Problem(diagonal_gaussian(loc, 10 ** (4 * draw(numbers(2, m, d)))), weights)
    # one size for each expert, and in it standard deviations within a factor of 1e3
    scales = 10 ** (2.5 * draw(numbers(2, m, 1)) + 1.5 * draw(numbers(2, m, d)))
    turns, _ = torch.linalg.qr(draw(numbers(2, m, d, d)) + 2 * torch.eye(d, dtype=torch.float64))
    _, factor = torch.linalg.qr((turns * scales.unsqueeze(-2)).mT)
    signs = factor.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-1)
    return Problem(full_gaussian(loc, (signs * factor).mT), weights)


def moments(q: Distribution, like: Gaussian) -> tuple[Tensor, Tensor]:
    """Mean and standard deviations, in units of the widest expert."""
    unit = like.stddev.amax((-2, -1), keepdim=True).squeeze(-1)
    unit = unit + like.mean.abs().amax((-2, -1), keepdim=True).squeeze(-1)
    return q.mean / unit, q.stddev / unit


def assert_same(p: Distribution, q: Distribution, like: Gaussian, tolerance: float) -> None:
    for ours, theirs in zip(moments(p, like), moments(q, like), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


def test_every_barycenter_is_a_member() -> None:
    assert {type(make()).__name__ for make in MEMBERS.values()} == barycenter_names()


@members
@kinds
@given(data=st.data())
def test_finite_and_deaf_to_what_is_absent(name: str, kind: str, data: st.DataObject) -> None:
    experts, weights = data.draw(problems(kind))
    barycenter = MEMBERS[name]()
    loc, scale = (x.clone() for x in parameters(experts))
    posterior = barycenter(experts, weights)
    assert posterior.mean.isfinite().all()
    assert (posterior.stddev > 0).all()
    loc[weights == 0] = scale[weights == 0] = torch.nan
    absent = barycenter(rebuild(experts, loc, scale), weights)
    assert torch.equal(absent.mean, posterior.mean)
    assert torch.equal(absent.stddev, posterior.stddev)


@members
@kinds
@given(data=st.data())
def test_equal_experts_give_themselves(name: str, kind: str, data: st.DataObject) -> None:
    experts, weights = data.draw(problems(kind))
    if name in {"product", "mopoe"}:  # they sharpen; one expert alone must come back
        weights = torch.eye(weights.shape[-1], dtype=torch.float64)[[0]].expand_as(weights)
    alike = map_parameters(lambda x: x[:, :1].expand_as(x), experts)
    one = map_parameters(lambda x: x[:, 0], experts)
    if name == "mopoe" and weights.shape[-1] == 1:  # the full set, with the prior
        return
    assert_same(MEMBERS[name]()(alike, weights), one, alike, 1e-6)


@members
@kinds
@given(data=st.data())
def test_order_does_not_matter(name: str, kind: str, data: st.DataObject) -> None:
    experts, weights = data.draw(problems(kind))
    order = data.draw(st.permutations(range(weights.shape[-1])))
    shuffled = map_parameters(lambda x: x[:, order], experts)
    barycenter = MEMBERS[name]()
    first, second = barycenter(experts, weights), barycenter(shuffled, weights[:, order])
    if name != "alpha":  # which has several minima, one of which its start chooses
        assert_same(first, second, experts, 1e-5)


@pytest.mark.parametrize("name", MINIMISERS)
@kinds
@given(data=st.data())
def test_no_perturbation_lowers_the_objective(name: str, kind: str, data: st.DataObject) -> None:
    experts, weights = data.draw(problems(kind))
    barycenter = MINIMISERS[name]()
    posterior = barycenter(experts, weights)
    loc, scale = parameters(posterior)

    def objective(q: Gaussian) -> Tensor:
        divergences = barycenter.divergence(experts, unsqueeze_last(q))
        return torch.where(weights > 0, weights * divergences, 0).sum(-1)

    lowest = objective(rebuild(experts, loc, scale))
    unit = posterior.stddev
    for size in (1e-3, 1e-1):
        shift, factor = size * data.draw(numbers(*loc.shape)), size * data.draw(numbers(2, 1))
        grown = scale * factor.exp().reshape(2, *[1] * (scale.ndim - 1))
        other = objective(rebuild(experts, loc + unit * shift, grown))
        assert (other >= lowest - 1e-7 * (1 + lowest.abs())).all()


@members
@given(data=st.data())
def test_diagonal_covariances_give_the_diagonal_answer(name: str, data: st.DataObject) -> None:
    """Their diagonal: moments of several means are correlated between dimensions."""
    experts, weights = data.draw(problems("diagonal"))
    if name in {"jeffreys", "alpha"}:  # whose diagonal answers are another family's minimum
        experts = map_parameters(lambda x: x[..., :1], experts)
    loc, scale = parameters(experts)
    barycenter = MEMBERS[name]()
    full = barycenter(full_gaussian(loc, torch.diag_embed(scale)), weights)
    assert_same(full, barycenter(experts, weights), experts, 1e-5)


@settings(max_examples=200)
@given(problem=problems("full"))
def test_wasserstein_satisfies_its_equation(problem: Problem) -> None:
    """Eq. 6, as an average of transport maps that is the identity."""
    experts, weights = problem
    posterior = WassersteinBarycenter(tolerance=1e-11)(experts, weights)
    assert isinstance(posterior, MultivariateNormal)
    assert isinstance(experts, MultivariateNormal)
    factor, covariances = posterior.scale_tril.unsqueeze(1), experts.covariance_matrix
    values, vectors = torch.linalg.eigh(factor.mT @ covariances @ factor)
    roots = vectors @ torch.diag_embed(values.clamp(min=0).sqrt()) @ vectors.mT
    share = (weights / weights.sum(-1, keepdim=True))[..., None, None]
    product = (factor.mT @ factor).squeeze(1)
    residual = torch.linalg.matrix_norm((share * roots).sum(1) - product)
    assert (residual <= 1e-6 * torch.linalg.matrix_norm(product)).all()


def test_wasserstein_distance_is_symmetric() -> None:
    p, q = (diagonal_gaussian(torch.randn(5, 3), torch.rand(5, 3) + 0.1) for _ in range(2))
    torch.testing.assert_close(wasserstein(p, q), wasserstein(q, p))
