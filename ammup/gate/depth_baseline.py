"""The baseline of a user's model: a check of its depth exponent, stored as JSON and compared with later checks."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import AfterValidator, Field, Strict

from ammup.errors import InputError
from ammup.gate.allowed import Allowed
from ammup.gate.check_result import DepthCheck, with_likely_cause
from ammup.gate.curve_change import CurvePoint, PointChange, curve_changes, largest, slope_change
from ammup.gate.environment import Environment, environment, in_continuous_integration, write_json
from ammup.gate.fault_features import Expectation
from ammup.stats.verdicts import HOLDS
from ammup.validation import Number, VersionedModel, parse_versioned


def _checked_positive(value: float) -> float:
    if not value > 0:
        raise ValueError("must be a positive number")
    return value


def _checked_not_negative(value: float) -> float:
    if not value >= 0:
        raise ValueError("must be at least 0")
    return value


# (depth, η*, standard error of log10 η*)
Point = Annotated[
    tuple[
        int,
        Annotated[Number, AfterValidator(_checked_positive)],
        Annotated[Number, AfterValidator(_checked_not_negative)],
    ],
    Strict(False),
]


class DepthBaseline(VersionedModel):
    """The stored result of a check.

    Attributes:
        about: description of what was measured; only checks with the same description are compared.
        environment: versions, device and dtype of the measurement.
        seeds: number of weight draws at each depth.
        first_seed: the first of their seeds.
        slope: slope of log η* on log L.
        curve: one point for each depth: depth, η*, standard error of log10 η*.
        S: S_l at learning rate 1 of each depth; None in files of earlier versions.
        copied: whether layers have equal weights, see :class:`ammup.gate.net_facts.NetFacts`.
    """

    about: str
    environment: Environment
    seeds: int
    first_seed: int = 0
    slope: Number
    curve: Annotated[tuple[Point, ...], Strict(False), Field(min_length=1)]
    S: dict[str, Annotated[tuple[Number, ...], Strict(False)]] | None = None
    copied: bool = False

    @classmethod
    def from_check(cls, check: DepthCheck, about: str) -> "DepthBaseline":
        """Create a baseline from a check and the description of its measurement, in the current environment."""
        rows = check.law.curve.to_dict("records")
        return cls(
            schema_version=cls.READS,
            about=about,
            environment=environment(),
            seeds=check.draws,
            first_seed=int(check.law.table["seed"].min()),
            slope=check.law.power_law.slope,
            curve=tuple((int(row["depth"]), float(row["lr_star"]), float(row["se_log10"])) for row in rows),
            S={str(depth): tuple(float(f"{value:.4g}") for value in s) for depth, s in check.law.S.items()},
            copied=check.facts.copied,
        )

    @classmethod
    def read(cls, path: Path) -> "DepthBaseline":
        """Read a file that :meth:`write` wrote.

        Raises:
            InputError: invalid JSON, another schema version, or invalid values.
        """
        remedy = "restore it from git, or delete it and record a new one"
        return parse_versioned(
            cls, path.read_bytes(), name=str(path), what="a baseline of `ammup check`", remedy=remedy
        )

    def write(self, path: Path) -> None:
        """Write the file atomically."""
        write_json(self.to_dict(), path)

    @property
    def slope_se(self) -> float:
        """Standard error of the slope: that of the least-squares line through the curve."""
        log_depth = np.log10([depth for depth, *_ in self.curve])
        centred = log_depth - log_depth.mean()
        return float(np.linalg.norm(centred * [se for *_, se in self.curve]) / (centred @ centred))

    def allowed(self, allowed: Allowed) -> Allowed:
        """The allowed slopes around the stored slope, with its standard error, unless a slope is expected already."""
        if allowed.expected is not None:
            return allowed
        return replace(allowed, expected=self.slope, expected_se=self.slope_se)

    def against(self, check: DepthCheck, about: str) -> DepthCheck:
        """The check with its differences from the baseline, in :attr:`DepthCheck.moved` and :attr:`DepthCheck.note`.

        η* *moved* at a depth if the difference is larger than the standard errors of both curves explain. A smaller
        difference is a note, unless the same draws gave the same η*, except for rounding. Another number of depth units
        is a change of the model, whatever the standard errors are.

        Raises:
            InputError: the description or the depths of the check are not those of the baseline.
        """
        new_depths, depths = sorted(check.law.units), sorted(depth for depth, *_ in self.curve)
        if _subject(about) != _subject(self.about) or new_depths != depths:
            raise InputError(
                f"the baseline measures {_subject(self.about)!r} at depths {depths}, but this check measures "
                f"{_subject(about)!r} at depths {new_depths}: pass the same options, or another baseline file"
            )
        changes = curve_changes(self._points(), _points(check.law.curve))
        moved = (*self.recounted(check.law.units), *(str(change) for change in changes if change.moved))
        same_draws = self._same_draws(check)
        if moved or (same_draws is not None and all(change.rounded for change in same_draws)):
            note = ""
        else:
            note = _note(changes, same_draws)
        centred = check.expected == self.slope  # otherwise a slope was expected by its value, which has no error
        change = slope_change(changes, level=check.law.power_law.level) if centred else None
        compared = replace(check, moved=moved, note=note, slope_change=change, cause="", causes={})
        return with_likely_cause(compared, self.expectation())

    def recounted(self, units: Mapping[int, int]) -> tuple[str, ...]:
        """The depths at which the number of depth units differs from that of the baseline, in at most one sentence.

        There is none if the baseline does not state the numbers, as in files of earlier versions.

        Args:
            units: for each depth the number of depth units of the new measurement.
        """
        stored = {int(depth): len(s) for depth, s in (self.S or {}).items()}
        changed = [depth for depth in sorted(units) if stored.get(depth, units[depth]) != units[depth]]
        if not changed:
            return ()
        depths, old, new = (
            ", ".join(str(number) for number in numbers)
            for numbers in (changed, [stored[depth] for depth in changed], [units[depth] for depth in changed])
        )
        return (f"the number of depth units was {old} and is {new}, at depth{'s' * (len(changed) > 1)} {depths}",)

    def expectation(self) -> Expectation:
        """What a model shows that is still the one of the baseline."""
        points = sorted(self.curve)
        profiles = self.S or {}
        known = all(str(depth) in profiles for depth, *_ in points)
        return Expectation(
            slope=self.slope,
            log_lr=np.log([lr for _, lr, _ in points]),
            variances=np.array([(np.log(10) * se) ** 2 for *_, se in points]),
            common=np.zeros((len(points), len(points))),
            S={depth: np.array(profiles[str(depth)]) for depth, *_ in points} if known else None,
            copied=self.copied,
        )

    def _points(self) -> dict[int, CurvePoint]:
        return {depth: CurvePoint(lr_star=lr, se=se, draws=self.seeds) for depth, lr, se in self.curve}

    def _same_draws(self, check: DepthCheck) -> list[PointChange] | None:
        """The changes from the same seeds in the same environment; None if the check did not repeat them."""
        table = check.law.table
        first = int(table["seed"].min())
        other = environment().relevant != self.environment.relevant
        if other or first != self.first_seed or check.draws < self.seeds:
            return None
        repeated = replace(check.law, table=table[table["seed"] < first + self.seeds])
        return curve_changes(self._points(), _points(repeated.curve))


def read_baseline(path: Path, *, record: bool) -> DepthBaseline | None:
    """The stored baseline to compare with, or None if a new one is to be recorded.

    Args:
        path: its file.
        record: record a new baseline, even if the file exists.

    Raises:
        InputError: the file is invalid; or it is missing in continuous integration, where it would be recorded in a
            folder that is deleted, so that the check would pass in every run without comparing anything.
    """
    if record:
        return None
    if path.exists():
        return DepthBaseline.read(path)
    if in_continuous_integration():
        raise InputError(
            f"the baseline {path} does not exist, and the environment variable CI is set: record the baseline outside "
            "CI and commit the file, or pass --record (pytest: --ammup-record) to record it here"
        )
    return None


def record_baseline(check: DepthCheck, about: str, path: Path) -> bool:
    """Write the check as a new baseline, if it can be one; whether it was written.

    A check with a single weight draw has no standard error. A check with an expected slope is recorded if it holds.
    """
    recordable = check.draws > 1 and (check.expected is None or check.outcome == HOLDS)
    if recordable:
        DepthBaseline.from_check(check, about).write(path)
    return recordable


def _subject(about: str) -> str:
    """The description without the number of weight draws, which earlier versions included."""
    return re.sub(r", weight draws at each depth: \d+", "", about)


def _points(curve: pd.DataFrame) -> dict[int, CurvePoint]:
    return {
        int(row["depth"]): CurvePoint(lr_star=row["lr_star"], se=row["se_log10"], draws=int(row["seeds"]))
        for row in curve.to_dict("records")
    }


def _note(changes: list[PointChange], same_draws: list[PointChange] | None) -> str:
    """The largest difference within both standard errors, and what it can come from."""
    if same_draws is None:
        return f"the curve agrees with the baseline within both standard errors: {largest(changes)}"
    return (
        "the same seeds, torch and device gave another curve, which agrees with the baseline within both standard "
        "errors: the model draws other random numbers, or its code changed slightly; record the baseline again if that "
        f"is intended. {largest(changes)}"
    )
