"""How the base and the target are trained, and what a difference between the two does to the learning rate."""

import math
from dataclasses import dataclass

from ammup.errors import InputError, checked_integer
from ammup.transfer.setting import TrainingSetting

LINEAR = "linear scaling of SGD, η ∝ batch size (Goyal et al., arXiv 1706.02677)"
ROOT = "square-root scaling of adaptive optimizers, η ∝ √(batch size) (Malladi et al., arXiv 2205.10287)"
EFFECTIVE = "equal η / (1 - momentum), the effective learning rate of SGD"
# Differences for which the learning rate is not changed, and why.
UNRULED = {
    "weight_decay": "no rule for the rate is known that does not depend on the length of the run",
    "schedule": "there is no rule, so only probes show the effect",
}
TIME_SCALE = "equal η · weight decay, the time scale of AdamW (Wang and Aitchison, arXiv 2405.13698)"


@dataclass(frozen=True, kw_only=True)
class RunSetting(TrainingSetting):
    """A training setting with its batch size. Each attribute is None if it is not stated.

    Attributes:
        batch_size: samples in a step.

    Raises:
        InputError: the batch size is not an integer of at least 1, or as for :class:`ammup.TrainingSetting`.

    Example:
        >>> from ammup import RunSetting
        >>> RunSetting(optimizer="sgd", momentum=0.9, batch_size=128).unstated
        ('schedule', 'weight decay')
    """

    batch_size: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size is not None:
            checked_integer("batch_size", self.batch_size, at_least=1)


@dataclass(frozen=True, kw_only=True)
class SettingChange:
    """What differs between base and target.

    Attributes:
        factor: by which the learning rate is multiplied in a prediction.
        spread: log10 of the factor by which other rules for the same change differ, at most.
        notes: for each difference, one sentence with its rule.
    """

    factor: float = 1.0
    spread: float = 0.0
    notes: tuple[str, ...] = ()


def setting_change(base: RunSetting, target: RunSetting) -> SettingChange:
    """The effect of the differences between two settings.

    Probes at the target are trained in the target's setting, so they contain this effect, and the factor only places
    them. The maximal learning rate itself changes less with batch size and momentum than these rules, which hold well
    below it. The difference of both is the spread.

    Raises:
        InputError: no rule relates the two, or a value is stated for one of the two only.
    """
    _check_stated(base, target)
    factor, spread, notes = 1.0, 0.0, list[str]()
    if base.batch_size != target.batch_size:
        change, rule = _batch_factor(base, target)
        factor, spread = factor * change, spread + abs(math.log10(change))
        notes.append(f"batch size {base.batch_size} → {target.batch_size}: factor {change:.3g}, {rule}")
    if base.momentum != target.momentum:
        change, edge = _momentum_factors(base, target)
        factor, spread = factor * change, spread + abs(math.log10(change / edge))
        notes.append(
            f"momentum {base.momentum:g} → {target.momentum:g}: factor {change:.3g}, {EFFECTIVE}; the edge of "
            f"stability changes by the factor {edge:.3g}"
        )
    for name, reason in UNRULED.items():
        before, after = getattr(base, name), getattr(target, name)
        if before != after:
            notes.append(f"{name.replace('_', ' ')} {before} → {after}: the learning rate is not changed; {reason}")
    return SettingChange(factor=factor, spread=spread, notes=tuple(notes))


def _check_stated(base: RunSetting, target: RunSetting) -> None:
    """Raise InputError if a value is stated for one of the two only, or if the optimizers differ."""
    for name in ("optimizer", "momentum", "weight_decay", "batch_size", "schedule"):
        given = getattr(base, name), getattr(target, name)
        if (given[0] is None) != (given[1] is None):
            known = "base" if given[1] is None else "target"
            raise InputError(f"{name} is stated for the {known} only; state it for both, or for neither")
    if base.optimizer != target.optimizer:
        raise InputError(
            f"the base is trained with {base.optimizer} and the target with {target.optimizer}: no rule relates their "
            "learning rates; tune the base with the optimizer of the target"
        )


def _batch_factor(base: RunSetting, target: RunSetting) -> tuple[float, str]:
    """The factor for another batch size, and its rule."""
    assert base.batch_size is not None
    assert target.batch_size is not None
    ratio = target.batch_size / base.batch_size
    if base.optimizer is None:
        raise InputError(
            f"the batch size changes from {base.batch_size} to {target.batch_size}; state the optimizer, because the "
            "rule is linear for SGD and a square root for adaptive optimizers"
        )
    return (math.sqrt(ratio), ROOT) if base.adaptive else (ratio, LINEAR)


def _momentum_factors(base: RunSetting, target: RunSetting) -> tuple[float, float]:
    """The factors for another momentum of SGD: of the effective learning rate, and of the edge of the heavy ball."""
    assert base.momentum is not None
    assert target.momentum is not None
    if base.adaptive:
        raise InputError(
            f"the momentum changes from {base.momentum:g} to {target.momentum:g} with {base.optimizer}; only SGD has a "
            "rule for it: use the same momentum for both"
        )
    if max(base.momentum, target.momentum) >= 1:
        raise InputError("a momentum of 1 or more does not train; expected a number from 0 to below 1")
    return (1 - target.momentum) / (1 - base.momentum), (1 + target.momentum) / (1 + base.momentum)


def decay_advice(setting: RunSetting, base_lr: float, lr: float) -> str | None:
    """For AdamW with weight decay: the weight decay that keeps its time scale at another learning rate."""
    if setting.optimizer != "adamw" or not setting.weight_decay:
        return None
    decay = setting.weight_decay * base_lr / lr
    return (
        f"weight decay {decay:.3g} keeps the time scale of the base ({TIME_SCALE}); {setting.weight_decay:g} was used"
    )
