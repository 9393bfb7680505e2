"""A recorded check of a user's own model, stored as JSON, and the comparison of a later check with it."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, Field, Strict

from ammup.errors import InputError
from ammup.gate.depth_check import DepthCheck, explained
from ammup.gate.environment import DRIFT_ERRORS, Environment, environment, write_json
from ammup.validation import Number, VersionedModel, parse_versioned

# With the same torch, device, dtype and seeds a tenth of a standard error is far more than rounding.
SAME = 0.1


def _positive(value: float) -> float:
    if not value > 0:
        raise ValueError("must be a positive number")
    return value


def _not_negative(value: float) -> float:
    if not value >= 0:
        raise ValueError("must be at least 0")
    return value


# Depth, η*, and the standard error of log10 η*.
Point = Annotated[
    tuple[int, Annotated[Number, AfterValidator(_positive)], Annotated[Number, AfterValidator(_not_negative)]],
    Strict(False),
]


class DepthBaseline(VersionedModel):
    """A recorded check.

    Attributes:
        about: description of the measurement; another description is another measurement.
        environment: versions and device.
        seeds: weight draws at each depth.
        slope: of log η* on log L.
        curve: one point for each depth.
    """

    about: str
    environment: Environment
    seeds: int
    slope: Number
    curve: Annotated[tuple[Point, ...], Strict(False), Field(min_length=1)]

    @classmethod
    def of(cls, check: DepthCheck, about: str) -> "DepthBaseline":
        """The baseline that records a check."""
        rows = check.law.curve.to_dict("records")
        return cls(
            schema_version=cls.READS,
            about=about,
            environment=environment(),
            seeds=check.draws,
            slope=check.law.power_law.slope,
            curve=tuple((int(row["depth"]), float(row["lr_star"]), float(row["se_log10"])) for row in rows),
        )

    @classmethod
    def read(cls, path: Path) -> "DepthBaseline":
        """The baseline that a file holds.

        Raises:
            InputError: a file that :meth:`write` did not write.
        """
        remedy = "restore it from git, or remove it and record again"
        return parse_versioned(
            cls, path.read_bytes(), name=str(path), what="a baseline of `ammup check`", remedy=remedy
        )

    def write(self, path: Path) -> None:
        """Write the file atomically."""
        write_json(self.to_dict(), path)

    def against(self, check: DepthCheck, about: str) -> DepthCheck:
        """The check, with the depths at which it differs from the baseline.

        Raises:
            InputError: the baseline is of another measurement.
        """
        new = DepthBaseline.of(check, about)
        depths, new_depths = (sorted(depth for depth, *_ in one.curve) for one in (self, new))
        if new.about != self.about or new_depths != depths:
            raise InputError(
                f"the baseline is of {self.about!r} at depths {depths}, this is {new.about!r} at {new_depths}: give "
                "the same options, or another --baseline"
            )
        same = self.seeds == new.seeds and self.environment.relevant == new.environment.relevant
        now = {depth: (lr, se) for depth, lr, se in new.curve}
        moved = []
        for depth, lr, se in self.curve:
            lr_now, se_now = now[depth]
            change = abs(np.log10(lr_now / lr))
            if change > (SAME * se if same else DRIFT_ERRORS * np.hypot(se, se_now)):
                kind = "the same seeds, torch and device" if same else "more than random weight draws explain"
                moved.append(f"moved: η* at depth {depth} was {lr:.4g} and is {lr_now:.4g} ({kind})")
        return explained(replace(check, moved=tuple(moved)))
