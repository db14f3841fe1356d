"""MultiVae's models around networks of ours, to be compared with on the same tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from multivae import models
from multivae.models.base import BaseDecoder, BaseEncoder
from pythae.models.base.base_utils import ModelOutput
from torch import nn

from mmvae_bary.likelihoods import Categorical

if TYPE_CHECKING:
    from mmvae_bary import MultimodalVAE

# What ours have: Gaussians, one sample, and of the product every modality's own bound besides
SETTINGS: dict[str, dict[str, Any]] = {
    "MVAE": {"use_subsampling": True, "k": 0, "warmup": 0},
    "MMVAE": {"K": 1, "prior_and_posterior_dist": "normal", "learn_prior": False},
    "MoPoE": {},
}


class Encoder(BaseEncoder):  # type: ignore[misc]
    """One of our encoders, with MultiVae's output."""

    def __init__(self, network: nn.Module, latent_dim: int) -> None:
        super().__init__()
        self.network, self.latent_dim = network, latent_dim

    def forward(self, x: torch.Tensor) -> Any:
        mean, log_variance = self.network(x).chunk(2, -1)
        return ModelOutput(embedding=mean, log_covariance=log_variance)


class Decoder(BaseDecoder):  # type: ignore[misc]
    """One of our decoders, with MultiVae's output."""

    def __init__(self, network: nn.Module, latent_dim: int) -> None:
        super().__init__()
        self.network, self.latent_dim = network, latent_dim

    def forward(self, z: torch.Tensor) -> Any:
        made = self.network(z.reshape(-1, z.shape[-1]))
        return ModelOutput(reconstruction=made.reshape(*z.shape[:-1], *made.shape[1:]))


def like(ours: MultimodalVAE, method: str) -> Any:
    """MultiVae's model of a method, of the same networks, likelihoods and weights.

    Args:
        ours: Whose networks it takes, not copies of them.
        method: ``"MVAE"``, ``"MMVAE"`` or ``"MoPoE"``.
    """
    texts = {n for n, m in ours.modalities.items() if isinstance(m.likelihood, Categorical)}
    config = getattr(models, f"{method}Config")(
        n_modalities=len(ours.names),
        latent_dim=ours.latent_dim,
        input_dims={name: m.shape for name, m in ours.modalities.items()},
        beta=ours.beta,
        uses_likelihood_rescaling=True,
        rescale_factors=dict(ours.reconstruction_weights),
        decoders_dist={n: "categorical" if n in texts else "laplace" for n in ours.names},
        decoder_dist_params={n: {"scale": 0.75} for n in ours.names if n not in texts},
        **SETTINGS[method],
    )
    wide = ours.latent_dim
    return getattr(models, method)(
        config,
        encoders={name: Encoder(m.encoder, wide) for name, m in ours.modalities.items()},
        decoders={name: Decoder(m.decoder, wide) for name, m in ours.modalities.items()},
    )
