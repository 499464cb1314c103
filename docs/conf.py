"""How the documentation is built: `make docs`; a warning is an error."""

from importlib.metadata import version as installed_version

project = "rgo"
author = "The RGO developers"
release = version = installed_version("rgo")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

autodoc_member_order = "bysource"
# Neither needed for their documentation nor installed everywhere.
autodoc_mock_imports = ["accelerate", "avalanche", "lightning", "transformers"]
autodoc_typehints = "none"  # the numpydoc sections say it with shapes
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
default_role = "literal"

html_theme = "furo"
html_title = f"rgo {release}"
html_static_path: list[str] = []
