"""The shape of a measured curve between two depths, and what it means for the trust in the measurement."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ammup.transfer.growth import exponential_factor
from ammup.transfer.measured_curve import Measured, MeasuredCurve

JUMP = 3.0  # η* of neighbouring measured depths may differ by this factor
STEEPEST = 2.5  # a steeper local slope, by more than two standard errors, is no power law that the theory knows
# Doubling all weight matrices multiplies the outputs of a net with normalization layers by about 2, through its
# readout, and those of a plain net with L layers and a readout by 2^(L+1).
NORMALISED = 4.0
UNCHANGED = 1.1  # a smaller change of η* is neither an increase nor a decrease


@dataclass(frozen=True, kw_only=True)
class TransferWarning:
    """A reason to distrust a rule.

    Attributes:
        kind: "exponential", "jump", "rise", "noisy", "signal", "sharpness", "late", "edge" or "setting".
        text: one short sentence.
    """

    kind: str
    text: str

    def to_dict(self) -> dict[str, str]:
        """A dict for JSON."""
        return {"kind": self.kind, "text": self.text}


@dataclass(frozen=True, kw_only=True)
class CurveShape:
    """What a measured curve shows between two depths.

    Attributes:
        depths: the smaller and the greater depth.
        slope: that of log η* on log L between the two depths.
        factor: η* at the greater of the two depths divided by η* at the smaller one.
        interval: the 95% confidence interval of the factor; NaN if unknown.
        exponential: depth -> factor by which S_l changes exponentially over the units, where it does.
        steep: (depth, next depth, slope) where the local slope is steeper than any power law of the theory.
        jumps: (depth, next depth, change of log10 η*) where neighbours differ by more than a factor of 3.
        noisy: depths at which a few weight draws dominate the mean of S̄.
        signal: depth -> factor by which the mean square of the pre-activations grows exponentially, where it does.
        gains: the factors of the outputs at these depths if all weight matrices are doubled; empty if unknown.
    """

    depths: tuple[int, int]
    slope: float
    factor: float
    interval: tuple[float, float]
    exponential: Mapping[int, float]
    steep: tuple[tuple[int, int, float], ...]
    jumps: tuple[tuple[int, int, float], ...]
    noisy: tuple[int, ...]
    signal: Mapping[int, float]
    gains: tuple[float, ...] = ()

    @classmethod
    def between(cls, measured: Measured, from_depth: int, to_depth: int) -> "CurveShape":
        """The shape of the curve between two different depths, and of S_l where the measurement contains it.

        Raises:
            InputError: the curve is invalid, or a depth lies outside the measured ones.
        """
        curve = MeasuredCurve.of(measured)
        shallow, deep = sorted((from_depth, to_depth))
        factor, interval = curve.ratio(shallow, deep, level=0.95)
        first = max(d for d in curve.depths if d <= shallow)
        last = min(d for d in curve.depths if d >= deep)
        inside = [d for d in curve.depths if first <= d <= last]
        neighbours = [(a, b, _change(curve, a, b), _local_slope(curve, measured, a, b)) for a, b in pairwise(inside)]
        limit = math.log10(JUMP)
        units = {d: exponential_factor(s) for d, s in _by_depth(measured, "S").items() if d in inside}
        signal = {d: exponential_factor(s) for d, s in _by_depth(measured, "signal_squares").items() if d in inside}
        return cls(
            depths=(shallow, deep),
            slope=math.log(factor) / math.log(deep / shallow),
            factor=factor,
            interval=interval,
            exponential={d: f for d, f in units.items() if f is not None},
            steep=tuple((a, b, slope) for a, b, _, (slope, error) in neighbours if abs(slope) - 2 * error > STEEPEST),
            jumps=tuple((a, b, change) for a, b, change, _ in neighbours if abs(change) > limit),
            noisy=tuple(d for d in getattr(measured, "noisy_depths", ()) if d in inside),
            signal={d: f for d, f in signal.items() if f is not None and f > 1},
            gains=tuple(gain for d, gain in _by_depth(measured, "weight_gains").items() if d in inside),
        )

    @property
    def rises(self) -> bool:
        """Whether η* rises with depth, by more than the error of the measurement if that is known."""
        return self.factor > UNCHANGED and not self.interval[0] <= 1

    @property
    def is_exponential(self) -> bool:
        """Whether S_l or η* changes exponentially with depth."""
        return bool(self.exponential or self.steep)

    @property
    def normalised(self) -> bool:
        """Whether normalization bounds the signal whatever the size of the weights."""
        return bool(self.gains) and all(gain < NORMALISED for gain in self.gains)

    @property
    def _consequence(self) -> str:
        """What an exponential change at initialization means."""
        if self.signal:
            return "the first step of the deeper net is not comparable with that of the shallower one"
        if self.rises:
            return "updates vanish at initialization, so what is measured there misleads"
        if self.normalised:
            return "what is measured at initialization misleads, because it relaxes within tens of training steps"
        return "what is measured at initialization misleads"

    def warnings(self) -> list[TransferWarning]:
        """One warning for each property that makes the measured rule untrustworthy."""
        return [*self._exponential(), *self._signal(), *self._jumps(), *self._rise(), *self._noise()]

    def _exponential(self) -> list[TransferWarning]:
        found = []
        if self.exponential:
            depth = max(self.exponential)
            factor = self.exponential[depth]
            verb, times = ("grows", factor) if factor > 1 else ("falls", 1 / factor)
            text = f"S_l {verb} exponentially over the units at L = {_listed(self.exponential)}, "
            found.append(f"{text}by a factor of {times:.3g} at L = {depth}; {self._consequence}")
        for shallow, deep, slope in self.steep:
            text = f"η* changes exponentially with depth: its slope from L = {shallow} to {deep} is {slope:+.1f}"
            found.append(f"{text}, while the power laws of wide nets have slopes from -1.5 to 0; {self._consequence}")
        return [TransferWarning(kind="exponential", text=text) for text in found]

    def _signal(self) -> list[TransferWarning]:
        if not self.signal:
            return []
        depth = max(self.signal)
        text = (
            f"the signal itself grows exponentially, by a factor of {self.signal[depth]:.3g} over the units at "
            f"L = {depth}: correct the initialization (gain, fan-in) before you transfer a learning rate"
        )
        return [TransferWarning(kind="signal", text=text)]

    def _jumps(self) -> list[TransferWarning]:
        return [
            TransferWarning(
                kind="jump",
                text=f"η* {'falls' if change < 0 else 'rises'} by a factor of {_power_text(abs(change))} from "
                f"L = {shallow} to {deep}, more than {JUMP:g} between neighbouring measured depths",
            )
            for shallow, deep, change in self.jumps
        ]

    def _rise(self) -> list[TransferWarning]:
        if not self.rises:
            return []
        text = (
            f"η* rises from L = {self.depths[0]} to {self.depths[1]} (slope {self.slope:+.2f}), often because updates "
            "vanish at initialization; a rate above the tuned one for a deeper net is not supported by any trained net"
        )
        return [TransferWarning(kind="rise", text=text)]

    def _noise(self) -> list[TransferWarning]:
        if not self.noisy:
            return []
        text = f"at L = {_listed(self.noisy)} a few weight draws dominate the mean of S̄, so its interval is unreliable"
        return [TransferWarning(kind="noisy", text=f"{text}; increase the number of draws or the width")]


def sharpness_warnings(
    sharpness: Measured | None, updates: Measured | None, depths: Sequence[int]
) -> list[TransferWarning]:
    """A warning if 2/λ at initialization misleads, because gradients grow or vanish exponentially there.

    Args:
        sharpness: 2/λ by depth, or None.
        updates: the measured updates S_l of the same nets, in which exponential growth shows most clearly, or None.
        depths: the depths that are compared.
    """
    if sharpness is None or len(set(depths)) < 2:
        return []
    causes = []
    for name, measured in (("S_l or η*", updates), ("2/λ", sharpness)):
        known = () if measured is None else MeasuredCurve.of(measured).depths
        if known and known[0] <= min(depths) and max(depths) <= known[-1]:
            shape = CurveShape.between(measured, min(depths), max(depths))  # type: ignore[arg-type]
            causes += [f"{name} changes exponentially"] if shape.is_exponential or shape.signal else []
            causes += [f"{name} rises with depth"] if shape.rises else []
    if not causes:
        return []
    text = (
        f"{' and '.join(causes)} at initialization, so the rules sharpness and sharpness-fit mislead as well: 2/λ "
        "relaxes during the first steps of training; probe the edge with short runs instead"
    )
    return [TransferWarning(kind="sharpness", text=text)]


def _listed(depths: Any) -> str:
    return ", ".join(str(depth) for depth in sorted(depths))


def _power_text(exponent: float) -> str:
    """10^exponent, which may be beyond the range of floats."""
    return f"{10**exponent:.3g}" if exponent < 6 else f"10^{exponent:.0f}"


def _by_depth(measured: Measured, name: str) -> Mapping[int, Any]:
    """A series over the units for each depth, if the measurement has it."""
    series = getattr(measured, name, None)
    return series if isinstance(series, Mapping) else {}


def _change(curve: MeasuredCurve, shallow: int, deep: int) -> float:
    """The change of log10 η* from one measured depth to another."""
    return float(curve.log_lr[curve.depths.index(deep)] - curve.log_lr[curve.depths.index(shallow)])


def _local_slope(curve: MeasuredCurve, measured: Measured, shallow: int, deep: int) -> tuple[float, float]:
    """The slope of log η* between two measured depths on the number of units if known, and its standard error."""
    first, second = curve.depths.index(shallow), curve.depths.index(deep)
    change = _change(curve, shallow, deep)
    units = getattr(measured, "units", None)
    counts = units if isinstance(units, Mapping) and units.get(deep, 0) > units.get(shallow, 0) else {}
    distance = math.log10(counts.get(deep, deep) / counts.get(shallow, shallow))
    error = float(np.hypot(curve.se[first], curve.se[second])) / distance
    return change / distance, 0.0 if math.isnan(error) else error
