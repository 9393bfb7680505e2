"""Exponents over commits, of the families of the paper and of every claim with a baseline.

Seeds, threads and dtype are fixed, so that a value changes only if the code changes. asv needs positive numbers that
are better when lower. The checked numbers are therefore distances from a reference, bounded below by a tolerance.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import ammup

from .moved import module

STORED = Path(__file__).parents[2] / "baselines"
RECORDS = {
    record["id"]: record
    for path in sorted(STORED.glob("*.json"))
    for record in json.loads(path.read_text(encoding="utf-8"))["claims"]
}
# Sampling and the terms of order L/width change the slope by at most 0.05; a wrong variance changes it by tenths.
SLOPE_FLOOR = 0.05
# The largest accepted drift is 1 (see `sample_margin` in ammup/claims/comparison.py).
DRIFT_FLOOR = 1.0


@dataclass(frozen=True, kw_only=True)
class Family:
    """Nets of one kind on one batch, with S̄ of the label part of the mean squared error.

    Attributes:
        factory: name of a public function of ammup.
        inputs: shape of the batch: a dense sample of ones if it has two axes, otherwise white noise.
        depths: L.
        arguments: keyword arguments of the factory.
        seeds: number of weight draws.
    """

    factory: str
    inputs: tuple[int, ...]
    depths: tuple[int, ...] = (2, 4, 8)
    arguments: dict[str, Any] = field(default_factory=dict)
    seeds: int = 48

    def measure(self) -> dict[str, float]:
        """The slope, the prefactor, and the distance of the slope from that of the finite-depth law."""
        import torch  # not needed by the processes that report one cached value

        dense = len(self.inputs) == 2
        inputs = torch.ones(self.inputs) if dense else torch.randn(self.inputs, generator=torch.manual_seed(0))
        factory = partial(getattr(ammup, self.factory), **self.arguments)
        law = ammup.depth_exponent(factory, self.depths, inputs=inputs, part="label", seeds=self.seeds, device="cpu")
        assert law.reference is not None
        slope = law.power_law.slope
        return {"slope": slope, "prefactor": 10**law.power_law.intercept, "slope_error": abs(slope - law.reference)}


_DENSE = {"width": 256, "readout": "he"}
_FIELD = {"width": 64, "head": "field", "readout": "he", "in_channels": 64, "out_channels": 64}
_MLP = _DENSE | {"in_features": 256, "out_features": 256}
_BLOCKS = _DENSE | {"dims": 0, "in_channels": 256, "out_channels": 256}
FAMILIES = {
    "theorem 1, mlp": Family(factory="mlp", inputs=(1, 256), arguments=_MLP),
    "theorem 1, cnn 1D k=3": Family(factory="cnn", inputs=(1, 64, 8), arguments=_FIELD | {"dims": 1}),
    "theorem 1, cnn 1D k=5": Family(factory="cnn", inputs=(1, 64, 8), arguments=_FIELD | {"dims": 1, "kernel": 5}),
    "theorem 2, cnn 2D 3x3": Family(factory="cnn", inputs=(1, 64, 4, 4), depths=(2, 4), arguments=_FIELD),
    "theorem 3, resnet, one layer a branch": Family(
        factory="resnet", inputs=(1, 256), depths=(4, 8, 16), arguments=_BLOCKS | {"branch": 1}
    ),
    "theorem 3, resnet, two layers a branch": Family(
        factory="resnet", inputs=(1, 256), depths=(4, 8, 16), arguments=_BLOCKS
    ),
    "theorem 3, resnet, last layer scaled": Family(
        factory="resnet", inputs=(1, 256), depths=(4, 8), arguments=_BLOCKS | {"scaled": "last"}
    ),
    # Terms of order L/width are larger for GELU, so this net is wider and less deep.
    "appendix E, mlp of gelu": Family(
        factory="mlp",
        inputs=(1, 512),
        depths=(2, 4),
        arguments={"width": 512, "in_features": 512, "out_features": 512, "readout": "he", "activation": "gelu"},
    ),
}


def drift(name: str) -> float:
    """The difference between a claim's value on its first draws and in its baseline, divided by the allowed one."""
    sample = RECORDS[name]["sample"]
    first, last = sample["seeds"]
    claim = module("ammup.claims.claim").claim_named(module("ammup.claims.statements").CLAIMS, name)
    value = float(claim.statistic(np.asarray(claim.rows(range(first, last + 1)), dtype=np.float64)))
    return abs(value - sample["estimate"]) / sample["allowed"]


def _results_or_errors(function: Callable[[Any], Any], cases: Iterable[Any]) -> list[Any]:
    """The result of each case, or its exception, so that one claim that fails does not affect the others."""
    results = []
    for case in cases:
        try:
            results.append(function(case))
        except Exception as error:  # an earlier commit can raise anything
            results.append(RuntimeError(f"{type(error).__name__}: {error}"))
    return results


def _checked(result: Any) -> Any:
    """The result; raise it if it is an exception, which asv reports as a failed benchmark."""
    if isinstance(result, Exception):
        raise result
    return result


def _finite(value: float) -> float:
    """The value; raise if it is not finite, because asv treats NaN as a skipped benchmark."""
    if not np.isfinite(value):
        raise ValueError(f"{value} is not finite")
    return value


class Families:
    """Slope of log η* on log L, its distance from the finite-depth law, and κ."""

    version = "1"
    unit = "1"
    params = tuple(FAMILIES)
    param_names = ("family",)

    def setup_cache(self) -> dict[str, Any]:
        """Measure every family once."""
        return dict(zip(FAMILIES, _results_or_errors(Family.measure, FAMILIES.values()), strict=True))

    def track_slope(self, results: dict[str, Any], family: str) -> float:
        """The slope, which is not checked."""
        return _finite(_checked(results[family])["slope"])

    def track_prefactor(self, results: dict[str, Any], family: str) -> float:
        """The prefactor κ, which is not checked."""
        return _finite(_checked(results[family])["prefactor"])

    def track_slope_error(self, results: dict[str, Any], family: str) -> float:
        """The distance from the slope of the finite-depth law, which is checked."""
        return max(_finite(_checked(results[family])["slope_error"]), SLOPE_FLOOR)


class Claims:
    """The drift of each claim: the change of its value on the first draws, in multiples of the allowed change."""

    version = "1"
    unit = "of what is allowed"
    params = tuple(RECORDS)
    param_names = ("claim",)

    def setup_cache(self) -> dict[str, Any]:
        """Measure every claim once."""
        return dict(zip(RECORDS, _results_or_errors(drift, RECORDS), strict=True))

    def track_drift(self, results: dict[str, Any], claim: str) -> float:
        """The drift, which is checked."""
        return max(_finite(_checked(results[claim])), DRIFT_FLOOR)
