"""The order in which the workers of xdist take the tests: what takes longest first, so that no core is idle at the end.

By default, xdist begins with the files of the most tests; the slowest ones, which have few, would come last.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

# Files of few tests that take longest, in descending order of their CPU seconds. A file that is missing from the list
# costs some idle time at the end, and nothing else.
LONGEST = (
    "tests/experiments/test_killed.py",
    "tests/experiments/test_determinism.py",
    "tests/bad_input/test_properties.py",
    "tests/gate/test_projects.py",
    "tests/measurement/test_param_groups.py",
    "tests/experiments/test_pool.py",
    "tests/experiments/test_sweep.py",
    "tests/measurement/test_sharpness.py",
    "tests/users/test_maintainer.py",
    "tests/users/test_researcher.py",
    "tests/cli/test_exponent.py",
    "tests/cli/test_check.py",
    "tests/cli/test_transfer.py",
    "tests/measurement/test_late.py",
    "tests/experiments/test_search.py",
    "README.md",
)
# Claims that measure the same nets. The draws are kept in memory, so one worker measures them for all of its claims.
TOGETHER = (
    ("theorem-1.exponent-mlp", "theorem-1.effective-depth-mlp"),
    ("law.field-1d", "theorem-1.exponent-1d", "theorem-1.effective-depth-1d"),
    ("theorem-1.exponent-2d", "theorem-1.effective-depth-2d"),
    ("law.residual-m1", "theorem-3.exponent-m1"),
    ("law.residual-m3-last", "theorem-3.exponent-m3-last"),
    ("lemma-3.recursion", "lemma-3.upper-bound", "lemma-3.lower-bound", "lemma-3.comparison"),
    ("sharpness.growth-plain", "sharpness.growth-plain-limit", "sharpness.law-plain"),
    ("sharpness.growth-residual", "sharpness.growth-residual-limit", "sharpness.growth-residual-last-limit"),
)
_LEADERS = {claim: group[0] for group in TOGETHER for claim in group}
BASELINES = Path(__file__).parents[1] / "baselines"


def sort(nodeids: Iterable[str]) -> list[str]:
    """The tests by scope: the longest files or claims first, then the files of the most tests."""
    scopes = defaultdict(list)
    for nodeid in nodeids:
        scopes[scope(nodeid)].append(nodeid)
    return [
        nodeid for name in sorted(scopes, key=lambda name: _rank(name, len(scopes[name]))) for nodeid in scopes[name]
    ]


def scope(nodeid: str) -> str:
    """What one worker runs: the tests of a file, a claim with those that measure the same nets, or a fault."""
    path, _, name = nodeid.partition("::")
    if path == "tests/statistical/test_faults.py":
        return nodeid
    claim = re.fullmatch(r"test_claim\[(.+)\]", name) if path == "tests/statistical/test_claims.py" else None
    return path if claim is None else f"claim {_LEADERS.get(claim[1], claim[1])}"


def _rank(name: str, tests: int) -> tuple[float, int]:
    """A sort key of a scope, which is smaller the earlier the scope comes."""
    if name.startswith("claim "):
        return -seconds().get(name.removeprefix("claim "), 0.0), 0
    return (float(LONGEST.index(name)) - len(LONGEST) if name in LONGEST else 0.0), -tests


@lru_cache(1)
def seconds() -> dict[str, float]:
    """The stored duration of each claim's measurement, with those that measure the same nets."""
    found: dict[str, float] = defaultdict(float)
    for path in BASELINES.glob("*.json"):
        for record in json.loads(path.read_text())["claims"]:
            found[_LEADERS.get(record["id"], record["id"])] += record["provenance"]["seconds"]
    return dict(found)
