"""Read from the git checkout of the baselines: the provenance of a measurement, and the records of another commit."""

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
    """The output of git in the checkout of ammup; "" outside a checkout or if git fails."""
    folder = baselines.folder()
    return "" if folder == baselines.INSTALLED else _provenance.git(*arguments, cwd=folder.parent)


def provenance(seconds: float) -> Provenance:
    """The provenance of a measurement that took this many seconds: commit, environment, command and date."""
    commit, dirty = git("rev-parse", "HEAD"), bool(_uncommitted())
    if baselines.folder() == baselines.INSTALLED:  # a wheel, which contains the commit that it was built from
        built_from, changed = _provenance.ammup_commit()
        commit, dirty = built_from or "", bool(changed)
    return Provenance(
        commit=commit,
        dirty=dirty,
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        **environment().to_dict(),
        command=" ".join(["ammup", *sys.argv[1:]]),
        seconds=round(seconds, 1),
    )


def at_commit(commit: str) -> dict[str, ClaimRecord]:
    """The records in another commit of this checkout, by claim id.

    Args:
        commit: hash, branch or tag.

    Raises:
        InputError: the commit is unknown or contains an invalid baseline file.
    """
    folder = baselines.folder()
    names = git("ls-tree", "--name-only", commit, f"{folder.name}/")
    if not git("rev-parse", "--verify", f"{commit}^{{commit}}"):
        raise InputError(f"{commit!r} is not a commit of {folder.parent}; expected a hash, a branch or a tag")
    records: dict[str, ClaimRecord] = {}
    for name in names.splitlines():
        if name.endswith(".json"):
            records |= baselines.parse(git("show", f"{commit}:{name}"), f"{commit}:{name}")
    return records


def check_updatable(environ: Mapping[str, str] | None = None) -> None:
    """Raise InputError if baselines must not be updated here.

    An update must be reviewed, so it is rejected under CI. Each record stores the commit that it measured, so an update
    is rejected outside a git checkout and with uncommitted changes.

    Args:
        environ: environment variables, by default those of this process.

    Raises:
        InputError: under CI, outside a git checkout, or with uncommitted changes.
    """
    variables = os.environ if environ is None else environ
    if variables.get("CI", "") not in ("", "0", "false"):
        raise InputError("baselines cannot be updated under CI, where a changed result must fail; update them locally")
    if not git("rev-parse", "HEAD"):
        raise InputError(
            "baselines can be updated only in a git checkout of ammup, because each record stores the commit"
        )
    if _uncommitted():
        raise InputError(
            "there are uncommitted changes; commit them first, because each record stores the commit that it measured"
        )


def _uncommitted() -> str:
    """The uncommitted changes, except those of baseline files, so that an interrupted update can be resumed."""
    return git("status", "--porcelain", "--", ".", f":!{baselines.folder().name}/*.json")
