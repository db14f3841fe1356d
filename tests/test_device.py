"""On a GPU neither a training step nor the evaluation of a batch waits for the device.

Where there is none, tensors pretend to be on one: what would need a value of theirs on the host,
as ``if tensor.any()`` and ``x[mask]`` do, raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from mmvae_bary import (
    MWBVAE,
    CoherenceCallback,
    LinearProbeCallback,
    LogLikelihoodCallback,
    MultimodalVAE,
    QualityCallback,
)
from mmvae_bary.callbacks.evaluation import source_rows
from mmvae_bary.metrics import (
    ClassifierFeatures,
    CrossModalCoherence,
    FrechetDistance,
    JointCoherence,
    LinearProbe,
    LogLikelihood,
    ReconstructionQuality,
)
from mmvae_bary.metrics.coherence import judged_sources, sources
from mmvae_bary.networks import MLPClassifier
from tests.conftest import PRESETS, SHAPES, tiny_batch, tiny_model

Work = Callable[[], Tensor | None]


def training(cls: type[MultimodalVAE], masked: bool) -> Work:
    model, batch = tiny_model(cls, 2), tiny_batch(masked=masked)
    return lambda: model.elbo(batch, model.encode_batch(batch)).loss


def judging() -> Work:
    """What the callbacks do with a batch of the test set."""
    model, batch = tiny_model(MWBVAE, 2).eval(), tiny_batch()
    names = model.names
    networks: dict[str, nn.Module] = {
        name: MLPClassifier(shape, 10).eval() for name, shape in SHAPES.items()
    }
    probe, coherence = LinearProbeCallback(), CoherenceCallback(networks)
    likelihood, quality = LogLikelihoodCallback(num_samples=3), QualityCallback()
    probe.probe = LinearProbe(names, 10)
    for key, shape in (("weight", (7, 4, 10)), ("bias", (7, 1, 10))):
        setattr(probe.probe, key, torch.zeros(shape))
    probe.probe.fitted = torch.ones(7, 1, dtype=torch.bool)
    coherence.cross_modal = CrossModalCoherence(names, networks, num_classes=10)
    coherence.joint = JointCoherence(names, networks)
    coherence.source_rows = source_rows(model, judged_sources)
    likelihood.metrics, likelihood.num_left = [LogLikelihood(names)], 4
    quality.frechet = FrechetDistance(
        names, {name: ClassifierFeatures(network) for name, network in networks.items()}
    )
    quality.reconstruction = ReconstructionQuality(names, {"image": SHAPES["image"]})
    quality.source_rows = source_rows(model, sources)

    @torch.no_grad()
    def judge() -> None:
        encoding = model.encode_batch(batch)
        for callback in (probe, coherence, likelihood, quality):
            callback.update(model, batch, encoding)

    return judge


WORK: dict[str, Callable[[], Work]] = {
    **{
        f"training {cls.__name__}, {'masked' if masked else 'complete'}": (
            partial(training, cls, masked)
        )
        for cls in PRESETS
        for masked in (False, True)
    },
    "judging": judging,
}


# what metrics do with their states to keep a copy of them
@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")
@pytest.mark.parametrize("name", WORK)
def test_as_if_on_a_gpu_nothing_asks_for_a_value(name: str) -> None:
    with FakeTensorMode(allow_non_fake_inputs=True), torch.device("cuda"):
        try:
            torch.empty(2).uniform_()
        except RuntimeError:
            pytest.skip("this torch cannot pretend without a driver")
        WORK[name]()()


def test_pretended_tensors_do_raise() -> None:
    with FakeTensorMode(), pytest.raises(DataDependentOutputException):
        bool(torch.ones(2, device="cuda").any())


@pytest.fixture
def _default_mode() -> Iterator[None]:
    yield
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.usefixtures("_default_mode")
@pytest.mark.parametrize("name", WORK)
def test_on_a_gpu_nothing_waits(name: str) -> None:
    with torch.device("cuda"):
        work = WORK[name]()
    for mode in ("default", "error"):  # the first time, libraries set themselves up
        torch.cuda.set_sync_debug_mode(mode)
        result = work()
        if result is not None:
            result.backward()
