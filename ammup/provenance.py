"""What a figure may depend on beside its inputs: commit, versions, machine."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("ammup", "torch", "numpy")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers come from."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # run from a source tree that was not installed
            found[package] = "unknown"
    return found


def git(*arguments: str, cwd: Path) -> str:
    """What git prints in ``cwd``, or nothing where that is no checkout."""
    try:
        done = subprocess.run(["git", *arguments], cwd=cwd, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def commit_of(folder: Path) -> tuple[str | None, bool | None]:
    """(commit, whether tracked files have uncommitted changes) of the checkout that holds ``folder``, or (None, None).

    Files that git does not know do not count: the store itself is often one of them.
    """
    commit = git("rev-parse", "HEAD", cwd=folder)
    return (commit, bool(git("status", "--porcelain", "--untracked-files=no", cwd=folder))) if commit else (None, None)
