# SPDX-License-Identifier: MIT
"""Configuration of Sphinx: `sphinx-build -W -n docs docs/_build`."""

import importlib.metadata

project = "pybatch_async"
author = "The pybatch_async developers"
project_copyright = author
release = importlib.metadata.version("pybatch_async")
extensions = ["sphinx.ext.autodoc", "myst_parser"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"pybatch_async {release}"

myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "description"
add_module_names = False
# Types outside this library are not linked, so that building takes no network; some of its own have no page.
_UNLINKED = r"(?!pybatch_async).*|pybatch_async\.(protocols\.streams\.Completed|jobs\.Waited|parameters\.Submitted)"
nitpick_ignore_regex = [("py:(class|obj|exc)", _UNLINKED)]
