"""Figures of merit as torchmetrics: linear probe, coherence, quality and log-likelihoods."""

from mmvae_bary.metrics.average_precision import average_precision
from mmvae_bary.metrics.classifiers import ModalityClassifiers
from mmvae_bary.metrics.coherence import (
    AttributeCoherence,
    CrossModalCoherence,
    JointCoherence,
    judged_sources,
    sources,
)
from mmvae_bary.metrics.linear_probe import (
    AttributeProbe,
    LinearProbe,
    Probe,
    logistic_regression,
)
from mmvae_bary.metrics.log_likelihood import LogLikelihood
from mmvae_bary.metrics.quality import (
    ClassifierFeatures,
    FrechetDistance,
    InceptionFeatures,
    ReconstructionQuality,
)

__all__ = [
    "AttributeCoherence",
    "AttributeProbe",
    "ClassifierFeatures",
    "CrossModalCoherence",
    "FrechetDistance",
    "InceptionFeatures",
    "JointCoherence",
    "LinearProbe",
    "LogLikelihood",
    "ModalityClassifiers",
    "Probe",
    "ReconstructionQuality",
    "average_precision",
    "judged_sources",
    "logistic_regression",
    "sources",
]
