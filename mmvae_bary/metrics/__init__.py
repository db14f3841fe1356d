"""Figures of merit as torchmetrics: linear probe and generation coherence."""

from mmvae_bary.metrics.classifiers import ModalityClassifiers
from mmvae_bary.metrics.coherence import CrossModalCoherence, JointCoherence
from mmvae_bary.metrics.linear_probe import LinearProbe, logistic_regression

__all__ = [
    "CrossModalCoherence",
    "JointCoherence",
    "LinearProbe",
    "ModalityClassifiers",
    "logistic_regression",
]
