"""The contract of every barycenter: parametrised over the family, complete by construction."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from mmvae_bary import Mixture
from mmvae_bary.barycenters import (
    AlphaBarycenter,
    Barycenter,
    GeometricBarycenter,
    HellingerBarycenter,
    HellingerMixture,
    JeffreysBarycenter,
    LearnedSubsetWeights,
    LearnedWeights,
    MixtureOfExperts,
    MomentMatchingBarycenter,
    NumericalBarycenter,
    PrecisionWeights,
    ProductOfExperts,
    SizeWeights,
    SubsetMixture,
    WassersteinBarycenter,
    WeightedBarycenter,
)
from mmvae_bary.barycenters.subsets import membership, powerset
from mmvae_bary.distributions import (
    DiagonalGaussian,
    Gaussian,
    diagonal_gaussian,
    diagonal_parameters,
    full_gaussian,
    map_parameters,
    select,
)
from mmvae_bary.divergences import hellinger, kl, wasserstein
from tests.conftest import barycenter_names, random_experts

FAMILY: dict[str, Callable[[], Barycenter]] = {
    "geometric": GeometricBarycenter,
    "product-always": lambda: ProductOfExperts("always"),
    "product-full_set": lambda: ProductOfExperts("full_set"),
    "product-never": lambda: ProductOfExperts("never"),
    "mixture": MixtureOfExperts,
    "wasserstein": WassersteinBarycenter,
    "mopoe": lambda: SubsetMixture(ProductOfExperts("full_set")),
    "mwb": lambda: SubsetMixture(WassersteinBarycenter()),
    "numerical-wasserstein": lambda: NumericalBarycenter(wasserstein),
    "subsets-of-geometric": lambda: SubsetMixture(GeometricBarycenter(), conditional="mixture"),
    "moments": MomentMatchingBarycenter,
    "jeffreys": JeffreysBarycenter,
    "hellinger": HellingerBarycenter,
    "hellinger-mixture": HellingerMixture,
    "alpha-0": lambda: AlphaBarycenter(0),
    "alpha-0.3": lambda: AlphaBarycenter(0.3),
    "alpha-1": lambda: AlphaBarycenter(1),
    "weighted-alike": lambda: WeightedBarycenter(WassersteinBarycenter(), LearnedWeights(M)),
    "weighted-by-dimension": lambda: WeightedBarycenter(
        GeometricBarycenter(), LearnedWeights(M, latent_dim=3)
    ),
    "weighted-by-precision": lambda: WeightedBarycenter(
        WassersteinBarycenter(), PrecisionWeights(learn=True)
    ),
    "subsets-by-size": lambda: SubsetMixture(
        MomentMatchingBarycenter(), subset_weights=SizeWeights([1, 2, 3])
    ),
    "subsets-learned": lambda: SubsetMixture(
        WeightedBarycenter(WassersteinBarycenter(), PrecisionWeights()),
        subset_weights=LearnedSubsetWeights(M),
    ),
}
# A product is sharper than its experts, and a prior expert pulls the answer to the origin.
PRODUCTS = ("product-always", "product-full_set", "product-never")
IDEMPOTENT = tuple(name for name in FAMILY if name not in {*PRODUCTS, "mopoe"})
WITHOUT_PRIOR = (*IDEMPOTENT, "product-never")
OF_ANY_NUMBER = tuple(  # of experts; the others have as many weights as experts
    name for name in WITHOUT_PRIOR if not name.startswith(("weighted-", "subsets-"))
)
M = 3

barycenters = pytest.mark.parametrize("name", FAMILY)


def density(posterior: Distribution) -> Tensor:
    """The log-density at a few points, by which two distributions of a kind are compared."""
    points = torch.linspace(-2, 2, 5, dtype=torch.float64)
    ones = torch.ones(posterior.event_shape, dtype=torch.float64)
    values = torch.stack([posterior.log_prob((point * ones).float()) for point in points])
    return values.double()


def assert_same(p: Distribution, q: Distribution) -> None:
    torch.testing.assert_close(density(p), density(q), rtol=1e-4, atol=1e-4)


def test_every_barycenter_is_covered() -> None:
    assert {type(make()).__name__ for make in FAMILY.values()} == barycenter_names()


@barycenters
@pytest.mark.parametrize(
    ("experts_shape", "weights_shape", "expected"),
    [
        ((M,), None, ()),
        ((5, M), None, (5,)),
        ((5, M), (M,), (5,)),
        ((5, M), (5, M), (5,)),
        ((5, M), (7, 1, M), (7, 5)),
        ((5, M), (7, 5, M), (7, 5)),
        ((2, 5, M), (5, M), (2, 5)),
        ((1, M), (5, M), (5,)),
    ],
)
def test_shapes(
    name: str,
    experts_shape: tuple[int, ...],
    weights_shape: tuple[int, ...] | None,
    expected: tuple[int, ...],
) -> None:
    weights = None if weights_shape is None else torch.rand(weights_shape) + 0.1
    posterior = FAMILY[name]()(random_experts(*experts_shape), weights)
    assert posterior.batch_shape == expected
    assert posterior.event_shape == (3,)
    assert posterior.rsample().shape == (*expected, 3)
    assert posterior.rsample((4,)).shape == (4, *expected, 3)
    assert posterior.mean.shape == posterior.stddev.shape == (*expected, 3)
    assert posterior.log_prob(posterior.sample((4,))).shape == (4, *expected)
    assert (
        FAMILY[name]().conditional(random_experts(*experts_shape), weights).batch_shape == expected
    )


@barycenters
def test_gradient_reaches_present_experts_only(name: str) -> None:
    experts = random_experts(4, M)
    loc, scale = (x.requires_grad_() for x in diagonal_parameters(experts))
    weights = torch.tensor([[1.0, 1, 1], [1, 0, 1], [0, 0, 1], [0, 0, 0]])
    with torch.no_grad():
        absent = (weights == 0).unsqueeze(-1)
        loc.masked_fill_(absent, torch.nan)
        scale.masked_fill_(absent, torch.nan)
    posterior = FAMILY[name]()(diagonal_gaussian(loc, scale), weights)
    for value in (posterior.mean, posterior.stddev, posterior.rsample()):
        assert value.isfinite().all()
    (posterior.mean.sum() + posterior.variance.sum()).backward()
    for gradient in (loc.grad, scale.grad):
        assert gradient is not None
        present = weights > 0
        assert (gradient[~present] == 0).all()
        assert (gradient[present].abs().sum(-1) > 0).all()


@barycenters
def test_order_of_experts_does_not_matter(name: str) -> None:
    experts, weights = random_experts(5, M), torch.rand(5, M)
    order = [2, 0, 1]
    shuffled = map_parameters(lambda x: x[:, order], experts)
    assert_same(FAMILY[name]()(experts, weights), FAMILY[name]()(shuffled, weights[:, order]))


@pytest.mark.parametrize("name", IDEMPOTENT)
def test_equal_experts_give_themselves(name: str) -> None:
    expert = random_experts(5)
    experts = map_parameters(lambda x: x.unsqueeze(1).expand(-1, M, -1), expert)
    assert_same(FAMILY[name]()(experts), expert)


def test_product_of_equal_experts_is_sharper() -> None:
    expert = random_experts(5)
    experts = map_parameters(lambda x: x.unsqueeze(1).expand(-1, M, -1), expert)
    product = ProductOfExperts("never")(experts)
    torch.testing.assert_close(product.mean, expert.mean)
    torch.testing.assert_close(product.variance, expert.variance / M)


@pytest.mark.parametrize("name", [name for name in FAMILY if name != "product-always"])
def test_all_weight_on_one_gives_that_expert(name: str) -> None:
    experts = random_experts(5, M)
    for m in range(M):
        posterior = FAMILY[name]()(experts, torch.eye(M)[m])
        assert_same(posterior, map_parameters(lambda x, m=m: x[:, m], experts))


@pytest.mark.parametrize("name", OF_ANY_NUMBER)
def test_weight_of_zero_means_absent(name: str) -> None:
    experts = random_experts(5, M)
    two = map_parameters(lambda x: x[:, [0, 2]], experts)
    assert_same(FAMILY[name]()(experts, torch.tensor([1.0, 0, 1])), FAMILY[name]()(two))


@pytest.mark.parametrize("name", WITHOUT_PRIOR)
def test_translation_moves_the_answer_along(name: str) -> None:
    experts = random_experts(5, M)
    loc, scale = diagonal_parameters(experts)
    before, after = FAMILY[name]()(experts), FAMILY[name]()(diagonal_gaussian(loc + 3, scale))
    torch.testing.assert_close(after.mean, before.mean + 3)
    torch.testing.assert_close(after.variance, before.variance, rtol=1e-4, atol=1e-5)


@barycenters
@pytest.mark.parametrize(
    ("experts_shape", "weights_shape"),
    [((4, M), (4, M)), ((M,), (4, M)), ((4, M), (2, 4, M)), ((4, M), (4, 1, M))],
)
def test_nothing_present_gives_the_prior(
    name: str, experts_shape: tuple[int, ...], weights_shape: tuple[int, ...]
) -> None:
    experts, weights = random_experts(*experts_shape), torch.ones(weights_shape)
    weights[0] = 0
    barycenter = FAMILY[name]()
    for fuse in (barycenter, barycenter.conditional):
        posterior = fuse(experts, weights)
        torch.testing.assert_close(posterior.mean[0], torch.zeros_like(posterior.mean[0]))
        torch.testing.assert_close(posterior.stddev[0], torch.ones_like(posterior.mean[0]))
        assert (posterior.mean[1] != 0).all()


@barycenters
def test_a_broken_expert_spoils_only_the_subsets_it_is_in(name: str) -> None:
    experts = random_experts(4, M)
    loc, scale = (x.clone() for x in diagonal_parameters(experts))
    loc[1, 0] = scale[2, 0] = torch.nan
    broken = diagonal_gaussian(loc.requires_grad_(), scale.requires_grad_())
    weights = torch.tensor([[0.0, 1, 1], [1, 1, 1]]).unsqueeze(1)
    barycenter = FAMILY[name]()
    posterior = barycenter(broken, weights)
    torch.testing.assert_close(posterior.mean[0], barycenter(experts, weights).mean[0])
    assert posterior.mean[1, [0, 3]].isfinite().all()
    assert posterior.mean[1, [1, 2]].isnan().all()
    posterior.mean[0].sum().backward()
    assert loc.grad is not None
    assert loc.grad.isfinite().all()
    assert (loc.grad[:, 0] == 0).all()


@barycenters
@pytest.mark.parametrize("full", [False, True])
def test_a_broken_row_leaves_the_others_alone(name: str, full: bool) -> None:
    if full and name == "weighted-by-dimension":
        pytest.skip("weights by dimension are for diagonal experts")
    experts = random_experts(3, M, dtype=torch.float64)
    loc, scale = diagonal_parameters(experts)
    broken = loc.clone()
    broken[0, 0] = torch.nan

    def build(m: Tensor) -> Gaussian:
        return full_gaussian(m, torch.diag_embed(scale)) if full else diagonal_gaussian(m, scale)

    barycenter, weights = FAMILY[name](), torch.ones(3, M, dtype=torch.float64)
    posterior, expected = barycenter(build(broken), weights), barycenter(build(loc), weights)
    assert posterior.mean[0].isnan().all()
    torch.testing.assert_close(posterior.mean[1:], expected.mean[1:], rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(posterior.stddev[1:], expected.stddev[1:], rtol=1e-6, atol=1e-8)


@barycenters
def test_batched_equals_looped(name: str) -> None:
    barycenter = FAMILY[name]()
    experts, weights = random_experts(4, M), (torch.rand(4, M) > 0.4).float()
    batched = density(barycenter(experts, weights))
    for row in range(4):
        one = map_parameters(lambda x, row=row: x[[row]], experts)
        looped = density(barycenter(one, weights[[row]]))
        torch.testing.assert_close(batched[:, [row]], looped, rtol=1e-4, atol=1e-4)


@barycenters
def test_all_subsets_in_one_call_equal_one_by_one(name: str) -> None:
    barycenter, experts = FAMILY[name](), random_experts(5, M)
    subsets = membership(M, torch.device("cpu"))
    together = density(barycenter(experts, subsets.unsqueeze(1)))
    alone = torch.stack([density(barycenter(experts, subset)) for subset in subsets], 1)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


@barycenters
def test_dtypes(name: str) -> None:
    double = FAMILY[name]()(random_experts(5, M, dtype=torch.float64))
    assert double.mean.dtype == double.rsample().dtype == torch.float64
    half = map_parameters(lambda x: x.to(torch.bfloat16), random_experts(5, M))
    with torch.autocast("cpu", torch.bfloat16):
        assert FAMILY[name]()(half).mean.dtype == torch.float32


@barycenters
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inference_mode_changes_nothing(name: str, dtype: torch.dtype) -> None:
    experts, barycenter = random_experts(5, M, dtype=dtype), FAMILY[name]()
    expected = barycenter(experts)
    with torch.inference_mode():
        made = map_parameters(lambda x: x.clone(), experts)
        posterior = barycenter(made, torch.ones(2, 1, M))
    torch.testing.assert_close(posterior.mean[0], expected.mean)
    torch.testing.assert_close(posterior.stddev[1], expected.stddev)


@barycenters
def test_pickling_saving_and_repr(name: str) -> None:
    barycenter, experts = FAMILY[name](), random_experts(5, M)
    copy = pickle.loads(pickle.dumps(barycenter))
    copy.load_state_dict(barycenter.state_dict())
    assert_same(copy(experts), barycenter(experts))
    assert type(barycenter).__name__ in repr(barycenter)


def objective(
    barycenter: Barycenter, experts: DiagonalGaussian, weights: Tensor, q: DiagonalGaussian
) -> Tensor:
    """The weighted sum of the divergences that the barycenter names (Eq. 4)."""
    one = map_parameters(lambda x: x.unsqueeze(-2), q)  # broadcasts against the experts
    return (weights / weights.sum() * barycenter.divergence(experts, one)).sum(-1)


def perturbed(q: DiagonalGaussian, count: int = 200) -> Iterator[DiagonalGaussian]:
    loc, scale = diagonal_parameters(q)
    for size in torch.logspace(-3, 0, count, dtype=torch.float64):
        yield diagonal_gaussian(
            loc + size * torch.randn_like(loc), scale * (size * torch.randn_like(scale)).exp()
        )


def test_what_fuses_otherwise_says_so() -> None:
    """Saved models and reports tell barycenters apart by it."""
    inner = WassersteinBarycenter()
    said = [
        barycenter.summary
        for barycenter in (
            SubsetMixture(inner),
            SubsetMixture(inner, conditional="mixture"),
            SubsetMixture(inner, prior_weight=1.0),
            SubsetMixture(inner, max_subsets=4),
            SubsetMixture(inner, subset_weights=SizeWeights([1.0, 2.0])),
            NumericalBarycenter(wasserstein),
            NumericalBarycenter(hellinger),
            WeightedBarycenter(inner, PrecisionWeights(1.0)),
            WeightedBarycenter(inner, PrecisionWeights(2.0)),
        )
    ]
    assert len(set(said)) == len(said)
    assert said[0] == "SubsetMixture(WassersteinBarycenter())"
    # no address, which each run has anew
    assert NumericalBarycenter(partial(wasserstein)).summary == "NumericalBarycenter(partial)"
    assert said[-1] == (
        "WeightedBarycenter(WassersteinBarycenter(), weighting=PrecisionWeights(temper=2))"
    )


@pytest.mark.parametrize("name", ["geometric", "wasserstein", *PRODUCTS])
def test_no_perturbation_lowers_the_objective_of_a_gaussian(name: str) -> None:
    barycenter = FAMILY[name]()
    experts = random_experts(5, M, dtype=torch.float64)
    weights = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    answer = barycenter.fuse(experts, weights)
    assert isinstance(answer, Independent)
    if name in PRODUCTS:  # the geometric barycenter of the experts raised to the power W
        if name != "product-never":  # the prior is one more expert
            zero, one = torch.zeros(5, 1, 3).double(), torch.ones(5, 1, 3).double()
            pairs = zip(diagonal_parameters(experts), (zero, one), strict=True)
            experts = diagonal_gaussian(*(torch.cat(pair, 1) for pair in pairs))
            weights = torch.cat([weights, torch.ones(1).double()])
        loc, scale = diagonal_parameters(experts)
        experts = diagonal_gaussian(loc, scale / weights.sum().sqrt())
    lowest = objective(barycenter, experts, weights, answer)
    for other in perturbed(answer):
        assert (objective(barycenter, experts, weights, other) >= lowest - 1e-9).all()


@pytest.mark.parametrize("name", ["mixture", "mopoe", "mwb", "subsets-of-geometric"])
def test_no_perturbation_lowers_the_objective_of_a_mixture(name: str) -> None:
    """The forward KL of the components to the mixture, integrated on a grid."""
    experts = random_experts(M, dim=1, dtype=torch.float64)
    barycenter = FAMILY[name]()
    assert barycenter.divergence is kl  # forward, which is cross-entropy up to a constant
    answer = barycenter(experts)
    assert isinstance(answer, Mixture)
    grid = torch.linspace(-12, 12, 4001, dtype=torch.float64).unsqueeze(-1)

    def cross_entropy(q: Mixture) -> Tensor:
        log_components = answer.components.log_prob(grid.unsqueeze(-2))  # (G, K)
        target = (answer.weights * log_components.exp()).sum(-1)
        return -torch.trapezoid(target * q.log_prob(grid), grid[:, 0])

    lowest = cross_entropy(answer)
    for components in perturbed(answer.components, 30):  # type: ignore[arg-type]
        noise = 0.1 * torch.randn_like(answer.weights)
        other = Mixture(components, (answer.weights.log() + noise).softmax(-1))
        assert cross_entropy(other) >= lowest - 1e-9


def test_product_of_experts_by_bayes_rule() -> None:
    """Gaussian observations of a standard normal latent: the product is the exact posterior."""
    experts = random_experts(5, M, dtype=torch.float64)
    loc, scale = diagonal_parameters(experts)
    precision = 1 + scale.pow(-2).sum(1)
    mean = (loc * scale.pow(-2)).sum(1) / precision
    always, full_set = ProductOfExperts("always")(experts), ProductOfExperts("full_set")(experts)
    for product in (always, full_set):
        torch.testing.assert_close(product.mean, mean)
        torch.testing.assert_close(product.variance, 1 / precision)
    two = torch.tensor([1.0, 1, 0])
    never = ProductOfExperts("never")(experts, two)
    torch.testing.assert_close(ProductOfExperts("full_set")(experts, two).mean, never.mean)
    assert (ProductOfExperts("always")(experts, two).stddev < never.stddev).all()


def test_wasserstein_averages_standard_deviations() -> None:
    experts, weights = random_experts(5, M), torch.tensor([1.0, 2, 1])
    loc, scale = diagonal_parameters(experts)
    posterior = WassersteinBarycenter()(experts, weights)
    torch.testing.assert_close(posterior.mean, (loc[:, 0] + 2 * loc[:, 1] + loc[:, 2]) / 4)
    torch.testing.assert_close(posterior.stddev, (scale[:, 0] + 2 * scale[:, 1] + scale[:, 2]) / 4)


def test_mopoe_is_the_mixture_of_products_by_hand() -> None:
    experts = random_experts(5, M)
    joint = SubsetMixture(ProductOfExperts("full_set"))(experts)
    points = torch.randn(5, 3)
    by_hand = []
    for size in (1, 2, 3):
        for subset in itertools.combinations(range(M), size):
            kind = ProductOfExperts("always" if size == M else "never")
            some = map_parameters(lambda x, subset=subset: x[:, subset], experts)
            by_hand.append(kind(some).log_prob(points))
    torch.testing.assert_close(
        joint.log_prob(points), torch.stack(by_hand).logsumexp(0) - torch.tensor(7.0).log()
    )


def test_subset_mixture_weighs_available_subsets_only() -> None:
    weights = torch.tensor([[1.0, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 0]])
    joint = SubsetMixture(WassersteinBarycenter())(random_experts(4, M), weights)
    assert isinstance(joint, Mixture)
    assert ((joint.weights > 0).sum(-1) == torch.tensor([7, 3, 1, 1])).all()
    torch.testing.assert_close(joint.weights.sum(-1), torch.ones(4))


def test_conditional_is_the_inner_barycenter_or_the_mixture() -> None:
    experts, weights = random_experts(4, M), torch.tensor([1.0, 0, 1])
    inner = WassersteinBarycenter()
    assert_same(SubsetMixture(inner).conditional(experts, weights), inner(experts, weights))
    mixture = SubsetMixture(inner, conditional="mixture")
    assert_same(mixture.conditional(experts, weights), mixture(experts, weights))


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_membership_is_in_the_order_of_the_powerset(size: int) -> None:
    names = "abcde"[:size]
    members = membership(size, torch.device("cpu")).bool()
    rows = [tuple(itertools.compress(names, row)) for row in members.tolist()]
    assert rows == powerset(names)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (torch.tensor([1.0, -1, 1]), r"got weights \[1.0, -1.0, 1.0\], expected finite and none"),
        (torch.tensor([1.0, torch.nan, 1]), "expected finite and none negative"),
        (torch.tensor([1.0, torch.inf, 1]), "expected finite and none negative"),
        (torch.zeros(3), r"got weights \[0.0, 0.0, 0.0\], expected at least one above zero"),
        (torch.ones(2), r"got weights of shape \(2,\), expected one that broadcasts against"),
        (torch.tensor(1.0), r"got weights of shape \(\), expected one that broadcasts"),
        (torch.ones(4, M), r"got weights of shape \(4, 3\), expected one that broadcasts"),
    ],
)
def test_bad_weights(weights: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WassersteinBarycenter()(random_experts(5, M), weights)


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="got prior='sometimes', expected one of"):
        ProductOfExperts("sometimes")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="got conditional='both', expected one of"):
        SubsetMixture(WassersteinBarycenter(), "both")  # type: ignore[arg-type]
    full = torch.distributions.MultivariateNormal(torch.zeros(5, M, 2), torch.eye(2))
    with pytest.raises(TypeError, match="got a MultivariateNormal, expected a diagonal Gaussian"):
        WeightedBarycenter(GeometricBarycenter(), LearnedWeights(M, 2))(full)
    with pytest.raises(ValueError, match="got inner=MixtureOfExperts, which returns a mixture"):
        SubsetMixture(MixtureOfExperts())
    with pytest.raises(ValueError, match=r"got experts of batch shape \(\) and event"):
        WassersteinBarycenter()(random_experts())
    with pytest.raises(TypeError, match="got a Normal, expected a Gaussian"):
        MixtureOfExperts()(torch.distributions.Normal(torch.zeros(M), 1.0))  # type: ignore[arg-type]


def test_mixture_of_full_covariance_experts() -> None:
    """The contracts admit full covariances: stacking, absence, mixtures and their draws."""
    loc = torch.randn(5, M, 2)
    experts = torch.distributions.MultivariateNormal(loc, scale_tril=2 * torch.eye(2))
    weights = torch.tensor([1.0, 0, 1])
    posterior = MixtureOfExperts()(experts, weights)
    torch.testing.assert_close(posterior.mean, (loc[:, 0] + loc[:, 2]) / 2)
    assert posterior.rsample((7,)).shape == (7, 5, 2)


@pytest.mark.parametrize("name", [name for name in FAMILY if name != "weighted-by-dimension"])
def test_full_covariances_keep_the_contract(name: str) -> None:
    """One expert comes back, absent ones reach nothing, and rows stand apart."""
    barycenter = FAMILY[name]()
    loc, scale = diagonal_parameters(random_experts(5, M))
    factor = torch.diag_embed(scale) + 0.3 * torch.randn(5, M, 3, 3).tril(-1)
    loc.requires_grad_(), factor.requires_grad_()
    experts = full_gaussian(loc, factor)
    weights = torch.tensor([[1.0, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 0]])
    posterior = barycenter(experts, weights)
    (posterior.mean.sum() + posterior.variance.sum()).backward()
    for gradient in (loc.grad, factor.grad):
        assert gradient is not None
        assert gradient.isfinite().all()
        assert (gradient[weights == 0] == 0).all()
    assert torch.equal(posterior.mean[3], torch.zeros(3))
    torch.testing.assert_close(posterior.variance[3], torch.ones(3))
    if name != "product-always":  # whose prior pulls
        torch.testing.assert_close(posterior.mean[2], loc[2, 1], rtol=1e-3, atol=1e-3)
        expected = factor[2, 1].square().sum(-1)
        torch.testing.assert_close(posterior.variance[2], expected, rtol=1e-3, atol=1e-3)
    for row in (0, 1, 4):
        one = barycenter(map_parameters(lambda t, row=row: t[row], experts), weights[row])
        torch.testing.assert_close(one.mean, posterior.mean[row], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(one.variance, posterior.variance[row], rtol=1e-3, atol=1e-4)


GRID = torch.linspace(-30, 30, 60_001, dtype=torch.float64)


def on_grid(q: Distribution) -> Tensor:
    """The density of a distribution on the line."""
    return q.log_prob(GRID.unsqueeze(-1)).exp()


def two_on_the_line() -> tuple[DiagonalGaussian, Tensor]:
    loc = torch.tensor([[-1.0], [2.0]], dtype=torch.float64)
    scale = torch.tensor([[1.5], [0.7]], dtype=torch.float64)
    return diagonal_gaussian(loc, scale), torch.tensor([0.3, 0.7], dtype=torch.float64)


def test_hellinger_pool_is_its_density() -> None:
    """(sum of weighted roots) squared, normalised by the trapezoidal rule, and its moments."""
    experts, weights = two_on_the_line()
    roots = torch.stack([on_grid(select(experts, m)).sqrt() for m in range(2)])
    density = (weights @ roots).square()
    density = density / torch.trapezoid(density, GRID)
    torch.testing.assert_close(on_grid(HellingerMixture()(experts, weights)), density)
    mean = torch.trapezoid(density * GRID, GRID)
    variance = torch.trapezoid(density * (GRID - mean).square(), GRID)
    matched = HellingerBarycenter()(experts, weights)
    torch.testing.assert_close(matched.mean.squeeze(), mean)
    torch.testing.assert_close(matched.variance.squeeze(), variance)


def test_alpha_barycenter_is_best_on_the_line() -> None:
    """Its integral, by the trapezoidal rule, falls in every direction; at the ends it is known."""
    experts, weights = two_on_the_line()
    best = AlphaBarycenter(0.3)(experts, weights)

    def integral(loc: Tensor, scale: Tensor) -> float:
        q = on_grid(diagonal_gaussian(loc, scale))
        terms = [on_grid(select(experts, m)) ** 0.3 * q**0.7 for m in range(2)]
        return float(weights @ torch.trapezoid(torch.stack(terms), GRID))

    highest = integral(best.mean, best.stddev)
    for shift, factor in ((0.02, 1.0), (-0.02, 1.0), (0.0, 1.02), (0.0, 0.98)):
        assert integral(best.mean + shift, best.stddev * factor) < highest
    for alpha, end in ((1e-4, GeometricBarycenter()), (1 - 1e-4, MomentMatchingBarycenter())):
        near, expected = AlphaBarycenter(alpha)(experts, weights), end(experts, weights)
        torch.testing.assert_close(near.mean, expected.mean, atol=2e-3, rtol=0)
        torch.testing.assert_close(near.stddev, expected.stddev, atol=2e-3, rtol=0)
