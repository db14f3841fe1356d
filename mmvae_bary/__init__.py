"""Multimodal variational autoencoders whose joint posterior is a barycenter.

The files, a concept each; a row imports only rows below it::

    cli
    callbacks
    model | data | metrics | plotting
    networks | barycenters | objectives
    likelihoods | divergences
    distributions
    batch | matrices
"""

from mmvae_bary.barycenters import (
    Barycenter,
    GeometricBarycenter,
    MixtureOfExperts,
    NumericalBarycenter,
    ProductOfExperts,
    SubsetMixture,
    WassersteinBarycenter,
)
from mmvae_bary.batch import Batch
from mmvae_bary.callbacks import (
    CoherenceCallback,
    LinearProbeCallback,
    ResultsCallback,
    SampleGridCallback,
)
from mmvae_bary.data import (
    CelebADataModule,
    DigitsDataModule,
    MNISTSVHNTextDataModule,
    MultimodalDataModule,
    PolyMNISTDataModule,
)
from mmvae_bary.distributions import Mixture
from mmvae_bary.model import (
    MWBVAE,
    WBVAE,
    Modality,
    MoEVAE,
    MoPoEVAE,
    MultimodalVAE,
    PoEVAE,
)

__version__ = "0.1.0"

__all__ = [
    "MWBVAE",
    "WBVAE",
    "Barycenter",
    "Batch",
    "CelebADataModule",
    "CoherenceCallback",
    "DigitsDataModule",
    "GeometricBarycenter",
    "LinearProbeCallback",
    "MNISTSVHNTextDataModule",
    "Mixture",
    "MixtureOfExperts",
    "MoEVAE",
    "MoPoEVAE",
    "Modality",
    "MultimodalDataModule",
    "MultimodalVAE",
    "NumericalBarycenter",
    "PoEVAE",
    "PolyMNISTDataModule",
    "ProductOfExperts",
    "ResultsCallback",
    "SampleGridCallback",
    "SubsetMixture",
    "WassersteinBarycenter",
]
