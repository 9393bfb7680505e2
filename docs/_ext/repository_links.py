"""A Sphinx extension that turns links to files of the repository outside of docs/ into links to the hosted repository.

On GitHub the relative links work as they are. A link to a file that does not exist is a warning, which fails the build.
"""

import os
import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util import logging

BASE = "https://github.com/ammup/ammup"
# [text](target): not an image, not a URL, not an anchor of the same page.
_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]\[]*)\]\((?P<target>\.\.?/[^)#\s]*)(?P<anchor>#[^)]*)?\)")
logger = logging.getLogger(__name__)


def hosted(text: str, page: Path, root: Path) -> tuple[str, list[str]]:
    """The text of a page with links to the hosted repository, and the targets that do not exist.

    Args:
        text: Markdown.
        page: the file of the page.
        root: the root of the repository.
    """
    missing = []

    def replacement(match: re.Match[str]) -> str:
        path = Path(os.path.normpath(page.parent / match["target"]))
        if path.is_relative_to(root / "docs") and path.suffix in {".md", ""} and not path.is_dir():
            return match[0]  # a page of the site, which Sphinx checks
        if not path.exists():
            missing.append(match["target"])
        kind = "tree" if path.is_dir() else "blob"
        return f"[{match['text']}]({BASE}/{kind}/main/{path.relative_to(root).as_posix()}{match['anchor'] or ''})"

    return _LINK.sub(replacement, text), missing


def _on_source_read(app: Sphinx, name: str, content: list[str]) -> None:
    page = Path(app.env.doc2path(name))
    if page.suffix != ".md":
        return
    content[0], missing = hosted(content[0], page, Path(app.srcdir).parent)
    for target in missing:
        logger.warning("link to a file that does not exist: %s", target, location=name)


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the extension."""
    app.connect("source-read", _on_source_read)
    return {"parallel_read_safe": True}
