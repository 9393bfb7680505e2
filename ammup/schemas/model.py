"""The base of the models in this room, and the keys that several outputs share."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

Real = float | None  # null if the number is not finite or not known
Interval = tuple[Real, Real]


class Output(BaseModel):
    """A JSON object. Later versions may add keys, and do not remove or rename any."""

    model_config = ConfigDict(extra="allow", frozen=True)


def key(text: str, **options: Any) -> Any:
    """A key of an output with its meaning and unit; required unless ``default`` is given."""
    return Field(description=text, **options)


class Line(Output):
    """A power law that was fitted to learning rates against depth."""

    slope: Real = key("slope of log η* on log L, with its sign")
    slope_se: Real = key("its standard error")
    slope_ci: Interval | None = key("its confidence interval")
    level: Real = key("confidence level of the interval")
    prefactor: Real = key("η* of the line at depth 1")
    r2: Real = key("share of the variance of log η* that the line explains")


class CurveRow(Output):
    """The measured η* of one depth."""

    depth: int = key("L")
    lr_star: float = key("η*, the maximal-update learning rate, or the edge of stability for measure sharpness")
    se_log10: Real = key("standard error of log10 lr_star")
    local_slope: Real = key("slope of log η* on log L from the previous depth; null at the first depth")
    scatter: Real = key("coefficient of variation of S̄ (or of the sharpness) between weight draws")
    seeds: int = key("number of weight draws")


class Draw(Output):
    """One weight draw."""

    depth: int = key("L")
    seed: int = key("seed of the weights")
    lr_star: Real = key("η* of this draw")
    S_bar: Real = key("S̄ at learning rate 1; only for measure updates", default=None)
    sharpness: Real = key("largest eigenvalue of the Gauss-Newton matrix; only for measure sharpness", default=None)
    passes: Real = key("passes through the model; only for measure sharpness", default=None)


class Law(Line):
    """η* measured at several depths, and the power law fitted to it."""

    measure: str = key("updates or sharpness: what was measured")
    reference: Real = key("slope of the finite-depth law at the same depths; null if none is known for these models")
    noisy_depths: list[int] = key("depths at which few weight draws dominate, so that the error is unreliable")
    curve: list[CurveRow] = key("one row for each depth")
    units: dict[str, int] = key("depth -> number of depth units of the model")
    S: dict[str, list[float]] = key("depth -> S_l of each unit at learning rate 1; empty for measure sharpness")
    draws: list[Draw] = key("one row for each depth and weight draw")
