"""Callbacks that judge a model during and after a run, draw its samples and keep its results."""

from mmvae_bary.callbacks.base import MetricCallback
from mmvae_bary.callbacks.checkpoints import (
    RunCheckpoint,
    WholeCheckpointIO,
    check_weights,
    read_weights,
)
from mmvae_bary.callbacks.compiling import CompileCallback
from mmvae_bary.callbacks.evaluation import (
    BELOW_GATE,
    NO_CLASSIFIERS,
    CoherenceCallback,
    LinearProbeCallback,
    LogLikelihoodCallback,
    QualityCallback,
)
from mmvae_bary.callbacks.predictions import PredictionCallback
from mmvae_bary.callbacks.progress import RunProgressBar
from mmvae_bary.callbacks.results import ResultsCallback
from mmvae_bary.callbacks.samples import SampleGridCallback

__all__ = [
    "BELOW_GATE",
    "NO_CLASSIFIERS",
    "CoherenceCallback",
    "CompileCallback",
    "LinearProbeCallback",
    "LogLikelihoodCallback",
    "MetricCallback",
    "PredictionCallback",
    "QualityCallback",
    "ResultsCallback",
    "RunCheckpoint",
    "RunProgressBar",
    "SampleGridCallback",
    "WholeCheckpointIO",
    "check_weights",
    "read_weights",
]
