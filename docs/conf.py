"""How the pages are built: ``sphinx-build -W docs docs/_build``."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path
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
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]
nitpicky = True
suppress_warnings = ["config.cache"]  # the gallery's settings hold functions
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
html_static_path = ["_static"]
html_css_files = ["custom.css"]
pygments_dark_style = "github-dark"
viewcode_follow_imported_members = False
html_title = "mmvae_bary"
html_show_copyright = False


DATA = os.environ.get("MMVAE_DATA", "")  # a folder of real data
EXAMPLES = {  # what each is called with
    "barycenters": [],
    "digits": [],
    "breast_cancer": ["breast_tcga/breast_tcga.npz"],
    "cite_seq": ["citeseq/citeseq_eccite_pbmc500.npz"],
    "spoken_digits": ["fsdd", "mnist"],
}


def paths_of(gallery: dict[str, Any], script: dict[str, Any]) -> list[str]:
    """The arguments of an example: where its data are."""
    return [str(Path(DATA, path)) for path in EXAMPLES[Path(script["src_file"]).stem]]


def take_pictures(block: Any, script: dict[str, Any], gallery: dict[str, Any]) -> str:
    """Show the pictures that an example has written, and leave none beside it."""
    from sphinx_gallery.scrapers import figure_rst  # doctest imports this file without it

    drawn = sorted(Path(script["src_file"]).parent.glob("*.png"))
    moved = [
        shutil.move(path, to)
        for path, to in zip(drawn, script["image_path_iterator"], strict=False)
    ]
    return "\n".join(figure_rst([path], gallery["src_dir"]) for path in moved)


warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated")  # of Lightning, in outputs
run = "|".join(name for name, paths in EXAMPLES.items() if DATA or not paths)
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": rf"/({run})\.py",
    "image_scrapers": (take_pictures,),
    "reset_argv": paths_of,
    "download_all_examples": False,
    "write_computation_times": False,
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": 3600,
    "remove_config_comments": True,
}


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
