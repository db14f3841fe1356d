"""Pictures of the latent space: what changes along a dimension, or on the way between samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from mmvae_bary.barycenters import interpolate
from mmvae_bary.distributions import Mixture
from mmvae_bary.modality import evaluating
from mmvae_bary.plotting import drawable, sample_grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mmvae_bary.distributions import Gaussian
    from mmvae_bary.model import MultimodalVAE


@torch.no_grad()
def traversal(
    model: MultimodalVAE,
    dimension: int,
    alphabets: Mapping[str, str] | None = None,
    span: float = 3.0,
    num_steps: int = 9,
) -> Figure:
    """Draw pictures and texts while a latent goes from -span to span, the others at zero.

    Args:
        model: A trained model.
        dimension: The dimension, from zero.
        alphabets: Name of a text modality to its symbols, as data modules have them.
        span: How far to go, in standard deviations of the prior.
        num_steps: Columns of the picture.

    Raises:
        ValueError: If there is no such dimension, or nothing to draw.
    """
    if not 0 <= dimension < model.latent_dim:
        raise ValueError(
            f"got dimension={dimension}, expected one of the {model.latent_dim} from zero on"
        )
    z = torch.zeros(num_steps, model.latent_dim, device=model.device)
    z[:, dimension] = torch.linspace(-span, span, num_steps)
    return _drawn(model, z, alphabets, f"latent {dimension} from {-span:g} to {span:g}")


@torch.no_grad()
def interpolation(
    model: MultimodalVAE,
    first: Mapping[str, Tensor],
    second: Mapping[str, Tensor],
    alphabets: Mapping[str, str] | None = None,
    num_steps: int = 9,
) -> Figure:
    """Draw pictures and texts on the Wasserstein geodesic between the posteriors of two samples.

    Args:
        model: A trained model.
        first: Modality name to one sample, of shape ``shape``; what is not there is not given.
        second: The other sample, which may have other modalities.
        alphabets: Name of a text modality to its symbols, as data modules have them.
        num_steps: Columns of the picture, both ends among them.

    Raises:
        ValueError: If a posterior is a mixture, between which there is no geodesic, or there is
            nothing to draw.
    """
    times = torch.linspace(0, 1, num_steps, device=model.device)
    path = interpolate(_posterior(model, first), _posterior(model, second), times)
    return _drawn(model, path.mean.squeeze(1), alphabets, "between two samples")


def _posterior(model: MultimodalVAE, sample: Mapping[str, Tensor]) -> Gaussian:
    q = model.encode({name: x.unsqueeze(0) for name, x in sample.items()})
    if isinstance(q, Mixture):
        raise ValueError(
            f"got a posterior of {type(model.barycenter).__name__}, which is a mixture, expected "
            "a Gaussian"
        )
    return cast("Gaussian", q)


def _drawn(
    model: MultimodalVAE, z: Tensor, alphabets: Mapping[str, str] | None, title: str
) -> Figure:
    """The means of p(x | z), private latents at zero."""
    private = {
        name: z.new_zeros(len(z), modality.private_dim)
        for name, modality in model.modalities.items()
    }
    alphabets = alphabets or {}
    shapes = {name: modality.shape for name, modality in model.modalities.items()}
    drawn = drawable(shapes, alphabets)
    if not drawn:
        raise ValueError(
            f"got modalities of shapes {shapes}, expected a picture, or a text with its alphabet"
        )
    with evaluating(model):
        rows = [(name, model.decode_modality(name, z, private[name]).mean) for name in drawn]
    return sample_grid(rows, alphabets, title)
