"""How the pages are built: ``sphinx-build -W docs docs/_build``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmvae_bary import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "mmvae_bary"
author = "The mmvae_bary authors"
release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]
nitpicky = True
nitpick_ignore_regex = [  # what other libraries document, and short names of types
    ("py:class", r"(abc|lightning|torch|torchmetrics)\..*|Distribution|Gaussian|Tensor"),
]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
autodoc_typehints = "none"  # they stand in the signatures of the source, docstrings say shapes
autodoc_member_order = "bysource"
autodoc_default_options = {
    "members": True,
    "show-inheritance": True,
    "exclude-members": "extra_repr",  # what print shows of a module
}
python_use_unqualified_type_names = True
napoleon_use_ivar = True

UNLISTED = {"_ScaledLikelihood", "Convolutional"}

html_theme = "furo"
html_title = "mmvae_bary"
html_show_copyright = False


def show_public_bases(app: Sphinx, name: str, obj: type, options: Any, bases: list[type]) -> None:
    """Of a base that is documented nowhere show its own base."""
    bases[:] = [(base.__base__ or base) if base.__name__ in UNLISTED else base for base in bases]


def end_blocks(app: Sphinx, page: str, source: list[str]) -> None:
    """Cut the empty line that ends a doctest and its block."""
    source[0] = source[0].replace("\n\n```\n", "\n```\n")


def setup(app: Sphinx) -> None:
    """Leave out unlisted bases, and that a named tuple's fields are numbered."""
    app.connect("source-read", end_blocks)
    app.connect("autodoc-process-bases", show_public_bases)
    app.connect(
        "autodoc-skip-member",
        lambda app, what, name, member, skip, options: (
            True if (member.__doc__ or "").startswith("Alias for field number") else None
        ),
    )
