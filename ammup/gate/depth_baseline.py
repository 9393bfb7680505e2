"""The baseline of a user's model: a check of its depth exponent, stored as JSON and compared with later checks."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, Field, Strict

from ammup.errors import InputError
from ammup.gate.depth_check import DepthCheck, with_likely_cause
from ammup.gate.environment import DRIFT_ERRORS, Environment, environment, write_json
from ammup.gate.fault_features import Expectation
from ammup.validation import Number, VersionedModel, parse_versioned

# With the same seeds, torch, device and dtype, log10 η* may change by this share of its standard error. Rounding errors
# are far smaller.
ROUNDING_SHARE = 0.1


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
        slope: slope of log η* on log L.
        curve: one point for each depth: depth, η*, standard error of log10 η*.
        S: S_l at learning rate 1 of each depth; None in files of earlier versions.
        copied: whether layers have equal weights, see :class:`ammup.gate.net_facts.NetFacts`.
    """

    about: str
    environment: Environment
    seeds: int
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

    def against(self, check: DepthCheck, about: str) -> DepthCheck:
        """The check with its differences from the baseline, in :attr:`DepthCheck.moved`.

        If the seeds, torch, numpy, device and dtype are the same, η* may change only by rounding. Otherwise it may
        change as far as two independent sets of weight draws differ.

        Raises:
            InputError: the description or the depths of the check are not those of the baseline.
        """
        new = DepthBaseline.from_check(check, about)
        depths, new_depths = (sorted(depth for depth, *_ in one.curve) for one in (self, new))
        if new.about != self.about or new_depths != depths:
            raise InputError(
                f"the baseline measures {self.about!r} at depths {depths}, but this check measures {new.about!r} at "
                f"depths {new_depths}: pass the same options, or another --baseline file"
            )
        repeated = self.seeds == new.seeds and self.environment.relevant == new.environment.relevant
        reason = "the same seeds, torch and device" if repeated else "more than random weight draws explain"
        new_points = {depth: (lr, se) for depth, lr, se in new.curve}
        moved = []
        for depth, lr, se in self.curve:
            new_lr, new_se = new_points[depth]
            change = abs(np.log10(new_lr / lr))
            allowed = ROUNDING_SHARE * se if repeated else DRIFT_ERRORS * np.hypot(se, new_se)
            if change > allowed:
                moved.append(f"moved: η* at depth {depth} was {lr:.4g} and is {new_lr:.4g} ({reason})")
        return with_likely_cause(replace(check, moved=tuple(moved)), self.expectation())

    def expectation(self) -> Expectation:
        """What a model shows that is still the one of the baseline."""
        points = sorted(self.curve)
        S = self.S or {}
        return Expectation(
            slope=self.slope,
            log_lr=np.log([lr for _, lr, _ in points]),
            variances=np.array([(np.log(10) * se) ** 2 for *_, se in points]),
            common=np.zeros((len(points), len(points))),
            S={depth: np.array(S[str(depth)]) for depth, *_ in points if str(depth) in S} if S else None,
            copied=self.copied,
        )
