"""Measuring a law and checking it, with as many weight draws as the check needs, and with a baseline file."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from ammup.errors import InputError
from ammup.gate.allowed import Allowed, Draws
from ammup.gate.check_result import DepthCheck, with_likely_cause
from ammup.gate.curve import Curve
from ammup.gate.decision import decide
from ammup.gate.depth_baseline import DepthBaseline, read_baseline, record_baseline
from ammup.gate.enough_draws import measure_enough
from ammup.gate.net_facts import NetFacts
from ammup.gate.power import MOST_DRAWS, seeds_needed
from ammup.measurement.depth_exponent import measure_depth_law
from ammup.measurement.depth_law import DepthLaw
from ammup.measurement.specification import MeasurementSpec
from ammup.models.factory import Factory
from ammup.stats.depths import checked_depths


def check_law(
    factory: Factory,
    depths: Sequence[int] | ArrayLike,
    spec: MeasurementSpec,
    allowed: Allowed,
    *,
    draws: Draws,
    progress: bool = False,
    baseline: DepthBaseline | None = None,
) -> DepthCheck:
    """Measure the law of a factory with as many weight draws as are needed, and compare its slope with those allowed.

    Measuring (:func:`ammup.gate.enough_draws.measure_enough`), deciding (:func:`ammup.gate.decision.decide`) and naming
    a cause are separate steps; a decision reads only the curve.

    Raises:
        InputError: as in :func:`ammup.check_depth_exponent`.
    """
    n_depths = len(np.atleast_1d(np.asarray(depths)))
    if allowed.max_depth_drift is not None and n_depths < 4:
        raise InputError(f"max_depth_drift requires at least four depths, two in each half; {n_depths} were given")
    stored = None if baseline is None else baseline.stored_curve
    measure = _LawDraws(factory, depths, spec, level=allowed.level, progress=progress)
    curve, needed = measure_enough(measure, allowed, draws, stored)
    law, decision = measure.law, decide(curve, allowed, stored)
    again = seeds_needed(curve, replace(allowed, expected=None)) if needed >= MOST_DRAWS else 0
    check = DepthCheck(
        law=law,
        region=decision.region,
        expected=stored.slope if stored is not None and allowed.expected is None else allowed.expected,
        allowed_drift=allowed.max_depth_drift,
        needed=needed,
        slope_change=decision.slope_change,
        facts=NetFacts.from_factory(factory, (min(law.units), max(law.units)), spec),
        baseline_needed=again if decision.slope_change is not None else 0,
        note=_recording_note(needed, law.draws) if stored is None and allowed.expected is None else "",
    )
    return with_likely_cause(check)


def _recording_note(needed: int, draws: int) -> str:
    """What a recording with too few draws cannot decide; "" if it has enough."""
    if not 1 < draws < needed:
        return ""
    return (
        f"with {draws} weight draws, later checks are decided if they repeat these draws; after a change that draws "
        f"other random numbers, such as another torch, they can be inconclusive: about {needed} draws would decide them"
    )


class _LawDraws:
    """The weight draws of a factory: each call measures further seeds, and returns the curve of all of them."""

    def __init__(
        self,
        factory: Factory,
        depths: Sequence[int] | ArrayLike,
        spec: MeasurementSpec,
        *,
        level: float,
        progress: bool,
    ) -> None:
        self._measure = partial(measure_depth_law, factory, depths, spec, level=level, progress=progress)
        self._laws: list[DepthLaw] = []

    def __call__(self, seeds: range) -> Curve:
        law = self._measure(seeds=seeds)
        self._laws = [self._laws[0].joined(law) if self._laws else law]
        return Curve.from_law(self.law)

    @property
    def law(self) -> DepthLaw:
        """The law of all draws."""
        return self._laws[0]


@dataclass(frozen=True, kw_only=True)
class BaselineFile:
    """The file of a baseline, with which checks are compared, or in which one is recorded.

    Attributes:
        path: the file.
        about: description of what is measured; only checks with the same description are compared.
        record: record a new baseline, even if the file exists.
    """

    path: Path
    about: str
    record: bool = False

    def check(
        self,
        factory: Factory,
        depths: Sequence[int] | ArrayLike,
        spec: MeasurementSpec,
        allowed: Allowed,
        *,
        draws: Draws,
        progress: bool = False,
    ) -> DepthCheck:
        """Measure and check a law as :func:`check_law` does, and compare it with the baseline or record it.

        Raises:
            InputError: as in :func:`ammup.check_depth_exponent`.
        """
        stored = read_baseline(self.path, record=self.record)
        if stored is not None:
            stored.check_same(self.about, checked_depths(depths))
            draws = replace(draws, first=max(stored.seeds, 2))
        check = check_law(factory, depths, spec, allowed, draws=draws, progress=progress, baseline=stored)
        if stored is not None:
            return stored.against(check, self.about)
        return replace(check, recorded=record_baseline(check, self.about, self.path))
