"""How the pages are built: ``sphinx-build -W docs docs/_build``."""

from mmvae_bary import __version__

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
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
autodoc_typehints = "none"  # they stand in the signatures of the source, docstrings say shapes
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
python_use_unqualified_type_names = True
napoleon_use_ivar = True

html_theme = "furo"
html_title = "mmvae_bary"
