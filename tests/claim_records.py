"""Helpers for tests of the baselines: an example of a record, git commands, and the keys of all claims."""

import json
import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

from ammup.claims.record import ClaimRecord
from ammup.validation import validated

ENVIRONMENT = {
    "torch": "2.9", "device": "cpu", "dtype": "float32", "threads": 1, "numpy": "2.0", "machine": "x86_64",
    "commit": "0123abcd", "date": "2026-01-01", "python": "3.11.0", "seconds": 0.5,
}  # fmt: skip


def stored(**changed: Any) -> dict[str, Any]:
    """An example of a record as stored in a file, with some fields changed."""
    return {
        "id": "law.one",
        "where": "Theorem 1",
        "statement": "S̄ ≤ 1 | always",
        "regime": "dense nets",
        "estimator": "a slope",
        "stated": [-1.0, 1.0],
        "law": None,
        "change": "",
        "remark": "",
        "verdict": "holds",
        "estimate": 0.5,
        "se": 0.01,
        "interval": [0.4, 0.6],
        "interval_level": 0.999,
        "n": 4,
        "looks": 1,
        **dict.fromkeys(("reference", "power", "false_alarm", "alpha"), 0.1),
        "margin": 1.0,
        "exact": False,
        "root": 0,
        "sample": {"seeds": [0, 3], "estimate": 0.4, "allowed": 0.002},
        "key": "0123",
        "reason": "",
        "provenance": dict(ENVIRONMENT),
        **changed,
    }


def record(**changed: Any) -> ClaimRecord:
    return validated(ClaimRecord, stored(**changed))


def git(where: Path, *arguments: str) -> str:
    who = ["-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *who, *arguments], cwd=where, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit(repository: Path) -> str:
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--allow-empty", "--message", "a commit")
    return git(repository, "rev-parse", "HEAD")


@lru_cache
def claim_keys(hash_seed: str) -> dict[str, str]:
    """The key of every claim, computed in a new process without the type checks that the tests add to functions."""
    command = (
        "import json; from ammup.claims.statements import CLAIMS; print(json.dumps({c.id: c.key for c in CLAIMS}))"
    )
    environ = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True, env=environ)
    return dict(json.loads(done.stdout))
