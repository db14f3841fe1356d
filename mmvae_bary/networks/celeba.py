"""Networks of bimodal CelebA, layer by layer those of Sutter, Daunhawer and Vogt (ICLR 2021).

A picture is ``(B, 3, 64, 64)``, a text ``(B, 256, 71)``, one-hot; decoders of text and classifiers
return logits.
"""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from mmvae_bary.networks.convolutional import Convolutional
from mmvae_bary.networks.mnist_svhn_text import SYMBOLS, Transpose
from mmvae_bary.networks.residual import (
    FROM_ONE,
    HALVE,
    TO_ONE,
    Residual,
    residual_1d,
    residual_2d,
)

NUM_ATTRIBUTES = 40


class CelebAImageEncoder(Convolutional):
    """A convolution and four residual blocks, to ``(B, 2 * latent_dim)``.

    Args:
        latent_dim: Width of the latent, shared plus private.
    """

    def __init__(self, latent_dim: int) -> None:
        super().__init__(*_image_trunk(), nn.Linear(640, 2 * latent_dim))


class CelebAImageDecoder(Convolutional):
    """Four transposed residual blocks and a transposed convolution, to ``(N, 3, 64, 64)``.

    Args:
        latent_dim: Width of the latent, shared plus private.
    """

    def __init__(self, latent_dim: int) -> None:
        blocks = [
            residual_2d(before, after, FROM_ONE if before == 640 else HALVE, transposed=True)
            for before, after in pairwise((640, 512, 384, 256, 128))
        ]
        super().__init__(
            nn.Linear(latent_dim, 640),
            nn.Unflatten(1, (640, 1, 1)),
            *blocks,
            nn.ConvTranspose2d(128, 3, 3, stride=2, padding=1, output_padding=1),
        )


class CelebAImageClassifier(Convolutional):
    """The encoder's trunk, to the logits of the 40 attributes, ``(B, 40)``."""

    def __init__(self) -> None:
        super().__init__(*_image_trunk(), nn.Dropout(0.5), nn.Linear(640, NUM_ATTRIBUTES))


class CelebATextEncoder(nn.Sequential):
    """A convolution and six residual blocks, to ``(B, 2 * latent_dim)``.

    Args:
        latent_dim: Width of the latent, shared plus private.
    """

    def __init__(self, latent_dim: int) -> None:
        super().__init__(
            Transpose(),
            nn.Conv1d(SYMBOLS, 128, 4, stride=2, padding=1),
            *_shrinking((128, 256, 384, 512, 640, 640, 640)),
            nn.Flatten(),
            nn.Linear(640, 2 * latent_dim),
        )


class CelebATextDecoder(nn.Sequential):
    """Six transposed residual blocks and a transposed convolution, to logits ``(N, 256, 71)``.

    Args:
        latent_dim: Width of the latent, shared plus private.
    """

    def __init__(self, latent_dim: int) -> None:
        widths = (640, 640, 640, 512, 384, 256, 128)
        blocks = [
            residual_1d(before, after, HALVE if number else FROM_ONE, transposed=True)
            for number, (before, after) in enumerate(pairwise(widths))
        ]
        super().__init__(
            nn.Linear(latent_dim, 640),
            nn.Unflatten(1, (640, 1)),
            *blocks,
            nn.ConvTranspose1d(128, SYMBOLS, 4, stride=2, padding=1),
            Transpose(),
        )


class CelebATextClassifier(nn.Sequential):
    """A convolution and six residual blocks, to the logits of the 40 attributes, ``(B, 40)``."""

    def __init__(self) -> None:
        super().__init__(
            Transpose(),
            nn.Conv1d(SYMBOLS, 128, 3, stride=2, padding=1),
            *_shrinking((128, 256, 384, 512, 640, 768, 896)),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(896, NUM_ATTRIBUTES),
        )


def _image_trunk() -> list[nn.Module]:
    return [
        nn.Conv2d(3, 128, 3, stride=2, padding=2, bias=False),
        *(residual_2d(before, after, HALVE) for before, after in pairwise((128, 256, 384, 512))),
        residual_2d(512, 640, TO_ONE),
        nn.Flatten(),
    ]


def _shrinking(widths: tuple[int, ...]) -> list[Residual]:
    """Blocks that halve a length, the last of which leaves one."""
    pairs = list(pairwise(widths))
    blocks = [residual_1d(before, after, HALVE) for before, after in pairs[:-1]]
    return [*blocks, residual_1d(*pairs[-1], TO_ONE)]
