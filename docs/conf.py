"""How Sphinx builds these pages."""

import importlib.metadata

project = "pipefunc_c"
author = "pipefunc_c developers"
release = version = importlib.metadata.version("pipefunc_c")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"pipefunc_c {release}"
nitpicky = False

autodoc_member_order = "bysource"
autodoc_typehints = "description"
napoleon_google_docstring = False
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 2
