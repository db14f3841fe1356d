"""Likelihoods against the densities of SciPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from mmvae_bary.likelihoods import (
    Bernoulli,
    Categorical,
    Laplace,
    Likelihood,
    NegativeBinomial,
    Normal,
    Poisson,
)

Reference = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]


def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-x))


REFERENCES: dict[str, tuple[Likelihood, Reference]] = {
    "normal": (Normal(0.5), lambda x, o: stats.norm(o, 0.5).logpdf(x)),
    "laplace": (Laplace(0.75), lambda x, o: stats.laplace(o, 0.75).logpdf(x)),
    "bernoulli": (Bernoulli(), lambda x, o: stats.bernoulli(sigmoid(o)).logpmf(x)),
    "poisson": (Poisson(), lambda x, o: stats.poisson(np.exp(o)).logpmf(x)),
    "negative-binomial": (
        NegativeBinomial(2.0),
        lambda x, o: stats.nbinom(2.0, 2.0 / (2.0 + np.exp(o))).logpmf(x),
    ),
}


def test_wild_counts_stay_finite() -> None:
    output = torch.tensor([[-1e6, -50.0, 50.0, 1e6]]).requires_grad_()
    for likelihood in (Poisson(), NegativeBinomial()):
        p = likelihood(output, event_ndim=1)
        value = p.log_prob(torch.tensor([[0.0, 3.0, 0.0, 1e4]]))
        assert value.isfinite().all()
        assert torch.autograd.grad(value.sum(), output)[0].isfinite().all()
        assert p.mean.isfinite().all()


def data(name: str) -> Tensor:
    if name in {"normal", "laplace"}:
        return torch.randn(4, 2, 3)
    return torch.randint(2 if name == "bernoulli" else 9, (4, 2, 3)).float()


@pytest.mark.parametrize("name", REFERENCES)
def test_density_sums_that_of_scipy_over_the_event(name: str) -> None:
    likelihood, reference = REFERENCES[name]
    x, output = data(name), torch.randn(4, 2, 3)
    p = likelihood(output, event_ndim=2)
    assert (p.batch_shape, p.event_shape) == ((4,), (2, 3))
    expected = reference(x.double().numpy(), output.double().numpy()).sum((1, 2))
    np.testing.assert_allclose(p.log_prob(x).detach().numpy(), expected, rtol=1e-5)


def test_categorical_takes_logits() -> None:
    """The likeliest symbol is that of the largest output, not of the smallest."""
    output = torch.randn(4, 5, 7)
    x = torch.nn.functional.one_hot(torch.randint(7, (4, 5)), 7).float()
    p = Categorical()(output, event_ndim=2)
    expected = (x * output.log_softmax(-1)).sum((1, 2))
    torch.testing.assert_close(p.log_prob(x), expected)
    assert torch.equal(p.mean.argmax(-1), output.argmax(-1))


@pytest.mark.parametrize("name", [*REFERENCES, "categorical"])
def test_half_precision_becomes_float32(name: str) -> None:
    likelihood = Categorical() if name == "categorical" else REFERENCES[name][0]
    p = likelihood(torch.randn(4, 2, 3, dtype=torch.bfloat16), event_ndim=2)
    assert p.mean.dtype == torch.float32


def test_scale_is_learned_only_if_asked() -> None:
    assert list(Laplace(0.75).parameters()) == []
    (log_scale,) = Laplace(0.75, learnable=True).parameters()
    assert log_scale.exp().item() == pytest.approx(0.75)
    assert "fixed" in repr(Normal())
    assert "learnable" in repr(NegativeBinomial())
    with pytest.raises(ValueError, match="Laplace: got scale=0, expected a positive one"):
        Laplace(0)


def test_number_of_variables() -> None:
    assert Laplace().num_variables((3, 32, 32)) == 3072
    assert Categorical().num_variables((8, 71)) == 8
