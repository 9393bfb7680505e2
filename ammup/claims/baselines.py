"""Baselines: what each claim's figure was, how it was obtained, and whether it has moved.

One JSON file for each group of claims, ``baselines/<group>.json``; `ammup claims` prints the ledger from them.
"""

import math
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ammup import provenance as _provenance
from ammup.errors import InputError
from ammup.gate.environment import DRIFT_ERRORS, ENVIRONMENT, environment, write_json
from ammup.parsing import parse_json
from ammup.stats.equivalence import Estimate
from ammup.stats.verdicts import VERDICTS

SCHEMA_VERSION = 1
# Where torch, device and dtype are those of the baseline, the same seeds give the same figure but for the order of
# additions (threads, vector units): far less than this share of the standard error.
NEAR = 0.01
# The first few draws may move by so much of their own standard error, and by rounding where there is none.
SAMPLE_NEAR, SAMPLE_ROUNDING = 0.1, 1e-6
Record = dict[str, Any]
INSTALLED = Path(__file__).parent / "stored"
TEXTS = ("where", "statement", "change", "remark", "stated")
NUMBER = (int, float)
TRACED = ("commit", "date", "python", *ENVIRONMENT)
# What a record holds, of which type.
NEEDED: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(
        ("id", "where", "statement", "change", "remark", "verdict", "key", "regime", "estimator", "reason"), (str,)
    ),
    **dict.fromkeys(("estimate", "se", "interval_level", "power", "false_alarm", "alpha", "reference"), NUMBER),
    **dict.fromkeys(("root", "n", "looks"), (int,)),
    **dict.fromkeys(("stated", "interval"), (list,)),
    "law": (list, type(None)),
    "margin": (*NUMBER, type(None)),
    "exact": (bool,),
    "provenance": (dict,),
}


def folder() -> Path:
    """Where the baselines are: in the checkout, or those that were installed with the package."""
    checkout = Path(__file__).parents[2] / "baselines"
    return checkout if (checkout.parent / "pyproject.toml").is_file() else INSTALLED


def read(where: Path | None = None) -> dict[str, Record]:
    """Every record by claim id, in the order of the files.

    Raises:
        InputError: a file that is not a baseline file of this version.
    """
    records: dict[str, Record] = {}
    for path in sorted((where or folder()).glob("*.json")):
        records |= parse(path.read_bytes(), str(path))
    return records


def parse(text: str | bytes, name: str) -> dict[str, Record]:
    """The records of one file's text."""
    try:
        content = parse_json(text)
        version, claims = content["schema_version"], content["claims"]
        complete = all(_complete(record) for record in claims)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{name} is not a baseline file ({type(error).__name__}: {error}); restore it from git"
        ) from error
    if version != SCHEMA_VERSION or not complete:
        raise InputError(
            f"{name} has incomplete records, or schema version {version} where this ammup reads {SCHEMA_VERSION}; "
            "restore it from git, or delete it and measure again"
        )
    return {str(record["id"]): dict(record) for record in claims}


def _complete(record: Any) -> bool:
    """Whether a record has all that is needed, each of its type, and ends of intervals are numbers or open."""
    if not isinstance(record, dict) or not record.keys() >= NEEDED.keys():
        return False
    if not all(
        isinstance(record[name], kinds) and isinstance(record[name], bool) == (kinds == (bool,))
        for name, kinds in NEEDED.items()
    ):
        return False
    if record["verdict"] not in VERDICTS:
        return False
    ends = [record[name] for name in ("stated", "law", "interval") if record[name] is not None]
    numbers = all(end is None or isinstance(end, NUMBER) for pair in ends for end in pair)
    made = all(isinstance(record["provenance"].get(name), str) for name in TRACED)
    made = made and {"threads", "seconds"} <= record["provenance"].keys()
    return made and numbers and all(len(pair) == 2 for pair in ends)


def write(records: Iterable[Record], group: str, where: Path | None = None) -> Path:
    """Write one group's file, whole or not at all."""
    path = (where or folder()) / f"{group}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json({"schema_version": SCHEMA_VERSION, "claims": list(records)}, path)
    return path


def provenance(seconds: float) -> dict[str, Any]:
    """Environment, commit, command and time of a measurement."""
    return {
        "commit": git("rev-parse", "HEAD"),
        # The baselines that the same update has written already are no change of what is measured.
        "dirty": bool(_uncommitted()),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        **environment(),
        "command": " ".join(["ammup", *sys.argv[1:]]),
        "seconds": round(seconds, 1),
    }


def _uncommitted() -> str:
    """Changes but for those of the baselines, so that an update that was cut off can go on."""
    return git("status", "--porcelain", "--", ".", f":!{folder().name}/*.json")


def git(*arguments: str) -> str:
    """What git prints, or nothing outside a checkout of ammup."""
    if folder() == INSTALLED:
        return ""
    return _provenance.git(*arguments, cwd=folder().parent)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A new record beside the stored one.

    Attributes:
        id: of the claim.
        old: the stored record, or None.
        new: the new record.
        problems: why they do not agree, one sentence each; empty where they do.
    """

    id: str
    old: Record | None
    new: Record
    problems: tuple[str, ...]

    @property
    def moved(self) -> bool:
        """Whether the stored record must be rewritten to hold the new one."""
        return (
            bool(self.problems)
            or self.old is None
            or _text(self.old) != _text(self.new)
            or _sample_moved(self.new, self.old)
        )

    @property
    def verdict_changed(self) -> bool:
        """Whether a stored verdict is another one now."""
        return self.old is not None and self.old["verdict"] != self.new["verdict"]


def compare(new: Record, old: Record | None) -> Comparison:
    """Hold a new record against the stored one.

    Nearly exact where torch, device, dtype and seeds are the same; within the claim's drift margin otherwise.
    """
    return Comparison(id=new["id"], old=old, new=new, problems=tuple(_problems(new, old)))


def _problems(new: Record, old: Record | None) -> list[str]:
    if old is None:
        return ["there is no baseline; measure one with `ammup baselines update`"]
    if old["key"] != new["key"]:
        return ["the claim was defined differently when its baseline was measured"]
    problems = []
    if old["verdict"] != new["verdict"]:
        problems.append(f"verdict {old['verdict']!r} became {new['verdict']!r}")
    if not new["exact"]:  # an exact figure is held by its region alone: what it is off by is rounding
        same = old["root"] == new["root"] and all(old["provenance"][k] == new["provenance"][k] for k in ENVIRONMENT)
        allowed = NEAR * old["se"] if same else drift_margin(new, old)
        if abs(new["estimate"] - old["estimate"]) > allowed:
            kind = "the same seeds, torch and device" if same else "another torch, device or seed root"
            problems.append(f"{old['estimate']:.6g} became {new['estimate']:.6g}; {kind} allow {allowed:.2g}")
    return problems


def drift_margin(new: Record, old: Record) -> float:
    """How far a figure may be from its baseline elsewhere.

    The margin of the region that is guarded, or what two independent samples of this precision may differ by where that
    is more.
    """
    scatter = DRIFT_ERRORS * float(np.hypot(new["se"], old["se"]))
    return max(new["margin"] or 0.0, scatter)


def sample_margin(estimate: Estimate, sample: float, n: int) -> float:
    """How far the figure of the first ``n`` draws may move before it counts as moved.

    Rounding moves it by far less; any change of what is measured, by far more.
    """
    return max(SAMPLE_NEAR * estimate.se * math.sqrt(estimate.n / n), SAMPLE_ROUNDING * max(1.0, abs(sample)))


def _sample_moved(new: Record, old: Record) -> bool:
    before, after = old.get("sample"), new["sample"]
    return before is None or abs(after["estimate"] - before["estimate"]) > before["allowed"]


def _text(record: Record) -> tuple[object, ...]:
    law = record["law"] and [None if end is None else float(f"{end:.6g}") for end in record["law"]]
    return (*(record[name] for name in TEXTS), law)


def check_updatable(environ: Mapping[str, str] | None = None) -> None:
    """Refuse to update where nobody would see it, or where it could not be told what was measured.

    Raises:
        InputError: under CI, outside a git checkout, or with uncommitted changes.
    """
    if (os.environ if environ is None else environ).get("CI", "") not in ("", "0", "false"):
        raise InputError("baselines are not updated under CI: a moved figure there is what they are for")
    if not git("rev-parse", "HEAD"):
        raise InputError("baselines are updated in a git checkout of ammup, so that each figure names its commit")
    if _uncommitted():
        raise InputError("there are uncommitted changes; commit them first, so that the figures name what was measured")


def differences(
    before: Mapping[str, Record], after: Mapping[str, Record]
) -> list[tuple[str, Record | None, Record | None]]:
    """Claims that are new, gone or whose figure or verdict is another: (id, before, after)."""
    ids = [*before, *(name for name in after if name not in before)]
    pairs = [(name, before.get(name), after.get(name)) for name in ids]
    return [(name, a, b) for name, a, b in pairs if a is None or b is None or _figure(a) != _figure(b)]


def _figure(record: Record) -> tuple[object, ...]:
    return record["verdict"], record["estimate"], record["se"], record["key"]


def at_commit(commit: str) -> dict[str, Record]:
    """The records of another commit of this checkout.

    Raises:
        InputError: no such commit here.
    """
    names = git("ls-tree", "--name-only", commit, f"{folder().name}/")
    if not git("rev-parse", "--verify", f"{commit}^{{commit}}"):
        raise InputError(f"{commit!r} is not a commit of {folder().parent}; give a hash, a branch or a tag")
    records: dict[str, Record] = {}
    for name in names.splitlines():
        if name.endswith(".json"):
            records |= parse(git("show", f"{commit}:{name}"), f"{commit}:{name}")
    return records


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return time.perf_counter() - self._start


def ordered(records: Iterable[Record], ids: Sequence[str]) -> list[Record]:
    """Records in the order of the ids."""
    place = {name: i for i, name in enumerate(ids)}
    return sorted(records, key=lambda record: place.get(record["id"], len(place)))
