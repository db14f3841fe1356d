"""What a user gets by installing: public names, a light import, configurations and types."""

from __future__ import annotations

import subprocess
import sys
from importlib.resources import files

import pytest

import mmvae_bary


def test_public_names_exist_and_are_documented() -> None:
    for name in mmvae_bary.__all__:
        assert getattr(mmvae_bary, name).__doc__, name


@pytest.mark.parametrize("heavy", ["matplotlib", "sklearn", "wandb", "rich"])
def test_import_brings_nothing_heavy_that_lightning_does_not(heavy: str) -> None:
    code = (
        "import sys, lightning.pytorch.cli, lightning.pytorch.loggers; before = set(sys.modules); "
        f"import mmvae_bary; print({heavy!r} in set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"


def test_package_carries_its_configurations_and_types() -> None:
    package = files("mmvae_bary")
    assert (package / "py.typed").is_file()
    names = {path.name for path in (package / "configs").iterdir()}
    assert {"digits.yaml", "wandb.yaml"} <= names
    assert (package / "published.yaml").is_file()
    assert (package / "report.css").is_file()
