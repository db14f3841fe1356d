"""Networks of MNIST-SVHN-Text, layer by layer those of Sutter, Daunhawer and Vogt (ICLR 2021).

A text is ``(B, 8, 71)``, one-hot; decoders and classifiers return logits.
"""

from __future__ import annotations

from torch import Tensor, nn

from mmvae_bary.networks.convolutional import Convolutional
from mmvae_bary.networks.residual import HALVE, TO_ONE, residual_1d

SYMBOLS = 71


class Transpose(nn.Module):
    """Swap the last two dimensions: ``(B, L, V)`` to ``(B, V, L)`` and back."""

    def forward(self, x: Tensor) -> Tensor:
        """The transposed view."""
        return x.mT


class MNISTEncoder(nn.Sequential):
    """One hidden layer from ``(B, 1, 28, 28)`` to ``(B, 2 * latent_dim)``.

    Args:
        latent_dim: Width of the latent, shared plus private.
    """

    def __init__(self, latent_dim: int) -> None:
        super().__init__(
            nn.Flatten(), nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, 2 * latent_dim)
        )


class MNISTDecoder(nn.Sequential):
    """One hidden layer from ``(N, latent_dim)`` to ``(N, 1, 28, 28)``, in [0, 1].

    Args:
        latent_dim: Width of the latent, shared plus private.
    """

    def __init__(self, latent_dim: int) -> None:
        super().__init__(
            nn.Linear(latent_dim, 400),
            nn.ReLU(),
            nn.Linear(400, 784),
            nn.Sigmoid(),
            nn.Unflatten(1, (1, 28, 28)),
        )


class MNISTClassifier(nn.Sequential):
    """From ``(B, 1, 28, 28)`` to the logits of the ten digits, ``(B, 10)``."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 32, 4, stride=2),
            nn.ReLU(),
            nn.Conv2d(32, 64, 4, stride=2),
            nn.ReLU(),
            nn.Conv2d(64, 128, 4, stride=2),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Flatten(),
            nn.Linear(128, 10),
        )


class SVHNEncoder(Convolutional):
    """Four convolutions from ``(B, 3, 32, 32)`` to ``(B, 2 * latent_dim)``.

    Args:
        latent_dim: Width of the latent, shared plus private.
    """

    def __init__(self, latent_dim: int) -> None:
        super().__init__(
            nn.Conv2d(3, 32, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 64, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 128, 4, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(128, 2 * latent_dim),
        )


class SVHNDecoder(Convolutional):
    """Four transposed convolutions from ``(N, latent_dim)`` to ``(N, 3, 32, 32)``.

    Args:
        latent_dim: Width of the latent, shared plus private.
    """

    def __init__(self, latent_dim: int) -> None:
        super().__init__(
            nn.Linear(latent_dim, 128),
            nn.ReLU(),
            nn.Unflatten(1, (128, 1, 1)),
            nn.ConvTranspose2d(128, 64, 4),
            nn.ReLU(),
            nn.ConvTranspose2d(64, 64, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 3, 4, stride=2, padding=1),
        )


class SVHNClassifier(nn.Sequential):
    """From ``(B, 3, 32, 32)`` to the logits of the ten digits, ``(B, 10)``.

    Args:
        standardize: Scale each picture to mean zero and variance one first, which the published
            classifier does not. Generated pictures are fainter than real ones, for the mean of
            p(x | z) averages over colours that z does not tell; the published judge takes them
            for grey, though the digit can be read, and is the less accurate on real ones too.
    """

    def __init__(self, standardize: bool = True) -> None:
        layers: list[nn.Module] = []
        if standardize:
            layers.append(nn.LayerNorm((3, 32, 32), elementwise_affine=False))
        for before, after, padding in ((3, 32, 1), (32, 64, 1), (64, 64, 1), (64, 128, 0)):
            layers += [
                nn.Conv2d(before, after, 4, stride=2, padding=padding),
                nn.Dropout(0.5),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        super().__init__(*layers, nn.Flatten(), nn.Linear(128, 10))
        self.note = "standardizes each picture, unlike the published one" * standardize


class DigitTextEncoder(nn.Sequential):
    """Three convolutions from ``(B, 8, 71)`` to ``(B, 2 * latent_dim)``.

    Args:
        latent_dim: Width of the latent, shared plus private.
    """

    def __init__(self, latent_dim: int) -> None:
        super().__init__(
            Transpose(),
            nn.Conv1d(SYMBOLS, 128, 1),
            nn.ReLU(),
            nn.Conv1d(128, 128, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv1d(128, 128, 4, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(128, 2 * latent_dim),
        )


class DigitTextDecoder(nn.Sequential):
    """Transposed convolutions from ``(N, latent_dim)`` to logits ``(N, 8, 71)``.

    Args:
        latent_dim: Width of the latent, shared plus private.
    """

    def __init__(self, latent_dim: int) -> None:
        super().__init__(
            nn.Linear(latent_dim, 128),
            nn.Unflatten(1, (128, 1)),
            nn.ConvTranspose1d(128, 128, 4),
            nn.ReLU(),
            nn.ConvTranspose1d(128, 128, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv1d(128, SYMBOLS, 1),
            Transpose(),
        )


class DigitTextClassifier(nn.Sequential):
    """From ``(B, 8, 71)`` to the logits of the ten digits, ``(B, 10)``."""

    def __init__(self) -> None:
        super().__init__(
            Transpose(),
            nn.Conv1d(SYMBOLS, 128, 1),
            residual_1d(128, 192, HALVE, dropout=False, skip_weight=1.0),
            residual_1d(192, 128, TO_ONE, dropout=False, skip_weight=1.0),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(128, 10),
        )
