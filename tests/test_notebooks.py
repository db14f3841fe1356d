"""The notebooks run from their first cell to their last, and stay small in the repository."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
import torch
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError

TIMEOUT = 300  # seconds of a cell
STACKS = """import faulthandler
faulthandler.dump_traceback_later(60, repeat=True, file=open("stacks.txt", "w"))"""
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


def _innermost(stacks: str) -> str:
    """Where the main thread was at the end of each minute, innermost call first."""
    main = [of_all.rpartition("Thread 0x")[2] for of_all in stacks.split("Timeout (")[1:]]
    return "\n".join("\n".join(stack.split("\n")[:12]) for stack in main)


def test_both_are_there() -> None:
    assert NOTEBOOKS == ["digits.ipynb", "own_data.ipynb"]


def test_a_kernel_has_no_more_threads_than_this_process() -> None:
    assert int(os.environ["OMP_NUM_THREADS"]) == torch.get_num_threads()


@pytest.mark.filterwarnings("default")  # of Jupyter's own
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs(name: str, tmp_path: Path) -> None:
    notebook = read(name)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(STACKS))
    where = {"metadata": {"path": str(tmp_path)}}
    client = NotebookClient(notebook, timeout=TIMEOUT, kernel_name="python3", resources=where)
    try:
        client.execute()
    except CellTimeoutError as error:
        pytest.fail(f"{error}{_innermost((tmp_path / 'stacks.txt').read_text('utf-8'))}")
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
