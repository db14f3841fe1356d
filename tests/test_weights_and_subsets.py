"""Weights of experts and of subsets, drawn subsets, and paths between posteriors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent

from mmvae_bary import (
    MWBVAE,
    Batch,
    GeometricBarycenter,
    JeffreysBarycenter,
    Mixture,
    MixtureOfExperts,
    Modality,
    MomentMatchingBarycenter,
    MultimodalVAE,
    ProductOfExperts,
    SubsetMixture,
    WassersteinBarycenter,
    WeightedBarycenter,
    barycenter_path,
    interpolate,
)
from mmvae_bary.barycenters import (
    FixedWeights,
    LearnedSubsetWeights,
    LearnedWeights,
    PrecisionWeights,
    SizeWeights,
    lazy,
)
from mmvae_bary.barycenters.lazy import LazyMixture
from mmvae_bary.barycenters.subsets import draw_subsets, membership
from mmvae_bary.distributions import (
    diagonal_gaussian,
    diagonal_parameters,
    map_parameters,
    parameters,
    select,
)
from mmvae_bary.divergences import kl_convexity_bound, wasserstein
from mmvae_bary.likelihoods import Normal
from mmvae_bary.networks import MLPDecoder, MLPEncoder
from tests.conftest import random_experts, tiny_batch, tiny_inputs, tiny_model

if TYPE_CHECKING:
    from mmvae_bary import Barycenter
    from mmvae_bary.distributions import Gaussian

M = 3


def test_fixed_weights_are_weights_asked_for() -> None:
    experts = random_experts(5, M)
    weighted = WeightedBarycenter(WassersteinBarycenter(), FixedWeights([1, 2, 3]))
    asked = torch.tensor([2.0, 1, 0])
    for q, weights in (
        (weighted(experts), torch.tensor([1.0, 2, 3])),
        (weighted(experts, asked), torch.tensor([2.0, 2, 0])),
    ):
        expected = WassersteinBarycenter()(experts, weights)
        torch.testing.assert_close(q.mean, expected.mean)
        torch.testing.assert_close(q.stddev, expected.stddev)


def test_a_weighted_product_counts_as_many_experts_as_before() -> None:
    experts = random_experts(5, M)
    weighted = WeightedBarycenter(ProductOfExperts("never"), LearnedWeights(M))
    for asked in (None, torch.tensor([1.0, 0, 1])):
        torch.testing.assert_close(
            weighted(experts, asked).stddev, ProductOfExperts("never")(experts, asked).stddev
        )


def test_weights_by_dimension_fuse_each_dimension_by_itself() -> None:
    experts = random_experts(5, M)
    weighting = LearnedWeights(M, latent_dim=3)
    torch.nn.init.normal_(weighting.logits)
    q = WeightedBarycenter(GeometricBarycenter(), weighting)(experts)
    loc, scale = diagonal_parameters(experts)
    for d in range(3):
        one = diagonal_gaussian(loc[..., [d]], scale[..., [d]])
        alone = GeometricBarycenter()(one, weighting.logits[:, d].softmax(0))
        torch.testing.assert_close(q.mean[:, [d]], alone.mean)
        torch.testing.assert_close(q.stddev[:, [d]], alone.stddev)


def test_weights_by_precision() -> None:
    scale = torch.tensor([[1.0, 1.0], [0.5, 0.5]])
    experts = diagonal_gaussian(torch.zeros(2, 2), scale)
    torch.testing.assert_close(PrecisionWeights()(experts), torch.tensor([0.2, 0.8]))
    torch.testing.assert_close(PrecisionWeights(0.0)(experts), torch.tensor([0.5, 0.5]))


@pytest.mark.parametrize(
    "barycenter",
    [
        lambda: WeightedBarycenter(WassersteinBarycenter(), LearnedWeights(M)),
        lambda: WeightedBarycenter(MixtureOfExperts(), LearnedWeights(M)),
        lambda: SubsetMixture(WassersteinBarycenter(), subset_weights=LearnedSubsetWeights(M)),
        lambda: SubsetMixture(
            WeightedBarycenter(ProductOfExperts("never"), LearnedWeights(M, latent_dim=4))
        ),
        lambda: SubsetMixture(
            WeightedBarycenter(WassersteinBarycenter(), PrecisionWeights(learn=True))
        ),
    ],
)
def test_learned_weights_learn_with_the_model(barycenter: object) -> None:
    fusion = barycenter()  # type: ignore[operator]
    model = tiny_model(MultimodalVAE, barycenter=fusion)
    model.elbo(tiny_batch(), model.encode_modalities(tiny_inputs())).loss.backward()
    for parameter in fusion.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0


def test_gradient_of_a_mixtures_weights_is_unbiased() -> None:
    """The score's gradient, averaged over draws, is that of the expectation in closed form."""
    logits = torch.tensor([0.3, -0.5, 0.1], requires_grad=True)
    experts = diagonal_gaussian(torch.tensor([[0.0], [1.0], [3.0]]), torch.ones(M, 1))
    mixture = Mixture(experts, logits.softmax(0))
    (exact,) = torch.autograd.grad(mixture.mean.sum(), logits)  # f(z) = z
    mixture = Mixture(experts, logits.softmax(0))
    z = mixture.sample((200_000,))
    ratio = mixture.weight_ratio(z)
    torch.testing.assert_close(ratio, torch.ones_like(ratio))
    (estimate,) = torch.autograd.grad(((z.squeeze(-1) - 1) * ratio).mean(), logits)
    torch.testing.assert_close(estimate, exact, atol=0.02, rtol=0)


def test_sizes_and_the_prior_weigh_subsets() -> None:
    experts = random_experts(5, M)
    mixture = SubsetMixture(
        WassersteinBarycenter(), subset_weights=SizeWeights([1, 0, 3]), prior_weight=1.0
    )(experts)
    shares = torch.tensor([1.0, 1, 1, 0, 0, 0, 3, 1.5])
    torch.testing.assert_close(mixture.weights[0], shares / shares.sum())  # type: ignore[union-attr]
    prior = select(mixture.components, 0)  # type: ignore[union-attr]
    assert torch.equal(prior.mean[-1], torch.zeros(3))
    assert torch.equal(prior.stddev[-1], torch.ones(3))


def test_what_is_present_counts_where_its_weight_vanishes() -> None:
    experts, one = random_experts(5, M), torch.tensor([0.0, 1, 0])
    loc, _ = diagonal_parameters(experts)
    by_size = SubsetMixture(WassersteinBarycenter(), subset_weights=SizeWeights([0, 1, 1]))
    torch.testing.assert_close(by_size(experts, one).mean, loc[:, 1])
    wide = diagonal_gaussian(loc, torch.full_like(loc, 1e5))
    by_precision = WeightedBarycenter(WassersteinBarycenter(), PrecisionWeights(30.0))
    torch.testing.assert_close(by_precision(wide, one).mean, loc[:, 1])


def test_each_sample_draws_its_own_subsets() -> None:
    experts = diagonal_gaussian(torch.arange(M).float().expand(50, M).unsqueeze(-1), torch.ones(1))
    mixture = SubsetMixture(WassersteinBarycenter(), max_subsets=1)(experts)
    assert isinstance(mixture, Mixture)
    assert len(mixture.components.mean.unique()) > 2


def test_the_empty_set_is_one_of_the_papers_subsets() -> None:
    mixture = SubsetMixture(WassersteinBarycenter(), prior_weight=1.0)(random_experts(5, M))
    assert isinstance(mixture, Mixture)
    torch.testing.assert_close(mixture.weights, torch.full((5, 2**M), 1 / 2**M))


def test_drawn_subsets_are_non_empty_present_and_uniform() -> None:
    present = torch.tensor([[True, True, True], [True, False, True], [False, False, False]])
    drawn = draw_subsets(present.repeat(4000, 1), 2)  # (12000, 2, 3)
    drawn = drawn.unflatten(0, (4000, 3))
    assert (drawn.sum(-1)[:, :2] > 0).all()
    assert (drawn[:, :, :, :] <= present.unsqueeze(1)).all()
    codes = (drawn * torch.tensor([1, 2, 4])).sum(-1)
    for row, possible in ((0, range(1, 8)), (1, (1, 4, 5))):
        shares = codes[:, row].flatten().bincount(minlength=8) / 8000
        for code in possible:
            assert shares[code].item() == pytest.approx(1 / len(possible), abs=0.02)


def _loss_and_gradient(
    fusion: SubsetMixture, experts: Gaussian, present: Tensor, draws: int
) -> tuple[Tensor, Tensor]:
    """Of a quadratic reconstruction term and the bound of the KL, averaged over draws."""
    loc, scale = (x.requires_grad_() for x in diagonal_parameters(experts))
    repeated = diagonal_gaussian(*(x.expand(draws, *x.shape) for x in (loc, scale)))
    posterior = fusion(repeated, present)
    prior = diagonal_gaussian(torch.zeros(3), torch.ones(3))
    z = posterior.rsample()
    loss = ((z - 1) ** 2).sum(-1).mean() + kl_convexity_bound(posterior, prior).mean()
    (gradient,) = torch.autograd.grad(loss, loc)
    return loss.detach(), gradient


@pytest.mark.parametrize("prior_weight", [0.0, 1.0])
def test_drawn_subsets_leave_loss_and_gradient_their_means(prior_weight: float) -> None:
    experts = random_experts(4, M)
    present = torch.tensor([[1.0, 1, 1], [1, 0, 1], [0, 1, 0], [1, 1, 1]])
    whole = SubsetMixture(WassersteinBarycenter(), prior_weight=prior_weight)
    exact, exact_gradient = _loss_and_gradient(whole, experts, present, 50_000)
    fusion = SubsetMixture(WassersteinBarycenter(), prior_weight=prior_weight, max_subsets=2)
    drawn, drawn_gradient = _loss_and_gradient(fusion, experts, present, 50_000)
    assert drawn.item() == pytest.approx(exact.item(), rel=0.02)
    torch.testing.assert_close(drawn_gradient, exact_gradient, atol=0.02, rtol=0)


def test_twenty_modalities_train_on_drawn_subsets() -> None:
    experts, weights = random_experts(6, 20), (torch.rand(6, 20) > 0.3).float()
    loc, scale = (x.requires_grad_() for x in diagonal_parameters(experts))
    fusion = SubsetMixture(ProductOfExperts("full_set"), max_subsets=8)
    posterior = fusion(diagonal_gaussian(loc, scale), weights)
    assert isinstance(posterior, Mixture)
    assert posterior.weights.shape == (6, 8)
    posterior.rsample().sum().backward()
    assert loc.grad is not None
    assert (loc.grad[weights == 0] == 0).all()
    with pytest.raises(ValueError, match=r"got 20 modalities, of which 2\^20 - 1 subsets are too"):
        SubsetMixture(ProductOfExperts())(experts)
    with pytest.raises(ValueError, match="got 60 modalities, expected at most 50"):
        fusion(random_experts(6, 60))


def test_the_subsets_drawn_for_a_sample_differ() -> None:
    """As much as independent draws do, also where their number is a power of two."""
    sizes = draw_subsets(torch.ones(4000, 20, dtype=torch.bool), 8).sum(-1).float()
    assert sizes.mean(-1).var().item() < 1.1 * 20 / 4 / 8
    members = draw_subsets(torch.ones(4000, 20, dtype=torch.bool), 8).float()
    differ = (members != members[:, :1]).any(1).float().mean(0)
    assert (differ > 0.95).all()


def test_geodesic_runs_at_constant_speed_between_its_ends() -> None:
    p, q = random_experts(5), random_experts(5)
    times = torch.linspace(0, 1, 5)
    path = interpolate(p, q, times)
    assert path.batch_shape == (5, 5)
    torch.testing.assert_close(path.mean[0], p.mean)
    torch.testing.assert_close(path.stddev[-1], q.stddev)
    length = wasserstein(p, q).sqrt()
    for row, t in enumerate(times):
        travelled = wasserstein(p, select(path, row)).sqrt()
        torch.testing.assert_close(travelled, t * length, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match=r"got t=1\.5, expected times from 0 to 1"):
        interpolate(p, q, 1.5)


def test_path_leads_from_expert_to_expert() -> None:
    experts = random_experts(5, M)
    path = barycenter_path(WassersteinBarycenter(), experts, 4)
    assert isinstance(path, Independent)
    assert path.batch_shape == (7, 5)
    loc, _ = diagonal_parameters(experts)
    torch.testing.assert_close(path.mean[[0, 3, 6]], loc.transpose(0, 1))
    mixtures = barycenter_path(SubsetMixture(WassersteinBarycenter()), experts, 8)
    torch.testing.assert_close(mixtures.mean[[0, 7, 14]], loc.transpose(0, 1))
    with pytest.raises(ValueError, match="got num_points=1 and 3 experts, expected at least"):
        barycenter_path(WassersteinBarycenter(), experts, 1)


def test_bad_weights_are_named() -> None:
    experts = random_experts(5, M)
    with pytest.raises(ValueError, match=r"got weights \[1, 0\], expected finite numbers above"):
        FixedWeights([1, 0])
    with pytest.raises(ValueError, match="got weights for 2 modalities, expected for the 3"):
        WeightedBarycenter(WassersteinBarycenter(), FixedWeights([1, 2]))(experts)
    with pytest.raises(ValueError, match="got weights for 2 dimensions, expected for the 3"):
        WeightedBarycenter(WassersteinBarycenter(), LearnedWeights(M, 2))(experts)
    with pytest.raises(ValueError, match="got weights by dimension for MixtureOfExperts, which"):
        WeightedBarycenter(MixtureOfExperts(), LearnedWeights(M, 3))
    with pytest.raises(ValueError, match="got SubsetMixture to be weighted, expected a Subset"):
        WeightedBarycenter(SubsetMixture(WassersteinBarycenter()), LearnedWeights(M))
    with pytest.raises(ValueError, match="got weights for 2 sizes, expected 3"):
        SubsetMixture(WassersteinBarycenter(), subset_weights=SizeWeights([1, 2]))(experts)
    with pytest.raises(ValueError, match=r"got size weights \[0\], expected finite numbers"):
        SizeWeights([0])
    with pytest.raises(ValueError, match="got weights for 3 subsets, expected for 7"):
        SubsetMixture(WassersteinBarycenter(), subset_weights=LearnedSubsetWeights(2))(experts)
    with pytest.raises(ValueError, match="got num_modalities=0, expected 1 to 12"):
        LearnedSubsetWeights(0)
    with pytest.raises(ValueError, match="got prior_weight=-1, expected a finite number"):
        SubsetMixture(WassersteinBarycenter(), prior_weight=-1)
    with pytest.raises(ValueError, match="got max_subsets=2 and subset_weights=SizeWeights"):
        SubsetMixture(WassersteinBarycenter(), subset_weights=SizeWeights([1, 1]), max_subsets=2)


def test_membership_weighs_by_size() -> None:
    sizes = SizeWeights([1, 2, 3])(membership(M, torch.device("cpu")))
    assert sizes.tolist() == [1, 1, 1, 2, 2, 2, 3]


def test_twenty_modalities_train() -> None:
    """With drawn subsets: the loss falls, and every encoder and decoder learns."""
    names = [f"m{number}" for number in range(20)]
    modalities = {
        name: Modality((6,), MLPEncoder((6,), 3, [8]), MLPDecoder(3, (6,), [8]), Normal())
        for name in names
    }
    barycenter = SubsetMixture(WassersteinBarycenter(), max_subsets=4)
    model = MultimodalVAE(modalities, 3, barycenter)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    before = {key: value.clone() for key, value in model.named_parameters()}
    common = torch.randn(16, 3)
    batch = Batch({name: common @ torch.randn(3, 6) for name in names})
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = model.elbo(batch, model.encode_modalities(batch.inputs)).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    assert all((value != before[key]).any() for key, value in model.named_parameters())


def drawn_and_kl(
    barycenter: SubsetMixture,
    experts: Gaussian,
    weights: Tensor | None = None,
    autocast: bool = False,
) -> list[Tensor]:
    """A draw, the bound of the KL, and their gradients by means, scales and own parameters."""
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        posterior = barycenter(experts, weights)
        z, kl = posterior.rsample(), kl_convexity_bound(posterior)
    rows = torch.arange(1.0, 1 + kl.numel()).reshape(kl.shape)  # each with a slope of its own
    of = [*parameters(experts), *barycenter.parameters()]
    return [z, kl, *torch.autograd.grad(z.square().sum() + (rows * kl).sum(), of)]


@pytest.fixture
def small_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows at a time, where these are all that tests have."""
    monkeypatch.setattr(lazy, "FUSED_ELEMENTS", 70)


@pytest.mark.usefixtures("small_caches")
@pytest.mark.parametrize("missing", [False, True], ids=["whole", "missing"])
@pytest.mark.parametrize(
    ("inner", "options"),
    [
        (ProductOfExperts("full_set"), {}),
        (WassersteinBarycenter(), {}),
        (MomentMatchingBarycenter(), {"subset_weights": SizeWeights([1, 2, 3])}),
        (ProductOfExperts("always"), {"max_subsets": 4}),
    ],
    ids=["product", "Wasserstein", "weighed", "drawn"],
)
def test_components_fused_when_needed_are_those_fused_at_once(
    inner: Barycenter, options: dict[str, Any], missing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    experts = tracked_experts(7)
    weights = torch.ones(7, M)
    weights[3, 0] = weights[4, 1:] = 0
    mixture = SubsetMixture(inner, **options)
    found = drawn_and_kl(mixture, experts, weights if missing else None)
    assert isinstance(mixture(experts, weights), LazyMixture)
    monkeypatch.setattr(type(inner), "by_rows", False)
    expected = drawn_and_kl(mixture, experts, weights if missing else None)
    torch.testing.assert_close(found, expected)


class Tempered(ProductOfExperts):
    """By rows, as it inherits, but with a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.temper = nn.Parameter(torch.ones(()))

    def fuse(self, experts: Gaussian, weights: Tensor) -> Gaussian:
        return super().fuse(experts, weights * self.temper)


@pytest.mark.usefixtures("small_caches")
@pytest.mark.parametrize(
    "mixture",
    [
        SubsetMixture(Tempered()),
        SubsetMixture(WassersteinBarycenter(), subset_weights=LearnedSubsetWeights(M)),
        SubsetMixture(WassersteinBarycenter(), prior_weight=1),
        SubsetMixture(JeffreysBarycenter()),
    ],
    ids=["parameter", "learned weights", "prior", "iterated"],
)
def test_mixtures_that_are_fused_at_once(mixture: SubsetMixture) -> None:
    experts = tracked_experts(5)
    assert not isinstance(mixture(experts), LazyMixture)
    assert all(gradient.isfinite().all() for gradient in drawn_and_kl(mixture, experts))
    assert not isinstance(
        SubsetMixture(WassersteinBarycenter())(random_experts(5, M)), LazyMixture
    )


def test_few_components_are_fused_at_once() -> None:
    experts = tracked_experts(7)
    assert not isinstance(SubsetMixture(WassersteinBarycenter())(experts), LazyMixture)


def test_an_empty_batch_has_an_empty_divergence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy, "FUSED_ELEMENTS", -1)
    mixture = SubsetMixture(WassersteinBarycenter())
    assert isinstance(mixture(tracked_experts(0)), LazyMixture)
    z, kl, *gradients = drawn_and_kl(mixture, tracked_experts(0))
    assert (z.shape, kl.shape, gradients[0].shape) == ((0, 3), (0,), (0, M, 3))


@pytest.mark.usefixtures("small_caches")
def test_the_divergence_may_be_differentiated_twice() -> None:
    loc, scale = (x.detach().double() for x in parameters(random_experts(4, M)))

    def divergence(loc: Tensor, scale: Tensor) -> Tensor:
        mixture = SubsetMixture(ProductOfExperts())(diagonal_gaussian(loc, scale))
        assert isinstance(mixture, LazyMixture)
        return kl_convexity_bound(mixture)

    inputs = loc.requires_grad_(), scale.requires_grad_()
    assert torch.autograd.gradcheck(divergence, inputs)
    assert torch.autograd.gradgradcheck(divergence, inputs)


@pytest.mark.usefixtures("small_caches")
def test_many_draws_of_few_components_fuse_these() -> None:
    posterior = SubsetMixture(WassersteinBarycenter())(tracked_experts(5))
    assert posterior.rsample((50,)).shape == (50, 5, 3)
    assert posterior.rsample((50,)).requires_grad


@pytest.mark.usefixtures("small_caches")
@pytest.mark.parametrize("looking", [torch.no_grad, torch.inference_mode])
def test_components_first_seen_without_gradients_have_them_later(looking: Any) -> None:
    experts = tracked_experts(5)
    posterior = SubsetMixture(WassersteinBarycenter())(experts)
    with looking():
        assert posterior.mean.shape == (5, 3)
        assert kl_convexity_bound(posterior).shape == (5,)
    (gradient,) = torch.autograd.grad(posterior.mean.sum(), parameters(experts)[0])
    assert (gradient > 0).all()


@pytest.mark.usefixtures("small_caches")
def test_components_are_fused_in_float32_under_autocast() -> None:
    experts = tracked_experts(5)
    mixture = SubsetMixture(ProductOfExperts())
    torch.testing.assert_close(
        drawn_and_kl(mixture, experts, autocast=True), drawn_and_kl(mixture, experts)
    )


@pytest.mark.usefixtures("small_caches")
@pytest.mark.parametrize("masked", [False, True])
def test_a_training_step_has_the_gradients_of_fusing_at_once(
    masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batch = tiny_model(MWBVAE), tiny_batch(masked=masked)
    lazily = []

    def gradients() -> tuple[Tensor, ...]:
        torch.manual_seed(0)
        return torch.autograd.grad(model(batch).loss, list(model.parameters()))

    average = LazyMixture.average

    def counted(mixture: LazyMixture, *given: Any) -> Tensor:
        lazily.append(mixture)
        return average(mixture, *given)

    monkeypatch.setattr(LazyMixture, "average", counted)
    found = gradients()
    assert len(lazily) == 1
    monkeypatch.setattr(WassersteinBarycenter, "by_rows", False)
    torch.testing.assert_close(found, gradients())
    assert len(lazily) == 1


def tracked_experts(size: int) -> Gaussian:
    return map_parameters(Tensor.requires_grad_, random_experts(size, M))


@pytest.mark.usefixtures("small_caches")
@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_a_broken_expert_breaks_its_row_alone(broken: float) -> None:
    loc = torch.zeros(5, M, 3)
    loc[2, 1, 0] = broken
    experts = diagonal_gaussian(loc.requires_grad_(), torch.ones(5, M, 3))
    posterior = SubsetMixture(WassersteinBarycenter())(experts)
    found = kl_convexity_bound(posterior).isfinite()
    assert found.tolist() == [True, True, False, True, True]
