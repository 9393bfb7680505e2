"""The description of the running command that a store keeps. It needs neither PyTorch nor pandas."""

import sys
from pathlib import Path

from ammup.experiments.schema import Invocation
from ammup.provenance import ammup_commit, commit_of, versions


def this_invocation() -> Invocation:
    """Describe the running command, with the commits of its working directory and of ammup."""
    commit, dirty = commit_of(Path.cwd())
    built_from, built_dirty = ammup_commit()
    return Invocation(
        command=" ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        folder=str(Path.cwd()),
        commit=commit,
        dirty=dirty,
        ammup_commit=built_from,
        ammup_dirty=built_dirty,
        versions=versions(),
    )
