"""The provenance of a result: the git commit and the versions of the packages that computed it."""

import json
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("ammup", "torch", "numpy")
# The file with the commit of a wheel or a source distribution, which hatch_build.py writes.
RECORD = Path(__file__).with_name("built_from.json")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that compute the results."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # ammup runs from a source tree and is not installed
            found[package] = "unknown"
    return found


def git(*arguments: str, cwd: Path) -> str:
    """The standard output of a git command in ``cwd``, or an empty string if the command fails."""
    try:
        done = subprocess.run(["git", *arguments], cwd=cwd, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def commit_of(folder: Path) -> tuple[str | None, bool | None]:
    """(commit, whether tracked files have uncommitted changes) of the checkout that contains ``folder``.

    The result is (None, None) if the folder is not in a git checkout. Untracked files are ignored, because the store of
    a sweep is often an untracked file.
    """
    commit = git("rev-parse", "HEAD", cwd=folder)
    return (commit, bool(git("status", "--porcelain", "--untracked-files=no", cwd=folder))) if commit else (None, None)


def ammup_commit() -> tuple[str | None, bool | None]:
    """(commit, whether there were uncommitted changes) of the source of the running ammup; (None, None) if unknown.

    An installed wheel contains a record of the checkout that it was built from. Without a record, it is the commit of
    the checkout that contains this file. If git does not track this file, the checkout belongs to another project, and
    the commit is unknown.
    """
    if RECORD.is_file():
        return _recorded(RECORD)
    folder = Path(__file__).parents[1]
    tracked = git("ls-files", "--error-unmatch", "ammup/provenance.py", cwd=folder)
    return commit_of(folder) if tracked else (None, None)


def _recorded(path: Path) -> tuple[str | None, bool | None]:
    """The content of a record; (None, None) if it is invalid."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        commit, dirty = content["commit"], content["dirty"]
    except (OSError, ValueError, TypeError, KeyError):
        return None, None
    return (commit, dirty) if isinstance(commit, str) and isinstance(dirty, bool) else (None, None)


def commit_text() -> str:
    """The commit of the running ammup, or "unknown", and whether there were uncommitted changes."""
    commit, dirty = ammup_commit()
    return f"{commit or 'unknown'}{', with uncommitted changes' if dirty else ''}"
