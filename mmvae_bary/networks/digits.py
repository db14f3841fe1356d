"""Networks of the embedded ``digits`` benchmark that are not a multilayer perceptron."""

from __future__ import annotations

from torch import nn


class DigitsSceneEncoder(nn.Sequential):
    """Two convolutions from ``(B, 3, 16, 16)`` to ``(B, 2 * latent_dim)``.

    Args:
        latent_dim: Width of the latent, shared plus private.
    """

    def __init__(self, latent_dim: int) -> None:
        super().__init__(*_trunk(), nn.Linear(64 * 4 * 4, 2 * latent_dim))


class DigitsSceneClassifier(nn.Sequential):
    """Two convolutions from ``(B, 3, 16, 16)`` to the logits of the ten digits, ``(B, 10)``."""

    def __init__(self) -> None:
        super().__init__(*_trunk(), nn.Dropout(0.5), nn.Linear(64 * 4 * 4, 10))


def _trunk() -> list[nn.Module]:
    return [
        nn.Conv2d(3, 32, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
    ]
