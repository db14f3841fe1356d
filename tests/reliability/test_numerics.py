"""Nothing but finite numbers from experts, decoder outputs and weights drawn by Hypothesis.

Standard deviations go from 1e-20 to 1e20 and means to 1e6 in float32 and bfloat16. Float16 holds
numbers from 6e-8 to 65504 only: there they go from 1e-7 to 3e4, and means to 5e4. Every expert has
a size of its own, and where covariances are diagonal every dimension. Full covariances have
condition numbers to 1e6 each; how far experts are from each other has no bound.

Hypothesis draws batches of ``ROWS`` rows in one dtype, of which each is a case and counted as one,
for its numbers are its own. So a function sees 100 cases of either kind of covariance, and 4,000
under ``--hypothesis-profile nightly``.

What torch's own classes say is not ours to mend: variances, and of full covariances the densities
and standard deviations of one Gaussian, square float32 numbers in float32. Densities are therefore
asked of ``log_density``, as estimators do, and scales of ``parameters``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Literal, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from mmvae_bary import divergences, estimators, likelihoods
from mmvae_bary.barycenters import (
    AlphaBarycenter,
    Barycenter,
    LearnedWeights,
    NumericalBarycenter,
    ProductOfExperts,
    SubsetMixture,
    WassersteinBarycenter,
    WeightedBarycenter,
)
from mmvae_bary.distributions import (
    Gaussian,
    Mixture,
    Posterior,
    diagonal_gaussian,
    full_gaussian,
    log_density,
    map_parameters,
    parameters,
)
from mmvae_bary.likelihoods import Likelihood
from mmvae_bary.objectives import PrivateLatent, elbo
from tests.conftest import barycenter_names
from tests.reliability.conftest import Tally
from tests.test_barycenter_properties import MEMBERS as PROPERTIES

ROWS, M, D = 4, 3, 2
DTYPES = (torch.float16, torch.bfloat16, torch.float32)

MEMBERS: dict[str, Callable[[], Barycenter]] = {
    **PROPERTIES,
    # few steps, for one row that takes many holds up the others; wherever they end is finite
    "alpha": lambda: AlphaBarycenter(0.5, max_iterations=8),
    "numerical-kl": lambda: NumericalBarycenter(divergences.kl, max_iterations=8),
    "product-always": lambda: ProductOfExperts("always"),
    "mopoe-prior": lambda: SubsetMixture(ProductOfExperts("never"), prior_weight=1.0),
    "mwb-drawn": lambda: SubsetMixture(WassersteinBarycenter(), max_subsets=3),
    "mopoe-weighted": lambda: SubsetMixture(
        WeightedBarycenter(ProductOfExperts("never"), LearnedWeights(M))
    ),
}
DIVERGENCES: dict[str, Callable[[Gaussian, Gaussian], Tensor]] = {
    "kl": divergences.kl,
    "reverse_kl": divergences.reverse_kl,
    "jeffreys": divergences.jeffreys,
    "hellinger": divergences.hellinger,
    "alpha": lambda p, q: divergences.alpha(p, q, 0.3),
    "wasserstein": divergences.wasserstein,
    "log_chernoff": lambda p, q: divergences.log_chernoff(p, q, 0.7),
    "kl_to_standard": lambda p, q: divergences.kl_to_standard(p),
    "kl_convexity_bound": lambda p, q: divergences.kl_convexity_bound(p, q),
}
LIKELIHOODS: dict[str, Callable[[float], Likelihood]] = {
    "Normal": lambda scale: likelihoods.Normal(scale, learnable=True),
    "Laplace": lambda scale: likelihoods.Laplace(scale, learnable=True),
    "Bernoulli": lambda scale: likelihoods.Bernoulli(),
    "Categorical": lambda scale: likelihoods.Categorical(),
    "Poisson": lambda scale: likelihoods.Poisson(),
    "NegativeBinomial": likelihoods.NegativeBinomial,
}
ESTIMATORS: dict[str, Callable[[Tensor], estimators.Estimate]] = {
    "importance_weighted": estimators.importance_weighted,
    "grouped_across_items": estimators.grouped_across_items,
}

kinds = pytest.mark.parametrize("kind", ["diagonal", "full"])
# that an iteration stopped before it was exact is told by a warning, as it should be
may_stop_early = pytest.mark.filterwarnings("ignore:.*barycenter. (step|residual) of:UserWarning")
# the tally is to go on from example to example
counted = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


class Problem(NamedTuple):
    """Leaves of a graph: means, scales and weights of experts of batch shape (ROWS, M)."""

    loc: Tensor
    scale: Tensor
    weights: Tensor

    @property
    def experts(self) -> Gaussian:
        make = full_gaussian if self.scale.ndim > self.loc.ndim else diagonal_gaussian
        return make(self.loc, self.scale)


def numbers(*shape: int) -> st.SearchStrategy[Tensor]:
    """Numbers in [-1, 1]."""
    return arrays(np.float64, shape, elements=st.floats(-1, 1)).map(torch.tensor)


@st.composite
def problems(draw: st.DrawFn, kind: str, dtype: torch.dtype) -> Problem:
    half = dtype == torch.float16
    loc = 10 ** ((4.7 if half else 6) * draw(numbers(ROWS, M, D))) * draw(numbers(ROWS, M, D))
    present = draw(arrays(np.bool_, (ROWS, M)).map(torch.tensor))
    weights = present * 10 ** (2 * draw(numbers(ROWS, M)))
    if kind == "diagonal":
        exponents = draw(numbers(ROWS, M, D))
        scale = 10 ** (5.75 * exponents - 1.25 if half else 20 * exponents)
    else:
        sizes = 10 ** ((3 if half else 18.5) * draw(numbers(ROWS, M, 1)))
        scale = factors(sizes * 10 ** (1.5 * draw(numbers(ROWS, M, D))), draw(numbers(ROWS, M)))
    leaves = loc.to(dtype), scale.to(dtype), weights.float()
    return Problem(*(leaf.requires_grad_() for leaf in leaves))


def factors(scales: Tensor, turns: Tensor) -> Tensor:
    """Cholesky factors of covariances in the plane with these scales, turned by up to half."""
    sine, cosine = (torch.pi * turns).sin(), (torch.pi * turns).cos()
    turn = torch.stack([cosine, -sine, sine, cosine], -1).unflatten(-1, (2, 2))
    _, upper = torch.linalg.qr(scales.unsqueeze(-1) * turn)
    factor: Tensor = (upper.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-1) * upper).mT
    return factor


def assert_finite(
    tally: Tally, kind: str, outputs: Iterable[Tensor], loss: Tensor, leaves: Iterable[Tensor]
) -> None:
    """Row by row, outputs and the gradients of their loss.

    A loss in float16 is scaled, as a gradient scaler would, for gradients there overflow.
    """
    leaves = [leaf for leaf in leaves if leaf.requires_grad]
    size = 2.0**-100 if any(leaf.dtype == torch.float16 for leaf in leaves) else 1.0
    gradients = torch.autograd.grad(size * loss, leaves, allow_unused=True)
    assert loss.isfinite()
    found = [x for x in (*outputs, *gradients) if x is not None]
    for row in range(ROWS):
        with tally(kind):
            for x in found:
                by_row = x.ndim > 0 and len(x) == ROWS
                assert x[row if by_row else ...].isfinite().all()


def moments(q: Posterior) -> list[Tensor]:
    """What must be finite, and above zero where it is a scale."""
    components = q.components if isinstance(q, Mixture) else q
    loc, scale = parameters(components)
    spread = scale.diagonal(dim1=-2, dim2=-1) if scale.ndim > loc.ndim else scale
    assert (spread > 0).all()
    own = [q.mean, q.stddev, q.weights] if isinstance(q, Mixture) else []
    return [loc, scale, *own]


def public_functions(module: ModuleType) -> set[str]:
    found = inspect.getmembers(module, inspect.isfunction)
    return {
        name for name, f in found if f.__module__ == module.__name__ and not name.startswith("_")
    }


def test_nothing_is_left_out() -> None:
    assert {type(make()).__name__ for make in MEMBERS.values()} == barycenter_names()
    assert set(DIVERGENCES) == public_functions(divergences)
    assert {*ESTIMATORS, "log_weights"} == public_functions(estimators)
    classes = dict(inspect.getmembers(likelihoods, inspect.isclass))
    concrete = {
        name
        for name, cls in classes.items()
        if issubclass(cls, Likelihood) and not inspect.isabstract(cls) and not name.startswith("_")
    }
    assert set(LIKELIHOODS) == concrete


@pytest.mark.parametrize("name", MEMBERS)
@kinds
@may_stop_early
@counted
@given(data=st.data())
def test_barycenters(name: str, kind: str, data: st.DataObject, tally: Tally) -> None:
    problem = data.draw(st.sampled_from(DTYPES).flatmap(lambda dtype: problems(kind, dtype)))
    barycenter = MEMBERS[name]()
    q = barycenter(problem.experts, problem.weights)
    z = q.rsample()
    bound, density = divergences.kl_convexity_bound(q), log_density(q, z)
    loss = z.mean() + bound.mean() - density.mean()
    outputs = [*moments(q), z, bound, density]
    assert_finite(tally, "fuzzed barycenters", outputs, loss, [*problem, *barycenter.parameters()])


@pytest.mark.parametrize("name", DIVERGENCES)
@kinds
@counted
@given(data=st.data())
def test_divergences(name: str, kind: str, data: st.DataObject, tally: Tally) -> None:
    dtype = data.draw(st.sampled_from(DTYPES))
    p, q = (data.draw(problems(kind, dtype)) for _ in range(2))
    value = DIVERGENCES[name](p.experts, q.experts)
    leaves = [p.loc, p.scale, q.loc, q.scale]
    assert_finite(tally, "fuzzed divergences", [value], value.mean(), leaves)


def outputs_of_any_size(dtype: torch.dtype) -> st.SearchStrategy[Tensor]:
    """Decoder outputs of shape (ROWS, 3, 5)."""
    width: Literal[16, 32] = 16 if dtype == torch.float16 else 32
    kind = np.float16 if dtype == torch.float16 else np.float32
    elements = st.floats(width=width, allow_nan=False, allow_infinity=False)
    largest = torch.finfo(dtype).max
    drawn = arrays(kind, (ROWS, 3, 5), elements=elements).map(torch.tensor)
    return drawn.map(lambda x: x.clamp(-largest, largest).to(dtype))


def data_for(name: str, drawn: Tensor) -> Tensor:
    """What a likelihood takes, from numbers in [-1, 1]: to a million."""
    if name == "Categorical":
        return torch.nn.functional.one_hot(drawn.argmax(-1), drawn.shape[-1]).float()
    if name == "Bernoulli":
        return (drawn > 0).float()
    values = (1e6 * drawn**3).float()
    return values if name in {"Normal", "Laplace"} else values.abs().round()


@pytest.mark.parametrize("name", LIKELIHOODS)
@counted
@given(data=st.data())
def test_likelihoods(name: str, data: st.DataObject, tally: Tally) -> None:
    dtype = data.draw(st.sampled_from(DTYPES))
    output = data.draw(outputs_of_any_size(dtype)).requires_grad_()
    likelihood = LIKELIHOODS[name](10 ** data.draw(st.floats(-20, 20)))
    x = data_for(name, data.draw(numbers(ROWS, 3, 5)))
    log_likelihood = likelihood(output, 2).log_prob(x)
    leaves = [output, *likelihood.parameters()]
    assert_finite(tally, "fuzzed likelihoods", [log_likelihood], -log_likelihood.mean(), leaves)


@pytest.mark.parametrize("name", ESTIMATORS)
@counted
@given(data=st.data())
def test_estimators(name: str, data: st.DataObject, tally: Tally) -> None:
    """Of log-weights of any size, of shape (2, ROWS)."""
    dtype = data.draw(st.sampled_from(DTYPES))
    log_weights = data.draw(outputs_of_any_size(dtype))[:, :2, 0].mT.clone().requires_grad_()
    estimate = ESTIMATORS[name](log_weights)
    loss = torch.stack([2.0**-10 * part for part in estimate]).mean()
    assert_finite(tally, "fuzzed estimators", estimate, loss, [log_weights])


@kinds
@counted
@given(data=st.data())
def test_log_weights(kind: str, data: st.DataObject, tally: Tally) -> None:
    """Of draws from a mixture, with a private latent that is as wild."""
    problem, own = (data.draw(problems(kind, torch.float32)) for _ in range(2))
    proposal = estimators.Proposal(
        MEMBERS["mwb"]()(problem.experts, problem.weights), {"a": first(own)}
    )
    z, private = proposal.shared.rsample((2,)), proposal.private["a"].rsample((2,))
    sizes = 10 ** (25 * data.draw(numbers(2, 2, ROWS)).float())
    likelihoods = {name: -size for name, size in zip("ab", sizes.unbind(1), strict=True)}
    log_weights = estimators.log_weights(proposal, z, {"a": private}, likelihoods)
    leaves = [*problem, own.loc, own.scale]
    by_row = log_weights.movedim(-1, 0)
    assert_finite(tally, "fuzzed estimators", [by_row], log_weights.mean(), leaves)


@pytest.mark.parametrize("name", ["wasserstein", "mwb", "mopoe", "mopoe-weighted"])
@kinds
@counted
@given(data=st.data())
def test_bound(name: str, kind: str, data: st.DataObject, tally: Tally) -> None:
    """The loss of training, with a missing modality, a private latent and weights by gradient."""
    dtype = data.draw(st.sampled_from(DTYPES))
    problem, own = (data.draw(problems(kind, dtype)) for _ in range(2))
    barycenter = MEMBERS[name]()
    posterior = barycenter(problem.experts, problem.weights)
    z = posterior.rsample()
    normal, text = likelihoods.Normal(0.1, learnable=True), likelihoods.Categorical()
    terms = elbo(
        posterior,
        {"a": normal(z, 1), "b": text(z, 1)},
        {"a": torch.zeros(ROWS, D), "b": torch.eye(D)[torch.arange(ROWS) % D]},
        weights={"a": 1.0, "b": 10.0},
        beta=1.0,
        present={"a": problem.weights[:, 0] > 0, "b": torch.ones(ROWS, dtype=torch.bool)},
        private={"a": PrivateLatent(first(own), 1.0)},
        weight_ratio=posterior.weight_ratio(z) if isinstance(posterior, Mixture) else None,
    )
    leaves = [*problem, own.loc, own.scale, *normal.parameters(), *barycenter.parameters()]
    outputs = [terms.kl, *terms.log_likelihood.values()]
    assert_finite(tally, "fuzzed bounds", outputs, terms.loss, leaves)


def first(problem: Problem) -> Gaussian:
    """The first expert of each row."""
    return map_parameters(lambda x: x[:, 0], problem.experts)
