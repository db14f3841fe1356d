"""Encoders, decoders and classifiers by benchmark: plain modules, tensor in, tensor out."""

from mmvae_bary.networks.digits import (
    DigitsSceneClassifier,
    DigitsSceneEncoder,
)
from mmvae_bary.networks.mlp import MLPClassifier, MLPDecoder, MLPEncoder

__all__ = [
    "DigitsSceneClassifier",
    "DigitsSceneEncoder",
    "MLPClassifier",
    "MLPDecoder",
    "MLPEncoder",
]
