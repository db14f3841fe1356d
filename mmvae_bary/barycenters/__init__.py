"""Fusion strategies: from unimodal posteriors to one posterior."""

from mmvae_bary.barycenters.base import Barycenter, Divergence
from mmvae_bary.barycenters.kl import GeometricBarycenter, MixtureOfExperts, ProductOfExperts
from mmvae_bary.barycenters.numerical import NumericalBarycenter
from mmvae_bary.barycenters.subsets import SubsetMixture
from mmvae_bary.barycenters.wasserstein import WassersteinBarycenter

__all__ = [
    "Barycenter",
    "Divergence",
    "GeometricBarycenter",
    "MixtureOfExperts",
    "NumericalBarycenter",
    "ProductOfExperts",
    "SubsetMixture",
    "WassersteinBarycenter",
]
