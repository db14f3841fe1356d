"""A head that turns a diagonal Gaussian into one of full covariance."""

from __future__ import annotations

import torch
from torch import nn
from torch.distributions import MultivariateNormal

from mmvae_bary.distributions import (
    DiagonalGaussian,
    at_least_float32,
    diagonal_parameters,
    full_gaussian,
)


class CovarianceHead(nn.Module):
    r"""Correlations between latent dimensions, read off an encoder's means and log-scales.

    .. math:: L = \mathrm{diag}(\sigma) (I + A), \qquad \Sigma = L L^\top

    where the entries of :math:`A` below the diagonal are linear in :math:`(\mu, \log \sigma)`.
    They start at zero, so that training starts at the diagonal Gaussian, and any encoder will do.

    Args:
        latent_dim: Width D of the latent.

    Raises:
        ValueError: If there are not two dimensions to correlate.
    """

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        if latent_dim < 2:
            raise ValueError(f"got latent_dim={latent_dim} for a full covariance, expected two")
        self.below = nn.Linear(2 * latent_dim, latent_dim * (latent_dim - 1) // 2)
        nn.init.zeros_(self.below.weight)
        nn.init.zeros_(self.below.bias)

    def forward(self, diagonal: DiagonalGaussian) -> MultivariateNormal:
        """From a Gaussian of event shape ``(D,)`` to one of the same mean."""
        loc, scale = diagonal_parameters(diagonal)
        entries = at_least_float32(self.below(torch.cat([loc, scale.log()], -1)))
        dim = loc.shape[-1]
        rows, columns = torch.tril_indices(dim, dim, -1, device=loc.device)
        below = entries.new_zeros(*entries.shape[:-1], dim, dim)
        below[..., rows, columns] = entries
        identity = torch.eye(dim, dtype=loc.dtype, device=loc.device)
        return full_gaussian(loc, scale.unsqueeze(-1) * (identity + below))
