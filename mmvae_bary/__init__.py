"""Multimodal variational autoencoders whose joint posterior is a barycenter.

The files, a concept each; a row imports only rows below it::

    cli
    reproduce
    report | plans
    pages
    callbacks | latents | runs | tables
    model | data | metrics | plotting
    modality | pretrained
    networks | barycenters | objectives | estimators
    likelihoods | divergences
    distributions
    batch | checks | matrices | writing
    markup
"""

from mmvae_bary.barycenters import (
    AlphaBarycenter,
    Barycenter,
    GeometricBarycenter,
    HellingerBarycenter,
    HellingerMixture,
    JeffreysBarycenter,
    MixtureOfExperts,
    MomentMatchingBarycenter,
    NumericalBarycenter,
    ProductOfExperts,
    SubsetMixture,
    WassersteinBarycenter,
    WeightedBarycenter,
    barycenter_path,
    interpolate,
)
from mmvae_bary.batch import Batch
from mmvae_bary.callbacks import (
    CoherenceCallback,
    CompileCallback,
    LinearProbeCallback,
    LogLikelihoodCallback,
    PredictionCallback,
    QualityCallback,
    ResultsCallback,
    SampleGridCallback,
)
from mmvae_bary.data import (
    ArrayDataModule,
    CelebADataModule,
    DigitsDataModule,
    MNISTSVHNTextDataModule,
    MuDataModule,
    MultimodalDataModule,
    PolyMNISTDataModule,
)
from mmvae_bary.distributions import Mixture
from mmvae_bary.modality import Modality, default_modalities
from mmvae_bary.model import (
    MWBVAE,
    WBVAE,
    MoEVAE,
    MoPoEVAE,
    MultimodalVAE,
    PoEVAE,
)

__version__ = "0.1.0"

__all__ = [
    "MWBVAE",
    "WBVAE",
    "AlphaBarycenter",
    "ArrayDataModule",
    "Barycenter",
    "Batch",
    "CelebADataModule",
    "CoherenceCallback",
    "CompileCallback",
    "DigitsDataModule",
    "GeometricBarycenter",
    "HellingerBarycenter",
    "HellingerMixture",
    "JeffreysBarycenter",
    "LinearProbeCallback",
    "LogLikelihoodCallback",
    "MNISTSVHNTextDataModule",
    "Mixture",
    "MixtureOfExperts",
    "MoEVAE",
    "MoPoEVAE",
    "Modality",
    "MomentMatchingBarycenter",
    "MuDataModule",
    "MultimodalDataModule",
    "MultimodalVAE",
    "NumericalBarycenter",
    "PoEVAE",
    "PolyMNISTDataModule",
    "PredictionCallback",
    "ProductOfExperts",
    "QualityCallback",
    "ResultsCallback",
    "SampleGridCallback",
    "SubsetMixture",
    "WassersteinBarycenter",
    "WeightedBarycenter",
    "barycenter_path",
    "default_modalities",
    "interpolate",
]
