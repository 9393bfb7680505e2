"""Exponents over commits: of the paper's families, and of every claim with a baseline.

Seeds, threads and dtype are fixed, so that a figure moves only where code moves it. asv judges numbers that are
positive and better when lower: the distance from a reference, and never less than a floor, under which all is well.
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
# 0.05 is what sampling and the order L/width may take from the slope; a wrong variance takes tenths.
SLOPE_FLOOR = 0.05
# A drift of 1 is as much as is allowed (see `sample_margin` in ammup/claims/comparison.py).
DRIFT_FLOOR = 1.0


@dataclass(frozen=True, kw_only=True)
class Family:
    """Nets of one kind on one batch, with S̄ of the label part of the mean squared error.

    Attributes:
        factory: a public name of ammup.
        inputs: shape of the batch; one dense sample of ones, or white noise.
        depths: L.
        arguments: of the factory.
        seeds: weight draws.
    """

    factory: str
    inputs: tuple[int, ...]
    depths: tuple[int, ...] = (2, 4, 8)
    arguments: dict[str, Any] = field(default_factory=dict)
    seeds: int = 48

    def measure(self) -> dict[str, float]:
        """Slope, prefactor, and distance of the slope from that of the finite-depth law."""
        import torch  # the processes that report one figure each do without it

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
    # The order L/width is larger for GELU: wider, and not as deep.
    "appendix E, mlp of gelu": Family(
        factory="mlp",
        inputs=(1, 512),
        depths=(2, 4),
        arguments={"width": 512, "in_features": 512, "out_features": 512, "readout": "he", "activation": "gelu"},
    ),
}


def drift(name: str) -> float:
    """By how many times what is allowed the figure of a claim's first draws differs from its baseline's."""
    sample = RECORDS[name]["sample"]
    first, last = sample["seeds"]
    claim = module("ammup.claims.claim").claim_named(module("ammup.claims.statements").CLAIMS, name)
    figure = float(claim.statistic(np.asarray(claim.rows(range(first, last + 1)), dtype=np.float64)))
    return abs(figure - sample["estimate"]) / sample["allowed"]


def _measured(function: Callable[[Any], Any], cases: Iterable[Any]) -> list[Any]:
    """What it returns for each case, or the error: a claim that a commit cannot measure leaves the others theirs."""
    results = []
    for case in cases:
        try:
            results.append(function(case))
        except Exception as error:  # whatever that commit raises
            results.append(RuntimeError(f"{type(error).__name__}: {error}"))
    return results


def _found(result: Any) -> Any:
    """A result; asv shows a benchmark that raises as failed."""
    if isinstance(result, Exception):
        raise result
    return result


def _finite(value: float) -> float:
    """Raise on NaN: asv takes it for "skipped", which nobody would look at."""
    if not np.isfinite(value):
        raise ValueError(f"{value} is no exponent")
    return value


class Families:
    """Slope of log η* on log L, its distance from the finite-depth law, and κ."""

    version = "1"
    unit = "1"
    params = tuple(FAMILIES)
    param_names = ("family",)

    def setup_cache(self) -> dict[str, Any]:
        """Every family, once."""
        return dict(zip(FAMILIES, _measured(Family.measure, FAMILIES.values()), strict=True))

    def track_slope(self, found: dict[str, Any], family: str) -> float:
        """Shown."""
        return _finite(_found(found[family])["slope"])

    def track_prefactor(self, found: dict[str, Any], family: str) -> float:
        """Shown."""
        return _finite(_found(found[family])["prefactor"])

    def track_slope_error(self, found: dict[str, Any], family: str) -> float:
        """Judged."""
        return max(_finite(_found(found[family])["slope_error"]), SLOPE_FLOOR)


class Claims:
    """How far the figure of each claim's first draws is from its baseline, in multiples of what is allowed."""

    version = "1"
    unit = "of what is allowed"
    params = tuple(RECORDS)
    param_names = ("claim",)

    def setup_cache(self) -> dict[str, Any]:
        """Every claim, once."""
        return dict(zip(RECORDS, _measured(drift, RECORDS), strict=True))

    def track_drift(self, found: dict[str, Any], claim: str) -> float:
        """Judged."""
        return max(_finite(_found(found[claim])), DRIFT_FLOOR)
