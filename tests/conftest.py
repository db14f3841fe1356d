"""Seeds, small models and small data that the tests share."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch
from hypothesis import Phase
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from mmvae_bary import (
    MWBVAE,
    WBVAE,
    Batch,
    DigitsDataModule,
    Modality,
    MoEVAE,
    MoPoEVAE,
    MultimodalDataModule,
    MultimodalVAE,
    PoEVAE,
)
from mmvae_bary.barycenters import Barycenter
from mmvae_bary.distributions import DiagonalGaussian, diagonal_gaussian
from mmvae_bary.likelihoods import Categorical, Laplace, Normal
from mmvae_bary.networks import MLPDecoder, MLPEncoder

# of processes that share the cores (pytest -n) each has one thread, and so have those they start:
# with two, whose turns come apart, a step takes ten times as long. Set, as workers inherit the
# number of the process that started them
THREADS = "1" if "PYTEST_XDIST_WORKER" in os.environ else "2"
os.environ["OMP_NUM_THREADS"] = THREADS
torch.set_num_threads(int(THREADS))

# shrinking takes minutes, and what is drawn is small as it is
_settings: dict[str, Any] = {"deadline": None, "phases": [Phase.generate]}
hypothesis.settings.register_profile("ci", max_examples=25, derandomize=True, **_settings)
hypothesis.settings.register_profile("nightly", max_examples=1000, **_settings)
hypothesis.settings.load_profile("ci")

PRESETS = [PoEVAE, MoEVAE, MoPoEVAE, WBVAE, MWBVAE]

# MultiVae, which it imports, is only there to be compared with
collect_ignore = [] if find_spec("multivae") else ["benchmarks/peer.py"]


def barycenter_names() -> set[str]:
    """The names of all classes of the family, which no list of it may leave out."""
    found: set[str] = set()
    queue = Barycenter.__subclasses__()
    while queue:
        cls = queue.pop()
        queue += cls.__subclasses__()
        if cls.__module__.startswith("mmvae_bary"):
            found.add(cls.__name__)
    return found


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--unseed", action="store_true", help="draw new random numbers in each run")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "gpu" in item.keywords and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="no CUDA device on this machine"))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What tests of reliability have tallied; here, where pytest-xdist's first process looks."""
    counts: dict[str, dict[str, int]] = defaultdict(lambda: {"passed": 0, "tried": 0})
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for key, kind in report.user_properties if report.when == "call" else ():
                counts[kind][key] += 1
    if counts:
        terminalreporter.section("reliability, passed / tried")
        for kind, count in sorted(counts.items()):
            terminalreporter.line(f"{kind:32} {count['passed']:5} / {count['tried']}")


@pytest.fixture(autouse=True)
def _seed(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--unseed"):
        torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test in an empty folder, so that none leaves anything in the repository."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data, MMVAE_DATA or ../shared/data; skips where there is neither."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("MMVAE_DATA", beside)).absolute()
    if not folder.is_dir():
        pytest.skip(f"no real data: set MMVAE_DATA (looked in {folder})")
    return folder


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One folder of learned classifiers for the session."""
    return str(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def data(cache: str) -> DigitsDataModule:
    module = DigitsDataModule(num_train=600, num_validation=100, num_test=203, cache=cache)
    module.setup("fit")
    return module


def random_experts(
    *batch_shape: int, dim: int = 3, dtype: torch.dtype = torch.float32
) -> DiagonalGaussian:
    """Diagonal Gaussians with means of order one and standard deviations from 0.4 to 1.6."""
    loc = torch.randn(*batch_shape, dim, dtype=dtype)
    scale = 0.4 + 1.2 * torch.rand(*batch_shape, dim, dtype=dtype)
    return diagonal_gaussian(loc, scale)


def trainer(*callbacks: Callback, accelerator: str = "cpu", **settings: Any) -> Trainer:
    """A trainer that says and writes nothing."""
    return Trainer(
        callbacks=list(callbacks),
        accelerator=accelerator,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **settings,
    )


def digest(data: MultimodalDataModule) -> str:
    """A number for all tuples of a data module, the same for the same tuples."""
    hashed = hashlib.sha256()
    for split in sorted(data.datasets):
        for batch in data.batches(split, 1000):
            for tensor in (*batch.inputs.values(), batch.label):
                assert tensor is not None
                hashed.update(tensor.numpy().tobytes())
    return hashed.hexdigest()


def digest_elsewhere(made: str) -> str:
    """The digest of a data module that another process makes, by the expression given."""
    code = (
        "import torch; from mmvae_bary import *; from tests.conftest import digest; "
        f"torch.manual_seed(0); data = {made}; data.prepare_data(); data.setup('fit'); "
        "print(digest(data))"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=root
    )
    return done.stdout.split()[-1]


LATENT_DIM = 4
SHAPES = {"image": (1, 4, 4), "code": (6,), "text": (5, 7)}


def tiny_modalities(private_dim: int = 0) -> dict[str, Modality]:
    """Three modalities of different kinds on small networks."""
    width = LATENT_DIM + private_dim
    likelihoods = {"image": Laplace(0.75), "code": Normal(0.5), "text": Categorical()}
    return {
        name: Modality(
            shape,
            MLPEncoder(shape, width, hidden=[16]),
            MLPDecoder(width, shape, hidden=[16]),
            likelihoods[name],
            private_dim,
        )
        for name, shape in SHAPES.items()
    }


def tiny_model(
    cls: type[MultimodalVAE] = MultimodalVAE, private_dim: int = 0, **arguments: Any
) -> MultimodalVAE:
    return cls(tiny_modalities(private_dim), LATENT_DIM, **arguments)


def tiny_inputs(size: int = 5) -> dict[str, Tensor]:
    symbols = torch.randint(7, (size, 5))
    return {
        "image": torch.rand(size, 1, 4, 4),
        "code": torch.randn(size, 6),
        "text": torch.nn.functional.one_hot(symbols, 7).float(),
    }


def tiny_batch(size: int = 5, *, masked: bool = False) -> Batch:
    """A batch; where it is masked, the first sample alone has the first modality."""
    inputs = tiny_inputs(size)
    present = torch.ones(size, len(inputs), dtype=torch.bool) if masked else None
    if present is not None:
        present[1:, 0] = False
    return Batch(inputs, present, torch.arange(size) % 10)


class Batches:
    """A loader of some batches, as Lightning takes each element of a list for one."""

    def __init__(self, number: int = 1) -> None:
        self.batches = [tiny_batch() for _ in range(number)]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)
