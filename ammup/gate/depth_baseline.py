"""The baseline of a user's model: a check of its depth exponent, stored as JSON and compared with later checks."""

import math
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, Field, Strict, model_validator

from ammup.errors import InputError
from ammup.gate.check_result import DepthCheck, with_likely_cause
from ammup.gate.curve import Curve, CurvePoint, StoredCurve
from ammup.gate.curve_change import curve_changes, largest
from ammup.gate.decision import moved
from ammup.gate.environment import Environment, environment, in_continuous_integration, write_json
from ammup.gate.fault_features import Expectation
from ammup.gate.slope_comparison import SlopeComparison
from ammup.stats.verdicts import HOLDS
from ammup.validation import Number, VersionedModel, parse_versioned


def _checked_positive(value: float) -> float:
    if not value > 0:
        raise ValueError("must be a positive number")
    return value


def _checked_numbers(text: str) -> str:
    for word in text.split():
        if not math.isfinite(number := float(word)) or number < 0:
            raise ValueError(f"expected finite numbers of at least 0; {word!r} was given")
    if not any(float(word) > 0 for word in text.split()):
        raise ValueError("expected at least one positive number")
    return text


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
        draws: S̄ of each weight draw, for each depth one text of numbers; None in files of earlier versions.
    """

    about: str
    environment: Environment
    seeds: int
    first_seed: int = 0
    slope: Number
    curve: Annotated[tuple[Point, ...], Strict(False), Field(min_length=1)]
    S: dict[str, Annotated[tuple[Number, ...], Strict(False)]] | None = None
    copied: bool = False
    draws: dict[str, Annotated[str, AfterValidator(_checked_numbers)]] | None = None

    @model_validator(mode="after")
    def _checked_draws(self) -> "DepthBaseline":
        if self.draws is None:
            return self
        for depth, *_ in self.curve:
            found = len(self.draws.get(str(depth), "").split())
            if found != self.seeds:
                raise ValueError(f"draws: expected {self.seeds} numbers at depth {depth}; {found} were given")
        return self

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
            draws={
                str(depth): " ".join(f"{value:.7g}" for value in s)
                for depth, s in zip(check.curve.depths, check.curve.S_bar.T, strict=True)
            },
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
    def stored_curve(self) -> StoredCurve:
        """The curve, as decisions read it."""
        points = sorted(self.curve)
        draws = self.draws
        columns = [] if draws is None else [draws[str(depth)].split() for depth, *_ in points]
        return StoredCurve(
            points={depth: CurvePoint(lr_star=lr, se=se, draws=self.seeds) for depth, lr, se in points},
            slope=self.slope,
            units={int(depth): len(s) for depth, s in (self.S or {}).items()},
            first_seed=self.first_seed,
            S_bar=None if draws is None else np.array(columns, dtype=np.float64).T,
        )

    def check_same(self, about: str, depths: Iterable[int]) -> None:
        """Raise InputError unless a check with this description and these depths can be compared with the baseline."""
        wanted, recorded = sorted(depths), sorted(depth for depth, *_ in self.curve)
        if _subject(about) != _subject(self.about) or wanted != recorded:
            raise InputError(
                f"the baseline measures {_subject(self.about)!r} at depths {recorded}, but this check measures "
                f"{_subject(about)!r} at depths {wanted}: pass the same options, or another baseline file, or record "
                "this one again (--record; pytest: --ammup-record)"
            )

    def against(self, check: DepthCheck, about: str) -> DepthCheck:
        """The check with its differences from the baseline, in :attr:`DepthCheck.moved` and :attr:`DepthCheck.note`.

        η* *moved* at a depth if the difference is larger than the standard errors of both curves explain. A smaller
        difference is a note, unless the same draws gave the same η*, except for rounding. Another number of depth units
        is a change of the model, whatever the standard errors are, and so are layers that newly have equal weights.

        Raises:
            InputError: the description or the depths of the check are not those of the baseline.
        """
        self.check_same(about, check.law.units)
        stored, curve = self.stored_curve, check.curve
        differences = (*self._copied(check), *moved(stored, curve))
        centred = check.expected == self.slope  # otherwise a slope was expected by its value, which has no error
        level = check.law.power_law.level
        compared = replace(
            check,
            moved=differences,
            note=self._environment_note() if differences else self._note(check),
            slope_change=SlopeComparison.from_curves(stored, curve).with_interval(level) if centred else None,
            compared=True,
            cause="",
            causes={},
        )
        return with_likely_cause(compared, self.expectation())

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

    def _copied(self, check: DepthCheck) -> tuple[str, ...]:
        """That layers have equal weights, unlike those of the baseline; () also if it does not state that."""
        if self.S is None or self.copied or not check.facts.copied:
            return ()
        return ("layers of the deeper net have equal weights, and those of the baseline have not",)

    def _environment_note(self) -> str:
        changed = self.environment.differences(environment())
        return changed and f"the baseline was recorded with {changed}; check the model there as well"

    def _note(self, check: DepthCheck) -> str:
        """A difference from the baseline within both standard errors, and what it can come from, or ""."""
        stored, curve = self.stored_curve, check.curve
        changed = self.environment.differences(environment())
        repeats = curve.first_seed == stored.first_seed and curve.draws >= stored.draws
        if repeats and not changed:
            return _repetition_note(stored, curve)
        other = f"; the baseline was recorded with {changed}, which may draw other weights" if changed else ""
        agreement = largest(curve_changes(stored, curve))
        return f"the curve agrees with the baseline within both standard errors: {agreement}{other}"


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


def _repetition_note(stored: StoredCurve, curve: Curve) -> str:
    """What it means that the same seeds in the same environment gave another curve; "" if they gave the same one."""
    repeated = Curve.from_draws(
        dict(zip(curve.depths, curve.S_bar[: stored.draws].T, strict=True)),
        first_seed=curve.first_seed,
        units=curve.units,
        level=curve.power_law.level,
    )
    changes = curve_changes(stored, repeated)
    if all(change.rounded for change in changes):
        return ""
    return (
        "the same seeds, torch and device gave another curve, which agrees with the baseline within both standard "
        "errors: the model draws other random numbers, or its code changed slightly; record the baseline again if that "
        f"is intended. {largest(changes)}"
    )
