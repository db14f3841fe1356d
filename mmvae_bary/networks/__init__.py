"""Encoders, decoders and classifiers by benchmark: plain modules, tensor in, tensor out."""

from mmvae_bary.networks.celeba import (
    CelebAImageClassifier,
    CelebAImageDecoder,
    CelebAImageEncoder,
    CelebATextClassifier,
    CelebATextDecoder,
    CelebATextEncoder,
)
from mmvae_bary.networks.covariance import CovarianceHead
from mmvae_bary.networks.digits import DigitsSceneClassifier, DigitsSceneEncoder
from mmvae_bary.networks.mlp import Log1p, MLPClassifier, MLPDecoder, MLPEncoder
from mmvae_bary.networks.mnist_svhn_text import (
    DigitTextClassifier,
    DigitTextDecoder,
    DigitTextEncoder,
    MNISTClassifier,
    MNISTDecoder,
    MNISTEncoder,
    SVHNClassifier,
    SVHNDecoder,
    SVHNEncoder,
)
from mmvae_bary.networks.polymnist import (
    PolyMNISTClassifier,
    PolyMNISTDecoder,
    PolyMNISTEncoder,
)

__all__ = [
    "CelebAImageClassifier",
    "CelebAImageDecoder",
    "CelebAImageEncoder",
    "CelebATextClassifier",
    "CelebATextDecoder",
    "CelebATextEncoder",
    "CovarianceHead",
    "DigitTextClassifier",
    "DigitTextDecoder",
    "DigitTextEncoder",
    "DigitsSceneClassifier",
    "DigitsSceneEncoder",
    "Log1p",
    "MLPClassifier",
    "MLPDecoder",
    "MLPEncoder",
    "MNISTClassifier",
    "MNISTDecoder",
    "MNISTEncoder",
    "PolyMNISTClassifier",
    "PolyMNISTDecoder",
    "PolyMNISTEncoder",
    "SVHNClassifier",
    "SVHNDecoder",
    "SVHNEncoder",
]
