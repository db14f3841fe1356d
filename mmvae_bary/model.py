"""The multimodal VAE: encoders, a barycenter and decoders, trained by Lightning."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from mmvae_bary.barycenters import (
    Barycenter,
    MixtureOfExperts,
    ProductOfExperts,
    SubsetMixture,
    WassersteinBarycenter,
)
from mmvae_bary.barycenters.base import check_barycenter
from mmvae_bary.barycenters.subsets import evaluated_members, evaluated_subsets
from mmvae_bary.batch import Batch
from mmvae_bary.checks import (
    check_at_least,
    check_one_of,
    check_precision,
    named_class,
    read_checkpoint,
    refuse_functions,
)
from mmvae_bary.distributions import (
    Mixture,
    derive_seed,
    seeded,
    select,
    stack,
    standard_gaussian,
    uncompiled,
    where,
)
from mmvae_bary.estimators import Proposal, importance_weighted, log_weights
from mmvae_bary.inputs import (
    Data,
    Inputs,
    as_batch,
    batches,
    check_inputs,
    check_known,
    check_names,
    check_numbers,
    check_present,
    presence,
    weights_of,
    without_absent,
)
from mmvae_bary.markup import Words, text_table
from mmvae_bary.modality import Modality, count_parameters, evaluating
from mmvae_bary.networks import CovarianceHead
from mmvae_bary.objectives import ELBO, PrivateLatent, Watch, elbo
from mmvae_bary.pretrained import Pretrained, path_of

if TYPE_CHECKING:
    from torch.distributions import Distribution
    from typing_extensions import Self

    from mmvae_bary.distributions import Gaussian

Covariance = Literal["diagonal", "full"]
OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]
SchedulerFactory = Callable[[Optimizer], LRScheduler]
DECODED_ELEMENTS = 2**24  # numbers of a modality decoded at once to estimate likelihoods
LOOK = 50  # steps between two looks at whether the loss is finite, on a GPU


class Encoding(NamedTuple):
    """What the encoders say of a batch, each run once.

    Attributes:
        experts: The unimodal posteriors of the shared latent, batch shape ``(B, M)``.
        weights: Zero where a modality is absent, shape ``(M,)`` or ``(B, M)``; None if none is.
        private: Modality name to the posterior of its private latent, batch shape ``(B,)``, for
            the modalities given that have one.
    """

    experts: Gaussian
    weights: Tensor | None
    private: dict[str, Gaussian]


class Embedding(NamedTuple):
    """Means and standard deviations of posteriors, each of shape ``(N, latent_dim)``."""

    mean: Tensor
    std: Tensor


class MultimodalVAE(Pretrained):
    """A multimodal VAE whose joint posterior is a barycenter of the unimodal posteriors.

    The barycenter is a strategy object; :class:`PoEVAE`, :class:`MoEVAE`, :class:`MoPoEVAE`,
    :class:`WBVAE` and :class:`MWBVAE` are this class with the barycenters of the paper.

    Args:
        modalities: Modality name to its networks and likelihood. The order is the model's.
        latent_dim: Width of the shared latent.
        barycenter: How the unimodal posteriors are fused; a preset's own if None.
        beta: Weight of the divergence from the prior.
        warmup_steps: Steps over which beta rises linearly from zero.
        reconstruction_weights: Modality name to the weight of its log-likelihood, or ``"size"``:
            the number of variables of the largest modality over the modality's own, so that
            pictures do not drown text.
        optimizer: From parameters to an optimiser; Adam with learning rate 1e-3 by default.
        scheduler: From the optimiser to a schedule of its learning rate, which takes a step after
            each epoch; none by default.
        covariance: Of the posteriors of the shared latent: ``"diagonal"``, or ``"full"``, which
            puts a :class:`~mmvae_bary.networks.CovarianceHead` on each encoder and costs a cubic
            number of operations in ``latent_dim``.

    Raises:
        ValueError: If there are no modalities, a name is taken or holds one of ``+ -> / .``, a
            number is negative, a weight missing or unknown, all weights zero, a network of the
            wrong width, or neither a barycenter is given nor the class has one.

    References:
        Qiu et al., Multimodal Variational Autoencoder: a Barycentric View, AAAI 2025.
    """

    modalities: Mapping[str, Modality]
    objective: ClassVar[str] = "ELBO"  # in words, for those who print a model

    def __init__(
        self,
        modalities: dict[str, Modality],
        latent_dim: int,
        barycenter: Barycenter | None = None,
        beta: float = 1.0,
        warmup_steps: int = 0,
        reconstruction_weights: dict[str, float] | Literal["size"] = "size",
        optimizer: OptimizerFactory | None = None,
        covariance: Covariance = "diagonal",
        scheduler: SchedulerFactory | None = None,
    ) -> None:
        super().__init__()
        check_one_of(Covariance, covariance=covariance)
        check_names(modalities)
        check_numbers(latent_dim=latent_dim, beta=beta, warmup_steps=warmup_steps)
        for name, modality in modalities.items():
            modality.complete(name, latent_dim)
        self.modalities = nn.ModuleDict(modalities)  # type: ignore[assignment]
        self.latent_dim = latent_dim
        full = covariance == "full"
        heads = {name: CovarianceHead(latent_dim) for name in modalities} if full else {}
        self.covariance_heads = nn.ModuleDict(heads)
        self.barycenter = self.default_barycenter() if barycenter is None else barycenter
        check_barycenter("barycenter", self.barycenter)
        self.beta = beta
        self.warmup_steps = warmup_steps
        self.reconstruction_weights = weights_of(reconstruction_weights, modalities)
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.watch = Watch(self.names)
        self.terms: ELBO | None = None  # of the last step
        self.terms_logged = False  # in this fit
        self.warmth = 1.0  # the share of beta that counts at this step of the warm-up
        # checkpoints keep them, also those of a model that is made in Python
        self.save_hyperparameters(
            {
                "latent_dim": latent_dim,
                "beta": beta,
                "warmup_steps": warmup_steps,
                "reconstruction_weights": self.reconstruction_weights,
                "covariance": covariance,
            }
        )

    def default_barycenter(self) -> Barycenter:
        """The barycenter where none is given; presets say theirs."""
        raise ValueError(
            f"{type(self).__name__} has no barycenter of its own: got barycenter=None, expected "
            "a Barycenter (or use a preset such as MWBVAE)"
        )

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **kwargs: Any) -> Self:
        """Lightning's, of a file that may not be trusted.

        Only tensors and plain values are read, and settings that name a function to be called are
        refused, unless ``weights_only`` is False. Of a run of the command line, the model is of
        the class that the file names, this one or a subclass. Arguments are those of
        ``LightningModule.load_from_checkpoint``.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is no checkpoint, names such a function, which was not called, or is
                of another class.
        """
        settings: dict[str, Any] = {}
        if kwargs.setdefault("weights_only", True):
            found = read_checkpoint(checkpoint_path).get(cls.CHECKPOINT_HYPER_PARAMS_KEY)
            refuse_functions(found, "hyper_parameters")
            settings = found if isinstance(found, dict) else {}
            cls = named_class(settings.get("_class_path", path_of(cls)), cls)
        loaded: Self = super().load_from_checkpoint(checkpoint_path, *args, **kwargs)
        if settings and not kwargs.keys() & signature(cls).parameters.keys():
            loaded.save_hyperparameters(settings)  # they describe it still
        return loaded

    def __repr__(self) -> str:
        """A table of the modalities; the tree of modules is that of ``model.modalities``."""
        facts = [f"  {name}: {said}" for name, said in self.facts().items()]
        tree = "  print(model.modalities) shows the networks"
        return "\n".join([type(self).__name__, *facts, text_table(self.parts()), tree])

    def facts(self) -> dict[str, str]:
        """What the model is, in words."""
        warmup = f" after {self.warmup_steps} steps of warm-up" if self.warmup_steps else ""
        return {
            "barycenter": self.barycenter.summary,
            "latent size": f"{self.latent_dim}{', full covariance' * bool(self.covariance_heads)}",
            "objective": f"{self.objective}, beta {self.beta:g}{warmup}",
            "parameters": f"{count_parameters(self):,}",
        }

    def parts(self) -> Words:
        """A table of the modalities: shape, likelihood, size of the networks."""
        header = ["modality", "shape", "likelihood", "encoder", "decoder"]
        rows = [[name, *modality.facts()] for name, modality in self.modalities.items()]
        return Words(header, rows)

    # ---- inference and generation

    @property
    def names(self) -> tuple[str, ...]:
        """The modalities' names, in the model's order."""
        return tuple(self.modalities.keys())  # without keys() torch 2.6 does not compile it

    @property
    def subsets(self) -> list[tuple[str, ...]]:
        """The non-empty subsets of modalities, in the order of :meth:`conditionals`.

        Of more than 12 modalities each alone, all but one, and all.
        """
        return evaluated_subsets(self.names)

    @property
    def _members(self) -> Tensor:
        """The :attr:`subsets` as zeros and ones ``(K, M)``."""
        return evaluated_members(len(self.names), self.device)

    def encode_modalities(
        self, inputs: Mapping[str, Tensor], present: Tensor | None = None
    ) -> Encoding:
        """Run each encoder once.

        Args:
            inputs: Modality name to data of shape ``(B, *shape)``; the others are absent.
            present: Booleans of shape ``(B, M)``, a column for each of ``inputs``, in its order.

        Returns:
            The unimodal posteriors, absent ones with weight zero.

        Raises:
            ValueError: If a name is unknown, a shape is wrong or nothing is given.
        """
        size = check_inputs(inputs, self.modalities)
        encoded = {name: self.modalities[name].encode(x) for name, x in inputs.items()}
        shared = {name: self._correlate(name, q) for name, (q, _) in encoded.items()}
        placeholder = standard_gaussian(next(iter(shared.values())))
        experts = stack([shared.get(name, placeholder) for name in self.names])
        weights = self._presence(inputs, present, size)
        private = {
            name: q for name, (_, q) in encoded.items() if self.modalities[name].private_dim
        }
        return Encoding(experts, weights, private)

    def encode(self, inputs: Inputs, given: Sequence[str] | None = None) -> Distribution:
        """The posterior q(z | x_S) of the shared latent, in evaluation mode.

        Args:
            inputs: A batch, or modality name to a tensor or array ``(B, *shape)`` in the model's
                scale, in which a row of NaN is missing.
            given: The names that make up S; all of ``inputs`` if None.

        Returns:
            A distribution of batch shape ``(B,)``: the barycenter of exactly S or, for a sample
            that lacks some of it, of what it has; the prior where that is nothing. For mixtures
            over subsets see :class:`~mmvae_bary.barycenters.SubsetMixture`'s ``conditional``.

        Raises:
            TypeError: If the inputs are neither, or no floating-point numbers.
            ValueError: If ``given`` names a modality that is unknown or not among the inputs.
        """
        with evaluating(self):
            return self._posterior(self.encode_batch(self._given(inputs, given)))

    def conditionals(self, encoding: Encoding) -> Distribution:
        """The posteriors q(z | x_S) of all K :attr:`subsets` S in one call.

        Returns:
            A distribution of batch shape ``(K, B)``.
        """
        return self._conditionals(encoding, self._members)

    def decode(
        self, z: Tensor, private: Mapping[str, Tensor] | None = None
    ) -> dict[str, Distribution]:
        """p(x_m | z) of every modality, in evaluation mode.

        Args:
            z: Shared latents of shape ``(*batch, latent_dim)``.
            private: Modality name to private latents of shape ``(*batch, private_dim)``; drawn
                from the prior, one draw per modality, where not given.

        Returns:
            Modality name to a distribution of batch shape ``batch``.
        """
        private = private or {}
        with evaluating(self):
            return {name: self.decode_modality(name, z, private.get(name)) for name in self.names}

    def decode_modality(self, name: str, z: Tensor, private: Tensor | None = None) -> Distribution:
        """p(x_m | z) of one modality, in the mode the model is in; see :meth:`decode`."""
        modality = self.modalities[name]
        if modality.private_dim:
            if private is None:
                shape = (*z.shape[:-1], modality.private_dim)
                private = torch.randn(shape, dtype=z.dtype, device=z.device)
            z = torch.cat([z, private], dim=-1)
        return modality.decode(z)

    @torch.no_grad()
    def generate(
        self,
        inputs: Inputs | None = None,
        given: Sequence[str] | None = None,
        targets: Sequence[str] | None = None,
        num_samples: int = 1,
    ) -> dict[str, Tensor]:
        """Generate modalities from others, or from the prior, in evaluation mode.

        Private latents come from the prior, also those of modalities that are given.

        Args:
            inputs: As in :meth:`encode`; None draws from the prior.
            given: The names among ``inputs`` to condition on; all if None.
            targets: The names to generate; all if None.
            num_samples: Number of latents drawn for every sample.

        Returns:
            Target name to the means of p(x | z), of shape ``(num_samples, B, *shape)``, or
            ``(num_samples, *shape)`` from the prior.

        Raises:
            ValueError: If a name is unknown, ``given`` comes without ``inputs``, or
                ``num_samples`` is below one.
        """
        check_at_least(1, num_samples=num_samples)
        targets = check_known(self.names if targets is None else targets, "targets", self.names)
        if inputs is None:
            if given is not None:
                raise ValueError(f"got given={list(given)} without inputs, expected both")
            some = next(self.parameters())
            z = torch.randn(num_samples, self.latent_dim, dtype=some.dtype, device=some.device)
        else:
            z = self.encode(inputs, given).sample((num_samples,))
        with evaluating(self):
            return {name: self.decode_modality(name, z).mean for name in targets}

    @torch.no_grad()
    def log_likelihood(
        self, inputs: Inputs, given: Sequence[str] | None = None, num_samples: int = 1000
    ) -> Tensor:
        r"""Importance-sampled log p(x) of what each sample has, jointly, in evaluation mode.

        .. math:: \log \frac1S \sum_{s=1}^S \frac{p(x | z_s) \, p(z_s)}{q(z_s | x_S)}

        The estimate is the better the closer the proposal is to the posterior of ``inputs``; for
        its error estimate from :meth:`log_weights`.

        Args:
            inputs: As in :meth:`encode`.
            given: The names among ``inputs`` whose posterior z is drawn from, which are also those
                whose private latents are drawn from theirs; all if None, the prior if empty.
            num_samples: Number of latents drawn for every sample.

        Returns:
            Shape ``(B,)``, in nats.

        Raises:
            ValueError: If a name is unknown, ``given`` is not among ``inputs`` or nothing drawn.
        """
        batch = self._given(inputs, None)
        given = tuple(self._given(batch, given).inputs)
        members = torch.tensor([[name in given for name in self.names]], device=self.device)
        with evaluating(self):
            proposal = self._proposal(self.encode_batch(batch), members.float())
            weights = self._log_weights(batch, proposal, num_samples, DECODED_ELEMENTS)
        return importance_weighted(weights[:, 0, 0]).value

    @torch.no_grad()
    def log_weights(
        self,
        inputs: Mapping[str, Tensor],
        encoding: Encoding,
        num_samples: int,
        *,
        one_component: bool = False,
        max_elements: int = DECODED_ELEMENTS,
    ) -> Tensor:
        """Log importance weights with the posterior of every subset as proposal.

        For :func:`~mmvae_bary.estimators.importance_weighted`. Private latents are drawn from
        their posterior where the subset has the modality, and from the prior elsewhere.

        Args:
            inputs: Every modality's name to data of shape ``(B, *shape)``.
            encoding: What the encoders say of them.
            num_samples: Number S of latents drawn for every sample and subset.
            one_component: Of a mixture, draw one component for every item and take its density
                for the proposal's, instead of the mixture's.
            max_elements: Memory bound: at most so many numbers of a modality are decoded at once,
                but at least one latent for every sample and subset. It changes no figure.

        Returns:
            Shape ``(S, K, 1 + M, B)``: for each of the K :attr:`subsets` the weights of the joint
            log-likelihood, then of the log-likelihood of each modality.

        Raises:
            ValueError: If a modality is missing or nothing is to be drawn.
        """
        if missing := [name for name in self.names if name not in inputs]:
            raise ValueError(f"inputs: got no {missing}, expected all of {list(self.names)}")
        proposal = self._proposal(encoding, self._members, one_component)
        return self._log_weights(Batch(dict(inputs)), proposal, num_samples, max_elements)

    @torch.no_grad()
    def embed(self, data: Data, given: Sequence[str] | None = None) -> Embedding:
        """The posterior of the shared latent for every sample, in evaluation mode.

        Args:
            data: A data module, of which all predicted batches are embedded, or one of what
                :meth:`encode` takes, or several.
            given: The names to condition on, as far as a sample has them; all if None. A sample
                with none of them is embedded as the prior.

        Returns:
            Means and standard deviations of shape ``(N, latent_dim)``, on the CPU.

        Raises:
            ValueError: If a name is unknown.
        """
        check_known(self.names if given is None else given, "given", self.names)
        some = next(self.parameters())
        with evaluating(self):
            found = [self._posterior(self.encode_batch(b, given)) for b in batches(data, some)]
        means, stds = zip(*((q.mean.cpu(), q.stddev.cpu()) for q in found), strict=True)
        return Embedding(torch.cat(means), torch.cat(stds))

    @torch.no_grad()
    def impute(self, data: Data, num_samples: int = 10) -> dict[str, Tensor]:
        """Every modality of every sample: as it is where it is there, generated where it is not.

        Args:
            data: As in :meth:`embed`.
            num_samples: Latents drawn for every sample, over which p(x | z) is averaged.

        Returns:
            Modality name to a tensor of shape ``(N, *shape)``, on the CPU, in the model's scale;
            :meth:`~mmvae_bary.data.ArrayDataModule.original` turns it into the tables' units.

        Raises:
            ValueError: If nothing is to be drawn.
        """
        some = next(self.parameters())
        with evaluating(self):
            found = [
                self.impute_batch(b, self.encode_batch(b), num_samples)
                for b in batches(data, some)
            ]
        return {name: torch.cat([x[name].cpu() for x in found]) for name in self.names}

    def encode_batch(self, batch: Batch, given: Sequence[str] | None = None) -> Encoding:
        """Encode what is present of a batch, and of that only ``given`` if it is not None."""
        batch = without_absent(batch)
        encoding = self.encode_modalities(batch.inputs, batch.present)
        if given is None:
            return encoding
        members = torch.tensor([float(name in given) for name in self.names], device=self.device)
        weights = members if encoding.weights is None else members * encoding.weights
        # by sample, of which some may have nothing
        return encoding._replace(weights=weights.expand(len(batch), -1))

    def impute_batch(
        self, batch: Batch, encoding: Encoding, num_samples: int
    ) -> dict[str, Tensor]:
        """Every modality of a batch, generated where it is missing; see :meth:`impute`."""
        check_at_least(1, num_samples=num_samples)
        present = presence(batch) or {}
        missing = [
            name
            for name in self.names
            if name not in batch.inputs or not present.get(name, torch.ones(1)).all()
        ]
        z = self._posterior(encoding).sample((num_samples,)) if missing else None
        result = dict(batch.inputs)
        for name in missing:
            assert z is not None
            made = self.decode_modality(name, z).mean.mean(0)
            if name in batch.inputs:
                there = present[name].reshape(-1, *[1] * (made.ndim - 1))
                made = torch.where(there, batch.inputs[name], made)
            result[name] = made
        return {name: result[name] for name in self.names}

    def _posterior(self, encoding: Encoding) -> Distribution:
        return self.barycenter.conditional(encoding.experts, encoding.weights)

    # ---- training

    def elbo(self, batch: Batch, encoding: Encoding) -> ELBO:
        """The terms of the joint ELBO of a batch, from one sample of the joint posterior."""
        posterior = self.barycenter(encoding.experts, encoding.weights)
        z = posterior.rsample()
        likelihoods = {
            name: self.decode_modality(name, z, self._private_sample(name, encoding))
            for name in batch.inputs
        }
        return elbo(
            posterior,
            likelihoods,
            batch.inputs,
            weights=self.reconstruction_weights,
            beta=self.current_beta,
            present=presence(batch),
            private=self._private(encoding),
            weight_ratio=_weight_ratio(posterior, z),
        )

    @property
    def current_beta(self) -> float:
        """The weight of the divergence at this step of the warm-up; all of beta without a trainer.

        One that changes with every step is compiled anew a few times, and then no more.
        """
        return self.beta * self.warmth if self.training else self.beta

    def forward(self, batch: Batch) -> ELBO:
        """The terms of the bound that a training step raises, of one draw of the latents.

        They are what ``model.compile()`` compiles, with the arguments of ``torch.compile``, into
        one graph where the barycenter has a closed form and covariances are diagonal.
        """
        return self._step(batch)[0]

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Warm up."""
        warming = self.global_step < self.warmup_steps
        self.warmth = self.global_step / self.warmup_steps if warming else 1.0

    # strategies of several processes call the steps as ``forward``, which may be compiled: what
    # they call is, and they are not

    @uncompiled
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a batch.

        What it draws depends on the run's seed, the epoch and the batch alone, so that a run that
        was resumed draws what it would have drawn.

        Raises:
            FloatingPointError: If the loss is not finite, naming the term; on a GPU some steps
                later, as a look at each step would stall it.
        """
        seed = derive_seed(self.stream, self.current_epoch, self.batch_number(batch_idx))
        with seeded(seed, self.device):
            # a compiled graph has one beta, and would be compiled anew at each step of a warm-up
            terms: ELBO = self.forward(batch) if self.warmth < 1 else self(batch)
        self.log("train/loss", terms.loss, batch_size=len(batch))
        self.terms = terms.detach()
        self.watch.see(terms, self.global_step)
        if self.device.type == "cpu" or self.global_step % LOOK == 0:
            self._refuse_broken()
        return terms.loss

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Log the loss's terms where loggers write them, and where an epoch's end looks for them.

        A call of ``log`` takes as long as a small network, so that other steps go without: what
        monitors in between should look at ``"train/loss"``, which is logged in each.
        """
        trainer: Any = self.trainer
        written = trainer.log_every_n_steps and not self.global_step % trainer.log_every_n_steps
        ends = trainer.should_stop or self.global_step == trainer.max_steps
        wanted = written or trainer.is_last_batch or ends or not self.terms_logged
        if wanted and self.terms is not None:
            self._log_terms("train", self.terms, batch)
            self.terms_logged = True

    @uncompiled
    def validation_step(  # type: ignore[override]
        self, batch: Batch, batch_idx: int
    ) -> Encoding:
        """Log the ELBO; the encoding goes to the callbacks that feed metrics."""
        return self._evaluate("val", batch, batch_idx)

    @uncompiled
    def test_step(  # type: ignore[override]
        self, batch: Batch, batch_idx: int
    ) -> Encoding:
        """Log the ELBO; the encoding goes to the callbacks that feed metrics."""
        return self._evaluate("test", batch, batch_idx)

    @uncompiled
    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """What is known of each sample, by name, of shape ``(B, ...)``.

        Returns:
            ``mean`` and ``std`` of the posterior given all that is present; ``mean/SUBSET`` and
            ``std/SUBSET`` given a subset of modalities, NaN where a sample lacks one of them; and
            ``imputed/MODALITY``, as it is where it is there, and generated where it is not.
        """
        encoding = self.encode_batch(batch)
        posterior = self._posterior(encoding)
        result = {"mean": posterior.mean, "std": posterior.stddev}
        conditionals = self.conditionals(encoding)
        there = self.has_subsets(encoding, len(batch)).unsqueeze(-1)  # (K, B, 1)
        for key, values in (("mean", conditionals.mean), ("std", conditionals.stddev)):
            known = torch.where(there, values, torch.nan)
            for subset, rows in zip(self.subsets, known.unbind(), strict=True):
                result[f"{key}/{'+'.join(subset)}"] = rows
        with seeded(derive_seed(self.batch_number(batch_idx)), self.device):
            imputed = self.impute_batch(batch, encoding, num_samples=10)
        return result | {f"imputed/{name}": x for name, x in imputed.items()}

    def has_subsets(self, encoding: Encoding, size: int) -> Tensor:
        """Which of the K :attr:`subsets` each sample has whole: booleans of shape ``(K, B)``."""
        members = self._members
        if encoding.weights is None:
            return torch.ones(len(members), size, dtype=torch.bool, device=self.device)
        absent = (encoding.weights == 0).to(members).expand(size, -1)  # (B, M)
        return members @ absent.mT == 0

    def configure_optimizers(self) -> Any:
        """The optimiser over all parameters, and the schedule of its learning rate if any."""
        make = self.optimizer or partial(torch.optim.Adam, lr=1e-3)
        optimizer = make(self.parameters())
        if self.scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": self.scheduler(optimizer)}

    def batch_number(self, batch_idx: int) -> int:
        """The number of a batch among those of all processes, by which draws are seeded."""
        return batch_idx * self.trainer.world_size + self.global_rank

    def setup(self, stage: str) -> None:
        """Refuse a precision that latents cannot have, and warn of one that is slow here."""
        check_precision(self.trainer.precision, self.trainer.strategy.root_device)

    def on_fit_start(self) -> None:
        """Take the seed of the training's draws from torch's."""
        self.stream = torch.initial_seed() % 2**63
        self.watch = Watch(self.names)
        self.terms, self.terms_logged = None, False

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep no weights that a broken loss has spoiled, and say of what barycenter they are."""
        self._refuse_broken()
        checkpoint["barycenter"] = self.barycenter.summary

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Warn of weights that were trained with another barycenter."""
        was, now = checkpoint.get("barycenter"), self.barycenter.summary
        if was not in (None, now):
            rank_zero_warn(f"got the barycenter {now}, for weights that were trained with {was}")

    def _refuse_broken(self) -> None:
        if (broken := self.watch.broken()) is None:
            return
        last = getattr(self.trainer.checkpoint_callback, "last_model_path", "")
        raise FloatingPointError(
            f"step {broken.step}: {' and '.join(broken.terms)} not finite, expected finite ones; "
            f"the last good checkpoint is {last or 'none'}. A lower learning rate or --trainer."
            "gradient_clip_val may help"
        )

    def _evaluate(self, stage: str, batch: Batch, batch_idx: int) -> Encoding:
        with seeded(derive_seed(self.batch_number(batch_idx)), self.device):
            terms, encoding = self._step(batch)
        self.log(f"{stage}/loss", terms.loss, batch_size=len(batch), sync_dist=True)
        self._log_terms(stage, terms, batch)
        return encoding

    def _step(self, batch: Batch) -> tuple[ELBO, Encoding]:
        batch = without_absent(batch)
        encoding = self.encode_modalities(batch.inputs, batch.present)
        return self.elbo(batch, encoding), encoding

    def _log_terms(self, stage: str, terms: ELBO, batch: Batch) -> None:
        evaluated = stage != "train"
        self.log(f"{stage}/kl", terms.kl, batch_size=len(batch), sync_dist=evaluated)
        present = presence(batch) if evaluated else None  # a step does not wait for a count
        for name, value in terms.log_likelihood.items():
            size = len(batch) if present is None else int(present[name].sum())
            key = f"{stage}/reconstruction/{name}"
            self.log(key, value, batch_size=size, sync_dist=evaluated)

    # ---- checks and small parts

    def _conditionals(self, encoding: Encoding, members: Tensor) -> Distribution:
        """The posteriors of subsets, zeros and ones (K, M), of batch shape (K, B)."""
        weights = members.unsqueeze(1)  # (K, 1, M)
        if encoding.weights is not None:
            weights = weights * encoding.weights
        return self.barycenter.conditional(encoding.experts, weights)

    def _proposal(
        self, encoding: Encoding, members: Tensor, one_component: bool = False
    ) -> Proposal:
        """What latents are drawn from given each subset, of batch shape (K, B)."""
        shared = self._conditionals(encoding, members)
        if one_component and isinstance(shared, Mixture):
            shared = shared.choose()
        has = members.unsqueeze(1)  # (K, 1, M), or by sample (K, B, M)
        if encoding.weights is not None:
            has = has * encoding.weights
        given = dict(zip(self.names, has.bool().unbind(-1), strict=True))
        private = {
            name: where(given[name], q, standard_gaussian(q))
            for name, q in encoding.private.items()
        }
        return Proposal(shared, private)

    def _log_weights(
        self, batch: Batch, proposal: Proposal, num_samples: int, max_elements: int
    ) -> Tensor:
        """Draw all latents, so that no figure depends on how many are decoded at once."""
        check_at_least(1, num_samples=num_samples)
        z = proposal.shared.sample((num_samples,))
        private = {name: q.sample((num_samples,)) for name, q in proposal.private.items()}
        largest = max(math.prod(self.modalities[name].shape) for name in batch.inputs)
        size = max(1, max_elements // (z[0, ..., 0].numel() * largest))
        chunks = [slice(start, start + size) for start in range(0, num_samples, size)]
        return torch.cat(
            [
                self._weigh(batch, proposal, z[c], {name: s[c] for name, s in private.items()})
                for c in chunks
            ]
        )

    def _weigh(
        self,
        batch: Batch,
        proposal: Proposal,
        z: Tensor,
        private: Mapping[str, Tensor],
    ) -> Tensor:
        present = presence(batch) or {}
        log_likelihoods = {}
        for name in (name for name in self.names if name in batch.inputs):
            p = self.decode_modality(name, z, private.get(name))
            term = p.log_prob(batch.inputs[name])
            log_likelihoods[name] = torch.where(present[name], term, 0) if present else term
        return log_weights(proposal, z, private, log_likelihoods)

    def _presence(
        self, inputs: Mapping[str, Tensor], present: Tensor | None, size: int
    ) -> Tensor | None:
        """The weights of the experts: zero where absent, None where nothing is."""
        if present is not None:
            check_present(present, (size, len(inputs)))
            columns = dict(zip(inputs, present.unbind(-1), strict=True))
            absent = torch.zeros_like(present[:, 0])
            return torch.stack([columns.get(name, absent) for name in self.names], -1).float()
        if len(inputs) == len(self.names):
            return None
        return torch.tensor([float(name in inputs) for name in self.names], device=self.device)

    def _correlate(self, name: str, q: Gaussian) -> Gaussian:
        if not self.covariance_heads:
            return q
        correlated: Gaussian = self.covariance_heads[name](q)
        return correlated

    def _private_sample(self, name: str, encoding: Encoding) -> Tensor | None:
        return encoding.private[name].rsample() if name in encoding.private else None

    def _private(self, encoding: Encoding) -> dict[str, PrivateLatent]:
        return {
            name: PrivateLatent(q, self.modalities[name].private_kl_weight)
            for name, q in encoding.private.items()
        }

    def _given(self, inputs: Inputs, given: Sequence[str] | None) -> Batch:
        """What is given of the inputs."""
        batch = as_batch(inputs, next(self.parameters()))
        names = list(batch.inputs)
        check_known(names, "inputs", self.names)
        if given is None:
            return batch
        if missing := [x for x in check_known(given, "given", self.names) if x not in names]:
            raise ValueError(f"given: {missing} not among the inputs, which are {names}")
        present = batch.present
        if present is not None:
            present = present[:, [names.index(name) for name in given]]
        return Batch({name: batch.inputs[name] for name in given}, present, batch.label)


def _weight_ratio(posterior: Distribution, z: Tensor) -> Tensor | None:
    if isinstance(posterior, Mixture) and posterior.weights.requires_grad:
        return posterior.weight_ratio(z)
    return None


class PoEVAE(MultimodalVAE):
    """PoE-VAE (MVAE): product of experts with a prior expert in every subset.

    Trains on the joint ELBO plus one unimodal ELBO per modality, whose reconstruction weight is
    one, as the paper and its reference code do. No modality is encoded twice. Arguments are those
    of :class:`MultimodalVAE`.

    References:
        Wu and Goodman, Multimodal Generative Models for Scalable Weakly-Supervised Learning,
        NeurIPS 2018.
    """

    objective = "ELBO plus the ELBO of each modality alone"

    def default_barycenter(self) -> Barycenter:
        return ProductOfExperts(prior="always")

    def elbo(self, batch: Batch, encoding: Encoding) -> ELBO:
        joint = super().elbo(batch, encoding)
        alone = torch.eye(len(self.names), device=self.device).unsqueeze(1)  # (M, 1, M)
        if encoding.weights is not None:
            alone = alone * encoding.weights
        posteriors = self.barycenter(encoding.experts, alone)  # (M, B)
        z = posteriors.rsample()
        present, private = presence(batch), self._private(encoding)
        loss = joint.loss
        for row, name in enumerate(self.names):
            if name in batch.inputs:
                sample = self._private_sample(name, encoding)
                unimodal = elbo(
                    select(posteriors, row),
                    {name: self.decode_modality(name, z[row], sample)},
                    batch.inputs,
                    weights={name: 1.0},
                    beta=self.current_beta,
                    present=present,
                    private=private,
                )
                loss = loss + unimodal.loss
        # not by _replace, which torch 2.11 does not compile
        return ELBO(loss, joint.log_likelihood, joint.kl)


class MoEVAE(MultimodalVAE):
    """MoE-VAE (MMVAE with an ELBO): mixture of experts. Arguments: :class:`MultimodalVAE`'s.

    References:
        Shi et al., Variational Mixture-of-Experts Autoencoders for Multi-Modal Deep Generative
        Models, NeurIPS 2019.
    """

    def default_barycenter(self) -> Barycenter:
        return MixtureOfExperts()


class MoPoEVAE(MultimodalVAE):
    """MoPoE-VAE: mixture, over subsets, of products of experts.

    The prior is an expert of the full set only, as in the authors' code. Arguments are those of
    :class:`MultimodalVAE`.

    References:
        Sutter, Daunhawer and Vogt, Generalized Multimodal ELBO, ICLR 2021.
    """

    def default_barycenter(self) -> Barycenter:
        return SubsetMixture(ProductOfExperts(prior="full_set"))


class WBVAE(MultimodalVAE):
    """WB-VAE: Wasserstein barycenter. Arguments: :class:`MultimodalVAE`'s.

    References:
        Qiu et al., Multimodal Variational Autoencoder: a Barycentric View, AAAI 2025.
    """

    def default_barycenter(self) -> Barycenter:
        return WassersteinBarycenter()


class MWBVAE(MultimodalVAE):
    """MWB-VAE: mixture, over subsets, of Wasserstein barycenters.

    Arguments are those of :class:`MultimodalVAE`.

    References:
        Qiu et al., Multimodal Variational Autoencoder: a Barycentric View, AAAI 2025.
    """

    def default_barycenter(self) -> Barycenter:
        return SubsetMixture(WassersteinBarycenter())
