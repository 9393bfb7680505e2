"""Rules that carry a learning rate from one depth to another, with the assumption of each."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ammup.architecture.architecture import FAMILIES
from ammup.errors import InputError, check_known, check_level, checked_integer
from ammup.theory.finite_depth import finite_depth_law
from ammup.theory.pathsum import log_path_sum
from ammup.transfer.measured_curve import Measured, MeasuredCurve
from ammup.transfer.tuned_lr import check_lr

Law = Callable[[Sequence[int]], ArrayLike]

# The rules η* ∝ L^exponent, which need only the depths.
EXPONENTS = {"constant": 0.0, "L^-1/2": -0.5, "L^-1": -1.0, "am-mup": -1.5}
# The arguments that the other rules need.
NEEDS = {
    "finite-depth": "family= (with branch= for a 'resnet'), or law=, a function from depths to η*",
    "pathsum": "family= (with branch= for a 'resnet'), or path_sums=, a mapping from depth to Σ_p L_p³",
    "measured": "measured=, a DepthLaw such as ammup.depth_exponent returns, or a mapping from depth to η*",
    "measured-late": "late=, a LateCurve such as ammup.late_curve returns, or a mapping from depth to η*",
    "sharpness": "sharpness=, a DepthLaw of ammup.depth_exponent(measure='sharpness'), or a mapping from depth to 2/λ",
    "sharpness-fit": "sharpness= with at least three depths, as for the rule 'sharpness'",
    "edge": "edges=, an EdgeCurve of ammup.probe_edges, a SweepLaw of ammup.fit_sweep(kind='edge'), or a mapping from "
    "depth to the edge",
}
# The rules that are measured, and the field of DepthChange with the measurement.
MEASURED = {
    "measured": "measured",
    "measured-late": "late",
    "sharpness": "sharpness",
    "sharpness-fit": "sharpness",
    "edge": "edges",
}
FEWEST_FITTED = 3  # depths of a fitted power law
RULES = (*EXPONENTS, *NEEDS)

ASSUMPTIONS = {
    "constant": "η* does not depend on L",
    "L^-1/2": "η* ∝ L^(-1/2), a rule of thumb without a derivation here",
    "L^-1": "η* ∝ L^(-1), the limit of residual nets with one layer in each branch at initialization",
    "am-mup": "η* ∝ L^(-3/2) (theorems 1 and 3), in the limit of large L; L counted by the paper's convention",
    "finite-depth": "η* ∝ the finite-depth law of wide nets at these depths, at initialization",
    "pathsum": "η* ∝ (Σ_p L_p³)^(-1/2) over the paths p (Chen et al., arXiv 2402.17440), under its own initialization",
    "measured": "η* ∝ the measured η*; between measured depths log η* is linear in log L",
    "measured-late": "η* ∝ the η* measured along a short run, which is pulled towards the rate of that run",
    "sharpness": "η* ∝ 2/λ, with the largest eigenvalue λ of the Gauss-Newton matrix at initialization",
    "sharpness-fit": "η* ∝ the power law in L that is fitted to 2/λ at initialization, at all measured depths",
    "edge": "η* ∝ the edge of training, the largest learning rate that trains",
}
# The learning rate that every rule carries.
PARAMETRIZATION = (
    "one learning rate for all parameters; for groups that divide it by the kernel cardinality, pass it to "
    "param_groups(rule='fan-in', tuned='global', inputs=…), which compensates"
)


@dataclass(frozen=True, kw_only=True)
class Transferred:
    """A learning rate at another depth.

    Attributes:
        rule: one of ``RULES``.
        lr: the learning rate there.
        interval: its confidence interval; NaN for rules without one.
        price: cost of the measurement in training steps, at all depths together; 0 for a formula, NaN if unknown.
        assumption: the assumption of the rule, in one sentence.
    """

    rule: str
    lr: float
    interval: tuple[float, float]
    price: float
    assumption: str


@dataclass(frozen=True, kw_only=True)
class DepthChange:
    """Two depths, and the data for the rules; the fields are arguments of :func:`ammup.transfer_lr`.

    Raises:
        InputError: a depth is not a positive integer, the family is unknown, or ``branch`` is missing or not
            allowed.
    """

    from_depth: int
    to_depth: int
    measured: Measured | None = None
    late: Measured | None = None
    sharpness: Measured | None = None
    edges: Measured | None = None
    family: str | None = None
    branch: int | Sequence[str] | None = None
    law: Law | None = None
    path_sums: Mapping[int, float] | None = None

    def __post_init__(self) -> None:
        checked_integer("from_depth", self.from_depth, at_least=1)
        checked_integer("to_depth", self.to_depth, at_least=1)
        if self.family is not None:
            check_known("family", self.family, FAMILIES)
        if self.family == "resnet" and self.branch is None:
            raise InputError(
                "family='resnet' needs branch=, the number of layers in each branch or their kinds such as "
                "('conv', 'dense'): η* depends on it"
            )
        if self.family != "resnet" and self.branch is not None:
            raise InputError(
                f"branch={self.branch!r} and family={self.family!r}: only 'resnet' has branches; leave it out"
            )
        checked_integer("branch", self._branch_layers, at_least=1)
        for kind in [] if isinstance(self.branch, int) else self.branch or []:
            check_known("branch", kind, ("conv", "dense"))

    @property
    def _branch_layers(self) -> int:
        """m, the layers of a branch; 1 for a plain net."""
        if self.branch is None or isinstance(self.branch, int):
            return 1 if self.branch is None else self.branch
        return len(self.branch)

    @property
    def rules(self) -> tuple[str, ...]:
        """The rules whose arguments are given, in the order of ``RULES``."""
        alternatives = {
            "finite-depth": (self.law, self.family),
            "pathsum": (self.path_sums, self.family),
            **{rule: (getattr(self, name),) for rule, name in MEASURED.items()},
        }
        missing = {rule for rule, values in alternatives.items() if all(value is None for value in values)}
        if self.sharpness is not None and len(MeasuredCurve.of(self.sharpness).depths) < FEWEST_FITTED:
            missing.add("sharpness-fit")
        return tuple(rule for rule in RULES if rule not in missing)

    def carry(self, lr: float, rule: str, *, level: float = 0.95) -> Transferred:
        """The learning rate at ``to_depth`` by one of the rules.

        Raises:
            InputError: the learning rate or level is invalid, the rule is unknown or lacks an argument, or the result
                overflows or underflows.
        """
        check_lr(lr)
        check_level(level)
        check_known("rule", rule, RULES)
        if rule not in self.rules:
            raise InputError(f"rule={rule!r} needs {NEEDS[rule]}; without it, the rules are {', '.join(self.rules)}")
        ratio, (low, high) = self._ratio(rule, level)
        carried = float(lr * ratio)
        if not 0 < carried < math.inf:
            raise InputError(
                f"rule={rule!r} carries lr={lr} from depth {self.from_depth} to {self.to_depth} out of the range of "
                "floats; choose depths that are closer"
            )
        return Transferred(
            rule=rule, lr=carried, interval=(lr * low, lr * high), price=self._price(rule), assumption=ASSUMPTIONS[rule]
        )

    def _ratio(self, rule: str, level: float) -> tuple[float, tuple[float, float]]:
        """η*(to)/η*(from) and its confidence interval."""
        if rule in MEASURED:
            curve = MeasuredCurve.of(getattr(self, MEASURED[rule]))
            ratio_of = curve.fitted_ratio if rule == "sharpness-fit" else curve.ratio
            return ratio_of(self.from_depth, self.to_depth, level=level)
        if self.from_depth == self.to_depth:
            ratio = 1.0
        elif rule in EXPONENTS:
            ratio = (self.to_depth / self.from_depth) ** EXPONENTS[rule]
        else:
            ratio = self._law_ratio() if rule == "finite-depth" else self._path_ratio()
        return ratio, (math.nan, math.nan)

    def _price(self, rule: str) -> float:
        """The training steps that the measurement of a rule cost."""
        if rule not in MEASURED:
            return 0.0
        return float(getattr(getattr(self, MEASURED[rule]), "training_steps", math.nan))

    def _law_ratio(self) -> float:
        depths = [self.from_depth, self.to_depth]
        lr_star = np.asarray(self._law(depths), dtype=np.float64)
        if lr_star.shape != (2,) or not np.all(np.isfinite(lr_star) & (lr_star > 0)):
            raise InputError(f"law gives {lr_star.tolist()} at depths {depths}; it must give a positive η* for each")
        before, after = lr_star.tolist()
        return float(after / before)

    def _law(self, depths: Sequence[int]) -> ArrayLike:
        if self.law is not None:
            return self.law(depths)
        return finite_depth_law(depths, family=str(self.family), branch=1 if self.branch is None else self.branch)

    @np.errstate(over="ignore")  # carry() rejects a ratio that is not finite
    def _path_ratio(self) -> float:
        return float(np.exp((self._log_paths(self.from_depth) - self._log_paths(self.to_depth)) / 2))

    def _log_paths(self, depth: int) -> float:
        """Log Σ_p L_p³ at this depth; in deep residual nets the sum itself overflows."""
        if self.path_sums is None:
            return log_path_sum(depth, family=str(self.family), branch=self._branch_layers)
        if not 0 < self.path_sums.get(depth, math.nan) < math.inf:
            raise InputError(
                f"path_sums={dict(self.path_sums)} must contain a positive Σ_p L_p³ at depth {depth}; "
                "ammup.theory.pathsum.enumerate_path_sum computes it for any small graph"
            )
        return math.log(self.path_sums[depth])
