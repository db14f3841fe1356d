"""What the pages say holds: the tutorials run, and every public name is documented."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import mmvae_bary
from tests.test_cli import results

DOCS = Path(__file__).parents[1] / "docs"


def block(page: str, name: str) -> str:
    """The block of a page that is the file of that name."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found = re.search(rf"```\w+\n(# {re.escape(name)}\n.*?)```", text, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_tutorials_benchmark_runs_as_it_stands() -> None:
    for name in ("halves.py", "halves.yaml"):
        Path(name).write_text(block("extending.md", name), encoding="utf-8")
    command = [sys.executable, "-m", "mmvae_bary.cli", "fit", "--config=halves.yaml"]
    done = subprocess.run(
        [*command, "--trainer.max_steps=150"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (run,) = Path().glob("runs/halves/version_0")
    figures = results(run)
    assert figures["probe/accuracy/top+bottom"] > 0.5
    assert "coherence/top->bottom" in figures


def test_every_public_name_is_documented() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in DOCS.glob("api/*.md"))
    modules = [importlib.import_module(x) for x in re.findall(r"automodule:: (\S+)", pages)]
    assert len(modules) == len(set(modules))
    documented = {name for x in modules for name in getattr(x, "__all__", vars(x))}
    assert set(mmvae_bary.__all__) <= documented


def test_every_page_is_to_be_found() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8").splitlines()
    pages = {page.relative_to(DOCS).with_suffix("").as_posix() for page in DOCS.rglob("*.md")}
    assert pages - {"index"} <= {re.sub(r".+<(.+)>", r"\1", line) for line in index}
