"""Evidence lower bounds (Eq. 3 of the paper), as pure functions of distributions and weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from mmvae_bary.divergences import kl_convexity_bound

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor
    from torch.distributions import Distribution

    from mmvae_bary.distributions import Gaussian, Posterior


class ELBO(NamedTuple):
    r"""The terms of a weighted evidence lower bound, each a mean over the batch, in nats.

    Attributes:
        loss: The weighted negative bound, a scalar to minimise.
        log_likelihood: Modality name to the unweighted :math:`\log p(x_m | z)`, a scalar.
        kl: The unweighted divergence of the joint posterior from the prior, a scalar.
    """

    loss: Tensor
    log_likelihood: dict[str, Tensor]
    kl: Tensor

    def detach(self) -> ELBO:
        """The same terms, without the graph that made them."""
        log_likelihood = {name: x.detach() for name, x in self.log_likelihood.items()}
        return ELBO(self.loss.detach(), log_likelihood, self.kl.detach())


class PrivateLatent(NamedTuple):
    """The posterior of a modality's private latent, batch shape ``(B,)``, and its KL's weight."""

    posterior: Gaussian
    kl_weight: float


class Broken(NamedTuple):
    """The first step at which terms of a bound were not finite, and which."""

    step: int
    terms: list[str]


class Watch:
    """Remembers when a term was first not finite, on the device, which it does not wait for.

    Args:
        names: The modalities' names.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.first: Tensor | None = None  # the step by term, -1 where all were finite

    def see(self, terms: ELBO, step: int) -> None:
        """Look at the terms of a step."""
        absent = torch.zeros_like(terms.kl)
        likelihoods = [terms.log_likelihood.get(name, absent) for name in self.names]
        values = torch.stack([terms.kl, *likelihoods, terms.loss]).detach()
        if self.first is None:
            self.first = torch.full_like(values, -1, dtype=torch.long)
        self.first = torch.where((self.first < 0) & ~values.isfinite(), step, self.first)

    def broken(self) -> Broken | None:
        """What broke first, if anything did; waits for the device."""
        steps = [] if self.first is None else self.first.tolist()
        if not any(step >= 0 for step in steps):
            return None
        step = min(step for step in steps if step >= 0)
        what = [
            "the divergence from the prior",
            *(f"the log-likelihood of {name!r}" for name in self.names),
            "the loss",
        ]
        return Broken(step, [term for term, at in zip(what, steps, strict=True) if at == step])


def elbo(
    posterior: Posterior,
    likelihoods: Mapping[str, Distribution],
    inputs: Mapping[str, Tensor],
    *,
    weights: Mapping[str, float],
    beta: float,
    present: Mapping[str, Tensor] | None = None,
    private: Mapping[str, PrivateLatent] | None = None,
    weight_ratio: Tensor | None = None,
) -> ELBO:
    r"""Weighted negative ELBO of a batch, from one sample of the posterior.

    .. math::
        -\sum_m w_m \log p(x_m | z, s_m) + \beta \Big( \mathrm{KL}(q(z|X) \| p(z))
        + \sum_m v_m \mathrm{KL}(q(s_m|x_m) \| p(s_m)) \Big)

    The divergence of a mixture is its convexity bound. A modality that a sample lacks adds
    nothing to that sample's terms; every sample counts once.

    Args:
        posterior: q(z | X), of batch shape ``(B,)``.
        likelihoods: Modality name to p(x_m | z), of batch shape ``(B,)``.
        inputs: Modality name to data of shape ``(B, *shape)``.
        weights: Modality name to the reconstruction weight :math:`w_m`.
        beta: Weight of the divergences.
        present: Modality name to booleans of shape ``(B,)``; None if nothing is missing.
        private: Modality name to its private latent and that latent's weight :math:`v_m`.
        weight_ratio: Of a mixture whose weights are learned, its ``weight_ratio`` at the sample,
            of shape ``(B,)``: it carries the likelihoods' gradient to the weights.
    """
    kl = kl_convexity_bound(posterior)
    loss = beta * kl
    log_likelihood = {}
    for name, likelihood in likelihoods.items():
        here = None if present is None else present[name]
        term = _where_present(here, likelihood.log_prob(inputs[name]))
        log_likelihood[name] = _mean_of_present(here, term)
        loss = loss - weights[name] * term
        if private is not None and name in private:
            latent = private[name]
            penalty = _where_present(here, kl_convexity_bound(latent.posterior))
            loss = loss + beta * latent.kl_weight * penalty
    if weight_ratio is not None:
        # stratified draws make the batch's mean nearly constant: a baseline, biased by O(1/B)
        baseline = loss.mean() if len(loss) > 1 else 0.0
        above = (loss - baseline).detach()
        loss = loss + above * (weight_ratio - 1)
    return ELBO(loss.mean(), log_likelihood, kl.mean())


def _where_present(present: Tensor | None, term: Tensor) -> Tensor:
    return term if present is None else torch.where(present, term, 0.0)


def _mean_of_present(present: Tensor | None, term: Tensor) -> Tensor:
    return term.mean() if present is None else term.sum() / present.sum().clamp(min=1)
