"""A modality: its networks, its likelihood and the latent that it has for itself."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, final

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from mmvae_bary import likelihoods
from mmvae_bary.checks import check_at_least
from mmvae_bary.distributions import at_least_float32, diagonal_gaussian
from mmvae_bary.likelihoods import Likelihood, NegativeBinomial, Normal, Poisson
from mmvae_bary.markup import sizes
from mmvae_bary.networks import Log1p, MLPDecoder, MLPEncoder

if TYPE_CHECKING:
    from torch.distributions import Distribution

    from mmvae_bary.distributions import Gaussian

LOG_VARIANCES = (-20.0, 20.0)  # beyond, a divergence or a precision would overflow in float32


@final
class Modality(nn.Module):
    """One modality: its shape, networks, likelihood and private latent.

    Args:
        shape: Shape of one sample, without the batch.
        encoder: From ``(B, *shape)`` to ``(B, 2 * (shared + private))``: the means, then the
            log-variances, of the shared latent followed by the private one. Log-variances are
            clamped to [-20, 20]. If None, a perceptron with one hidden layer, as wide as a sample
            but not outside [64, 512]; of counts it sees the logarithm of one more.
        decoder: From ``(N, shared + private)`` to the likelihood's parameters, ``(N, *shape)``; a
            perceptron likewise if None.
        likelihood: From the decoder's output to p(x | z); normal with a learned scale if None.
        private_dim: Width of the latent that only this modality has.
        private_kl_weight: Weight of the private latent's KL beside the shared one's, before beta.

    Raises:
        ValueError: If a side is below one, or a private setting is negative.
        TypeError: If a network or the likelihood is a class.
    """

    def __init__(
        self,
        shape: Sequence[int],
        encoder: nn.Module | None = None,
        decoder: nn.Module | None = None,
        likelihood: Likelihood | None = None,
        private_dim: int = 0,
        private_kl_weight: float = 1.0,
    ) -> None:
        super().__init__()
        check_at_least(0, private_dim=private_dim, private_kl_weight=private_kl_weight)
        self.shape = tuple(shape)
        if any(side < 1 for side in self.shape):
            raise ValueError(f"got shape={self.shape}, expected numbers from 1")
        for part in (encoder, decoder, likelihood):
            if isinstance(part, type):
                raise TypeError(
                    f"got the class {part.__name__}, expected a module made from it, as "
                    f"{part.__name__}()"
                )
        self.likelihood = Normal(learnable=True) if likelihood is None else likelihood
        # made by complete() where they are None
        self.encoder: nn.Module = encoder  # type: ignore[assignment]
        self.decoder: nn.Module = decoder  # type: ignore[assignment]
        self.private_dim = private_dim
        self.private_kl_weight = private_kl_weight

    def encode(self, x: Tensor) -> tuple[Gaussian, Gaussian]:
        """The posteriors of the shared and of the private latent, in float32 or wider."""
        loc, log_variance = at_least_float32(self.encoder(x)).chunk(2, dim=-1)
        log_variance = log_variance.clamp(*LOG_VARIANCES)
        widths = [loc.shape[-1] - self.private_dim, self.private_dim]
        shared, private = (
            diagonal_gaussian(*parameters)
            for parameters in zip(
                loc.split(widths, -1), (log_variance / 2).exp().split(widths, -1), strict=True
            )
        )
        return shared, private

    def decode(self, z: Tensor) -> Distribution:
        """p(x | z) at latents of shape ``(*batch, shared + private)``."""
        output = self.decoder(z.reshape(-1, z.shape[-1])).reshape(*z.shape[:-1], *self.shape)
        p: Distribution = self.likelihood(output, len(self.shape))
        return p

    def facts(self) -> list[str]:
        """Shape, likelihood, and the encoder's and decoder's numbers of parameters, in words."""
        return [
            sizes(self.shape),
            " ".join(repr(self.likelihood).split()),
            *(f"{count_parameters(network):,}" for network in (self.encoder, self.decoder)),
        ]

    def complete(self, name: str, latent_dim: int) -> None:
        """Make the networks that were not given, and refuse those of a wrong width.

        Both are run once on zeros, in evaluation mode.

        Raises:
            ValueError: Naming the modality, the shape that came and the one expected.
        """
        width = latent_dim + self.private_dim
        hidden = [min(max(math.prod(self.shape), 64), 512)]
        if self.encoder is None:
            encoder = MLPEncoder(self.shape, width, hidden)
            counts = isinstance(self.likelihood, (Poisson, NegativeBinomial))
            self.encoder = nn.Sequential(Log1p(), encoder) if counts else encoder
        if self.decoder is None:
            self.decoder = MLPDecoder(width, self.shape, hidden)
        latents = f"{width} latents ({latent_dim} shared + {self.private_dim} private)"
        who = f"modality {name!r}: the encoder"
        shape = output_shape(who, self.encoder, (2, *self.shape))
        if shape != (2, 2 * width):
            raise ValueError(
                f"{who} returned shape {shape} for a batch of 2, expected {(2, 2 * width)}: mean "
                f"and log-variance of {latents}; set the network's own width to match"
            )
        who = f"modality {name!r}: the decoder"
        shape = output_shape(who, self.decoder, (2, width))
        if shape != (2, *self.shape):
            raise ValueError(
                f"{who} returned shape {shape} for a batch of 2, {latents}, expected "
                f"{(2, *self.shape)}"
            )


class Specified(Protocol):
    """Data that say what modalities they have: :class:`~mmvae_bary.data.ArrayDataModule`."""

    def specifications(self) -> dict[str, dict[str, Any]]:
        """Modality name to the shape of a sample and the likelihood, as a configuration has it."""
        ...


def default_modalities(data: Specified) -> dict[str, Modality]:
    """Modalities made from data: perceptrons, and the likelihood that fits the kind of numbers.

    Models that are given the same ones share their networks, so make them anew for each.

    Args:
        data: What they are made from.

    Returns:
        Modality name to what a model takes, in the order of the data.
    """
    return {
        name: Modality(
            said["shape"],
            likelihood=getattr(likelihoods, said["likelihood"]["class_path"])(
                **said["likelihood"]["init_args"]
            ),
        )
        for name, said in data.specifications().items()
    }


def is_picture(shape: Sequence[int]) -> bool:
    """Whether samples of a shape are pictures: one or three channels, height and width."""
    return len(shape) == 3 and shape[0] in {1, 3}


def count_parameters(network: nn.Module) -> int:
    """The number of parameters, shared ones once, and of lazy ones none before they are made."""
    return sum(p.numel() for p in network.parameters() if not is_lazy(p))


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """In evaluation mode, each part back in its own afterwards."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def output_shape(who: str, network: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of what a network returns for zeros, asked in evaluation mode."""
    device = next((parameter.device for parameter in network.parameters()), None)
    try:
        with evaluating(network), torch.no_grad():
            output = network(torch.zeros(shape, device=device))
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{who} cannot take an input of shape {shape}: {reason}") from None
    if not isinstance(output, Tensor):
        raise ValueError(f"{who} returned a {type(output).__name__}, expected a tensor")
    return tuple(output.shape)
