"""The training setting that an advice is for, and the parts of it that lie outside of the evidence."""

import math
from dataclasses import dataclass, fields

from ammup.errors import InputError, check_known

ADAPTIVE = ("adam", "adamw", "adagrad", "adadelta", "adafactor", "rmsprop", "lion", "lamb", "muon", "other")
OPTIMIZERS = ("sgd", *ADAPTIVE)
SCHEDULES = ("constant", "cosine", "linear", "step", "one-cycle", "other")
COVERED = "the evidence covers plain SGD at a constant learning rate"


@dataclass(frozen=True, kw_only=True)
class TrainingSetting:
    """How the net will be trained. Each attribute is None if it is not stated.

    Attributes:
        momentum: momentum of SGD.
        schedule: "constant", "cosine", "linear", "step", "one-cycle" or "other".
        weight_decay: weight decay, of any kind.
        optimizer: "sgd", an adaptive optimizer such as "adamw", or "other".

    Raises:
        InputError: a name is unknown, or a number is negative or not finite.

    Example:
        >>> from ammup import TrainingSetting
        >>> TrainingSetting(momentum=0.0, schedule="cosine").unstated
        ('weight decay', 'optimizer')
    """

    momentum: float | None = None
    schedule: str | None = None
    weight_decay: float | None = None
    optimizer: str | None = None

    def __post_init__(self) -> None:
        for name in ("momentum", "weight_decay"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise InputError(f"{name}={value}: expected a finite number of at least 0")
        if self.schedule is not None:
            check_known("schedule", self.schedule, SCHEDULES)
        if self.optimizer is not None:
            check_known("optimizer", self.optimizer, OPTIMIZERS)

    @property
    def adaptive(self) -> bool:
        """Whether the optimizer is not SGD, so that no rule of this package applies to it."""
        return self.optimizer in ADAPTIVE

    @property
    def unstated(self) -> tuple[str, ...]:
        """The names of the attributes that are not stated."""
        return tuple(one.name.replace("_", " ") for one in fields(self) if getattr(self, one.name) is None)

    def warnings(self) -> list[str]:
        """One sentence for each stated part that lies outside of the evidence, and one for all that is not stated."""
        found = []
        if self.momentum:
            found.append(f"momentum {self.momentum:g} does not show in the first step, which is measured; {COVERED}")
        if self.schedule not in (None, "constant"):
            found.append(f"a {self.schedule} schedule is outside of the evidence; {COVERED}")
        if self.weight_decay:
            found.append(f"weight decay {self.weight_decay:g} does not show in the first step; {COVERED}")
        if self.adaptive:
            found.append(
                f"the optimizer {self.optimizer} does not take SGD's step, for which every rule holds; {COVERED}"
            )
        if self.unstated:
            found.append(f"not stated: {', '.join(self.unstated)}; {COVERED}")
        return found
