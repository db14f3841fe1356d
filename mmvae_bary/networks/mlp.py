"""Multilayer perceptrons for any modality."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from torch import Tensor, nn


class MLPEncoder(nn.Sequential):
    """From ``(B, *shape)`` to the mean and log-variance of a latent, ``(B, 2 * latent_dim)``.

    Args:
        shape: Shape of one sample.
        latent_dim: Width of the latent, shared plus private.
        hidden: Widths of the hidden layers.
    """

    def __init__(
        self, shape: Sequence[int], latent_dim: int, hidden: Sequence[int] = (256,)
    ) -> None:
        super().__init__(nn.Flatten(), *_layers([prod(shape), *hidden, 2 * latent_dim]))


class MLPDecoder(nn.Sequential):
    """From latents ``(N, latent_dim)`` to the parameters of a likelihood, ``(N, *shape)``.

    Args:
        latent_dim: Width of the latent, shared plus private.
        shape: Shape of one sample.
        hidden: Widths of the hidden layers.
    """

    def __init__(
        self, latent_dim: int, shape: Sequence[int], hidden: Sequence[int] = (256,)
    ) -> None:
        super().__init__(
            *_layers([latent_dim, *hidden, prod(shape)]), nn.Unflatten(1, tuple(shape))
        )


class Log1p(nn.Module):
    """The logarithm of one plus counts, whose sizes differ by orders of magnitude."""

    def forward(self, x: Tensor) -> Tensor:
        """From counts to a tensor of their shape."""
        return x.log1p()


class MLPClassifier(nn.Sequential):
    """From ``(B, *shape)`` to class logits, ``(B, num_classes)``.

    Args:
        shape: Shape of one sample.
        num_classes: Number of classes.
        hidden: Widths of the hidden layers.
    """

    def __init__(
        self, shape: Sequence[int], num_classes: int, hidden: Sequence[int] = (256,)
    ) -> None:
        super().__init__(nn.Flatten(), *_layers([prod(shape), *hidden, num_classes]))


def _layers(widths: Sequence[int]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return layers[:-1]
