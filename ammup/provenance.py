"""The provenance of a result: the git commit and the versions of the packages that computed it."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("ammup", "torch", "numpy")


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
