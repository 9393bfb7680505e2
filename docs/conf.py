"""Sphinx configuration: `sphinx-build -W docs docs/_build/html` builds the site, and executes its tutorials."""

import hashlib
import json
import os
import re
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(DOCS / "_ext"))
# Kernels of tutorials start in the folders of their pages, where this checkout is not found otherwise.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))

import ammup

project = "ammup"
author = "the ammup maintainers"
copyright = f"2026, {author}"  # Sphinx reads this name
release = version = installed_version("ammup")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_click",
    "sphinx_copybutton",
    "sphinx_design",
    "repository_links",
]
exclude_patterns = ["_build", "_ext"]
html_theme = "furo"
html_title = "ammup"
html_static_path = ["_static"]
html_css_files = ["ammup.css"]
html_theme_options = {
    "source_repository": "https://github.com/ammup/ammup/",
    "source_branch": "main",
    "source_directory": "docs/",
}
suppress_warnings = ["myst-nb.lexer"]  # only without executing the tutorials, as the test of the site builds it

# Markdown
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "attrs_inline"]
myst_heading_anchors = 4
smartquotes = False  # they turn the two dashes of options into one
default_role = "code"  # docstrings put names in single backticks

# Docstrings
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True, "show-inheritance": False}
python_use_unqualified_type_names = True

# Tutorials are executed when the site is built, with warnings and errors failing the build. The cache is keyed by the
# source of the library, because the key of jupyter-cache covers the cells of a page only: without it, a page would keep
# the output of an older version of ammup.
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_timeout = 900  # seconds for a cell, on a machine that is busy with other work
nb_merge_streams = True


def _digest_of_library() -> str:
    digest = hashlib.sha256()
    for path in sorted((ROOT / "ammup").rglob("*")):
        if path.suffix in {".py", ".toml", ".jinja", ".json"}:
            digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


_cache = Path(os.environ.get("AMMUP_DOCS_CACHE") or DOCS / "_build" / "executed")
nb_execution_cache_path = str(_cache / _digest_of_library())
os.environ.setdefault("COLUMNS", "100")  # the width of the tables that commands print in tutorials


def _link_public_names(_app, _what, _name, _obj, _options, lines) -> None:
    """Show references of docstrings to internal modules, which have no page, as code."""
    for i, line in enumerate(lines):
        lines[i] = re.sub(r":(?:mod|class|func|meth|attr):`([^`]+)`", _public_or_code, line)


def _public_or_code(match: re.Match[str]) -> str:
    target = match[1]
    public = target.startswith("ammup.") and target.count(".") == 1 and target.removeprefix("ammup.") in ammup.__all__
    return match[0] if public else f"``{target}``"


def _examples_as_code(_app, _context, lines: list[str]) -> None:
    """Show the examples in the help of a command as code; sphinx-click makes verses of them."""
    shown: list[str] = []
    for line in lines:
        if line.startswith("| ") and line.endswith(":"):
            shown += [line.removeprefix("| "), "", ".. code-block:: text", ""]
        else:
            shown.append("   " + line.removeprefix("| ") if line.startswith("| ") else line)
    lines[:] = shown


def _write_schemas(app, error) -> None:
    """Publish the JSON Schemas at the addresses that they state."""
    from ammup.schemas.schema import MODELS, json_schema

    if error is None and app.builder.format == "html":
        folder = Path(app.outdir) / "schemas"
        folder.mkdir(exist_ok=True)
        for name in MODELS:
            (folder / f"{name}.json").write_text(json.dumps(json_schema(name), indent=1), encoding="utf-8")


def setup(app) -> None:
    """Connect the handlers of docstrings, commands and schemas."""
    app.connect("build-finished", _write_schemas)
    app.connect("sphinx-click-process-description", _examples_as_code)
    app.connect("autodoc-process-docstring", _link_public_names)
