"""Figures of merit as torchmetrics: linear probe, coherence and log-likelihoods."""

from mmvae_bary.metrics.average_precision import average_precision
from mmvae_bary.metrics.classifiers import ModalityClassifiers
from mmvae_bary.metrics.coherence import AttributeCoherence, CrossModalCoherence, JointCoherence
from mmvae_bary.metrics.linear_probe import AttributeProbe, LinearProbe, logistic_regression
from mmvae_bary.metrics.log_likelihood import LogLikelihood

__all__ = [
    "AttributeCoherence",
    "AttributeProbe",
    "CrossModalCoherence",
    "JointCoherence",
    "LinearProbe",
    "LogLikelihood",
    "ModalityClassifiers",
    "average_precision",
    "logistic_regression",
]
