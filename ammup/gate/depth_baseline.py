"""What a user's own model measured when it was right: recorded in a JSON file, and compared with later."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from operator import index
from pathlib import Path
from typing import Any

import numpy as np

from ammup.errors import InputError
from ammup.gate.depth_check import DepthCheck, explained
from ammup.gate.environment import DRIFT_ERRORS, ENVIRONMENT, environment, write_json
from ammup.parsing import parse_json

SCHEMA_VERSION = 1
NEEDED: Mapping[str, tuple[type, ...]] = {
    "about": (str,),
    "environment": (dict,),
    "slope": (float, int),
    "seeds": (int,),
}
# Where torch, device, dtype and seeds are the same, a tenth of a standard error is far more than rounding.
SAME = 0.1


@dataclass(frozen=True, kw_only=True)
class DepthBaseline:
    """A recorded check.

    Attributes:
        about: what was measured, in words: another text is another measurement.
        environment: versions and device.
        slope: of log η* on log L.
        seeds: weight draws at each depth.
        curve: (η*, standard error of log10 η*) by depth.
    """

    about: str
    environment: dict[str, Any]
    slope: float
    seeds: int
    curve: dict[int, tuple[float, float]]

    @classmethod
    def of(cls, check: DepthCheck, about: str) -> "DepthBaseline":
        """What a check found."""
        rows = check.law.curve.to_dict("records")
        return cls(
            about=about,
            environment=environment(),
            slope=check.law.power_law.slope,
            seeds=check.draws,
            curve={int(row["depth"]): (float(row["lr_star"]), float(row["se_log10"])) for row in rows},
        )

    @classmethod
    def read(cls, path: Path) -> "DepthBaseline":
        """From a file.

        Raises:
            InputError: it is not one that :meth:`write` wrote.
        """
        try:
            content = parse_json(path.read_bytes())
            curve = {index(depth): (float(lr), float(se)) for depth, lr, se in content["curve"]}
            known = {name: content[name] for name in NEEDED}
            version = content["schema_version"]
            if not all(isinstance(known[name], kinds) for name, kinds in NEEDED.items()):
                raise ValueError("a value is of another type")
            if not curve or not all(0 < lr < math.inf and 0 <= se < math.inf for lr, se in curve.values()):
                raise ValueError("a learning rate is not positive and finite")
            if not set(ENVIRONMENT) <= set(known["environment"]):
                raise ValueError("it does not say where it was measured")
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise InputError(
                f"{path} is not a baseline of `ammup check` ({type(error).__name__}: {error}); restore it from git, or "
                "remove it and record again"
            ) from error
        if version != SCHEMA_VERSION:
            raise InputError(f"{path} has schema version {version}; this ammup reads {SCHEMA_VERSION}: record it again")
        return cls(**known, curve=curve)

    def write(self, path: Path) -> None:
        """To a file, whole or not at all."""
        rows = [[depth, lr, se] for depth, (lr, se) in self.curve.items()]
        content = {"schema_version": SCHEMA_VERSION, **{name: getattr(self, name) for name in sorted(NEEDED)}}
        write_json(content | {"curve": rows}, path)

    def against(self, check: DepthCheck, about: str) -> DepthCheck:
        """The check with what the baseline says against it.

        Raises:
            InputError: the baseline is of another measurement.
        """
        new = DepthBaseline.of(check, about)
        if new.about != self.about or set(new.curve) != set(self.curve):
            raise InputError(
                f"the baseline is of {self.about!r} at depths {sorted(self.curve)}, this is {new.about!r} at "
                f"{sorted(new.curve)}: give the same options, or another --baseline"
            )
        same = self.seeds == new.seeds and all(self.environment[k] == new.environment[k] for k in ENVIRONMENT)
        moved = []
        for depth, (lr, se) in self.curve.items():
            lr_now, se_now = new.curve[depth]
            change = abs(np.log10(lr_now / lr))
            if change > (SAME * se if same else DRIFT_ERRORS * np.hypot(se, se_now)):
                kind = "the same seeds, torch and device" if same else "chance allows less"
                moved.append(f"moved: η* at depth {depth} was {lr:.4g} and is {lr_now:.4g} ({kind})")
        return explained(replace(check, moved=tuple(moved)))
