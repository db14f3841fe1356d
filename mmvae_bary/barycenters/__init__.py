"""Fusion strategies: from unimodal posteriors to one posterior."""

from mmvae_bary.barycenters.alpha import (
    AlphaBarycenter,
    HellingerBarycenter,
    HellingerMixture,
)
from mmvae_bary.barycenters.base import Barycenter, Divergence
from mmvae_bary.barycenters.kl import (
    GeometricBarycenter,
    JeffreysBarycenter,
    MixtureOfExperts,
    MomentMatchingBarycenter,
    ProductOfExperts,
)
from mmvae_bary.barycenters.numerical import NumericalBarycenter
from mmvae_bary.barycenters.paths import barycenter_path, interpolate
from mmvae_bary.barycenters.subsets import (
    LearnedSubsetWeights,
    SizeWeights,
    SubsetMixture,
    SubsetWeights,
)
from mmvae_bary.barycenters.wasserstein import WassersteinBarycenter
from mmvae_bary.barycenters.weights import (
    FixedWeights,
    LearnedWeights,
    PrecisionWeights,
    WeightedBarycenter,
    Weighting,
)

__all__ = [
    "AlphaBarycenter",
    "Barycenter",
    "Divergence",
    "FixedWeights",
    "GeometricBarycenter",
    "HellingerBarycenter",
    "HellingerMixture",
    "JeffreysBarycenter",
    "LearnedSubsetWeights",
    "LearnedWeights",
    "MixtureOfExperts",
    "MomentMatchingBarycenter",
    "NumericalBarycenter",
    "PrecisionWeights",
    "ProductOfExperts",
    "SizeWeights",
    "SubsetMixture",
    "SubsetWeights",
    "WassersteinBarycenter",
    "WeightedBarycenter",
    "Weighting",
    "barycenter_path",
    "interpolate",
]
