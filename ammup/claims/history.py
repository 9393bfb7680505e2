"""The checkout that the baselines belong to: the commit of a measurement, and the records of another commit."""

import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

from ammup import provenance as _provenance
from ammup.claims import baselines
from ammup.claims.record import ClaimRecord, Provenance
from ammup.errors import InputError
from ammup.gate.environment import environment


def git(*arguments: str) -> str:
    """What git prints, or nothing outside a checkout of ammup."""
    folder = baselines.folder()
    return "" if folder == baselines.INSTALLED else _provenance.git(*arguments, cwd=folder.parent)


def provenance(seconds: float) -> Provenance:
    """Commit, environment, command and time of a measurement."""
    return Provenance(
        commit=git("rev-parse", "HEAD"),
        dirty=bool(_uncommitted()),
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        **environment().to_dict(),
        command=" ".join(["ammup", *sys.argv[1:]]),
        seconds=round(seconds, 1),
    )


def at_commit(commit: str) -> dict[str, ClaimRecord]:
    """The records of another commit of this checkout.

    Raises:
        InputError: unknown commit, or an invalid file in it.
    """
    folder = baselines.folder()
    names = git("ls-tree", "--name-only", commit, f"{folder.name}/")
    if not git("rev-parse", "--verify", f"{commit}^{{commit}}"):
        raise InputError(f"{commit!r} is not a commit of {folder.parent}; give a hash, a branch or a tag")
    records: dict[str, ClaimRecord] = {}
    for name in names.splitlines():
        if name.endswith(".json"):
            records |= baselines.parse(git("show", f"{commit}:{name}"), f"{commit}:{name}")
    return records


def check_updatable(environ: Mapping[str, str] | None = None) -> None:
    """Raise InputError where baselines must not be updated: a measurement has to be reviewed and to name its commit.

    Raises:
        InputError: under CI, outside a git checkout, or with uncommitted changes.
    """
    if (os.environ if environ is None else environ).get("CI", "") not in ("", "0", "false"):
        raise InputError("baselines are not updated under CI, where a changed figure must fail; update them locally")
    if not git("rev-parse", "HEAD"):
        raise InputError("baselines are updated in a git checkout of ammup, so that each figure names its commit")
    if _uncommitted():
        raise InputError(
            "there are uncommitted changes; commit them first, so that each figure names the code it was measured with"
        )


def _uncommitted() -> str:
    """Uncommitted changes except those of the baselines, so that an interrupted update can be continued."""
    return git("status", "--porcelain", "--", ".", f":!{baselines.folder().name}/*.json")
