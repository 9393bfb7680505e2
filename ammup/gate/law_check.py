"""Measuring a law and checking it, with as many weight draws as the check needs, and with a baseline file."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from ammup.errors import InputError
from ammup.gate.allowed import Allowed, Draws
from ammup.gate.check_result import DepthCheck, with_likely_cause
from ammup.gate.depth_baseline import DepthBaseline, read_baseline, record_baseline
from ammup.gate.net_facts import NetFacts
from ammup.gate.power import MOST_DRAWS, seeds_needed
from ammup.measurement.depth_exponent import measure_depth_law
from ammup.measurement.depth_law import DepthLaw
from ammup.measurement.specification import MeasurementSpec
from ammup.models.factory import Factory


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

    No draws are added to the first ones if the number of depth units differs from that of the baseline, because then
    the outcome does not depend on them.

    Raises:
        InputError: as in :func:`ammup.check_depth_exponent`.
    """
    n_depths = len(np.atleast_1d(np.asarray(depths)))
    if allowed.max_depth_drift is not None and n_depths < 4:
        raise InputError(f"max_depth_drift requires at least four depths, two in each half; {n_depths} were given")

    def measure(start: int, stop: int) -> DepthLaw:
        seeds = draws.seed_range(start, stop)
        return measure_depth_law(factory, depths, spec, seeds=seeds, level=allowed.level, progress=progress)

    law = measure(0, draws.seeds or draws.first)
    needed = seeds_needed(law, allowed)
    recounted = baseline is not None and bool(baseline.recounted(law.units))
    while not recounted and (number := draws.next_number(law.draws, needed)) > law.draws:
        law = law.joined(measure(law.draws, number))
        needed = seeds_needed(law, allowed)
    recorded_needed = seeds_needed(law, replace(allowed, expected=None))
    check = DepthCheck(
        law=law,
        region=allowed.region(law.power_law.slope),
        expected=allowed.expected,
        allowed_drift=allowed.max_depth_drift,
        needed=needed,
        facts=NetFacts.from_factory(factory, (min(law.units), max(law.units)), spec),
        baseline_needed=recorded_needed if allowed.expected_se > 0 and needed >= MOST_DRAWS else 0,
    )
    return with_likely_cause(check)


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
            allowed, draws = stored.allowed(allowed), replace(draws, first=max(stored.seeds, 2))
        check = check_law(factory, depths, spec, allowed, draws=draws, progress=progress, baseline=stored)
        if stored is not None:
            return stored.against(check, self.about)
        return replace(check, recorded=record_baseline(check, self.about, self.path))
