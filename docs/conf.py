"""How the documentation is built: `make docs`; a warning is an error."""

from importlib.metadata import version as installed_version

project = "rgo"
author = "The RGO developers"
release = version = installed_version("rgo")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_design",
]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
templates_path = ["_templates"]
# Written anew at each build, a page an object.
autosummary_imported_members = True
autosummary_generate_overwrite = True

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
html_static_path = ["_static"]
html_css_files = ["narrow.css"]
