"""Networks of PolyMNIST, layer by layer those of Sutter, Daunhawer and Vogt (ICLR 2021)."""

from __future__ import annotations

from torch import nn

from mmvae_bary.networks.convolutional import Convolutional


class PolyMNISTEncoder(Convolutional):
    """Three convolutions from ``(B, 3, 28, 28)`` to ``(B, 2 * latent_dim)``.

    Args:
        latent_dim: Width of the latent, shared plus private.
    """

    def __init__(self, latent_dim: int) -> None:
        super().__init__(
            nn.Conv2d(3, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 128, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(2048, latent_dim),
            nn.ReLU(),
            nn.Linear(latent_dim, 2 * latent_dim),
        )


class PolyMNISTDecoder(Convolutional):
    """Three transposed convolutions from ``(N, latent_dim)`` to ``(N, 3, 28, 28)``.

    Args:
        latent_dim: Width of the latent, shared plus private.
    """

    def __init__(self, latent_dim: int) -> None:
        super().__init__(
            nn.Linear(latent_dim, 2048),
            nn.ReLU(),
            nn.Unflatten(1, (128, 4, 4)),
            nn.ConvTranspose2d(128, 64, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(64, 32, 3, stride=2, padding=1, output_padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 3, 3, stride=2, padding=1, output_padding=1),
        )


class PolyMNISTClassifier(nn.Sequential):
    """From ``(B, 3, 28, 28)`` to the logits of the ten digits, ``(B, 10)``."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 10, 4, stride=2, padding=1),
            nn.Dropout2d(0.5),
            nn.ReLU(),
            nn.Conv2d(10, 20, 4, stride=2, padding=1),
            nn.Dropout2d(0.5),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(980, 128),
            nn.Dropout(0.5),
            nn.ReLU(),
            nn.Linear(128, 10),
        )
