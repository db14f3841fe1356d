"""The notebooks run from their first cell to their last, and stay small in the repository."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
import torch
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "examples" / "notebooks"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))


def read(name: str) -> Any:
    return nbformat.read(FOLDER / name, as_version=4)


def shown(notebook: Any, kind: str) -> str:
    """All outputs of a kind, one after the other."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "\n".join(
        output.get("data", {}).get(kind, "") + output.get("text", "") for output in outputs
    )


def test_both_are_there() -> None:
    assert NOTEBOOKS == ["digits.ipynb", "own_data.ipynb"]


def test_a_kernel_has_no_more_threads_than_this_process() -> None:
    assert int(os.environ["OMP_NUM_THREADS"]) == torch.get_num_threads()


@pytest.mark.filterwarnings("default")  # of Jupyter's own
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs(name: str, tmp_path: Path) -> None:
    notebook = read(name)
    where = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=where).execute()
    assert shown(notebook, "text/html").count("<table>") >= 1
    assert len(shown(notebook, "image/png")) > 10_000
    assert "print(model.modalities)" in shown(notebook, "text/plain")
    if name == "digits.ipynb":
        assert shown(notebook, "text/plain").rstrip().endswith("True")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_kept_without_outputs(name: str) -> None:
    for cell in read(name).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
