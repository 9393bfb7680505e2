"""Param groups that exist, such as those with and without weight decay, split by the learning rates of a rule."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from ammup.errors import InputError

Groups = Iterable[Mapping[str, Any]]
# Learning rates that schedulers store in a group; they change by the same factor as its learning rate.
SCHEDULED = ("initial_lr", "max_lr", "min_lr")
# What a group has for each of its parameters; the last one is stored by optimizers of named parameters.
_PER_PARAMETER = ("params", "param_names")


@dataclass(frozen=True, kw_only=True)
class ExistingGroup:
    """One group.

    Attributes:
        name: its name, or its index if it has none; empty for a group of all parameters that is not the user's.
        params: its parameters.
        param_names: the names that the optimizer stored for them; empty if it stored none.
        options: its other options, such as the weight decay, and its learning rates.
        ratio: its learning rate divided by that of the first group; 1 if the groups have none.
    """

    name: str
    params: tuple[Tensor, ...]
    param_names: tuple[str, ...]
    options: Mapping[str, Any]
    ratio: float

    def split(
        self, names: Mapping[int, str], assigned: Mapping[str, tuple[str, float]], lr: float
    ) -> list[dict[str, Any]]:
        """One group for each label of a rule, with the options of this group.

        Args:
            names: the names of the model's parameters by their id.
            assigned: (label, factor of the learning rate) of each parameter by its name; an empty label adds nothing to
                the name of the group.
            lr: the learning rate of the first group at factor 1.
        """
        found: dict[str, dict[str, Any]] = {}
        for position, p in enumerate(self.params):
            label, factor = assigned[names[id(p)]]
            name = ": ".join(part for part in (self.name, label) if part)
            if name not in found:
                found[name] = {"params": [], **self._options(lr, factor), "name": name}
            found[name]["params"].append(p)
            if self.param_names:
                found[name].setdefault("param_names", []).append(self.param_names[position])
        return list(found.values())

    def _options(self, lr: float, factor: float) -> dict[str, Any]:
        """The learning rate and the other options of a part of this group."""
        new = float(lr * self.ratio * factor)
        options = {"lr": new}
        for key, value in self.options.items():
            if key in SCHEDULED and float(self.options.get("lr", 0.0)) > 0:
                options[key] = value * new / float(self.options["lr"])
            elif key not in ("lr", "name"):
                options[key] = value
        return options


def existing_groups(model: nn.Module, groups: Groups | Optimizer) -> list[ExistingGroup]:
    """The groups of an optimizer, or as given to one, after checking them.

    Raises:
        InputError: not groups, no group, a tensor that is not a parameter of the model or is in two groups, or learning
            rates that have no ratio.
    """
    given = groups.param_groups if isinstance(groups, Optimizer) else groups
    if isinstance(given, Mapping | Tensor | str) or not isinstance(given, Iterable):
        raise InputError(f"groups= is a {type(given).__name__}; give an optimizer or a list of its param groups")
    listed = [_checked(group, index) for index, group in enumerate(given)]
    if not listed:
        raise InputError("groups= is empty; give an optimizer or a list of its param groups")
    ratios = _ratios(listed)
    owners: dict[int, str] = {}
    names = {id(p): name for name, p in model.named_parameters()}
    for name, params, _, _ in listed:
        for p in params:
            if id(p) not in names:
                raise InputError(
                    f"group {name!r} of groups= contains a tensor {tuple(p.shape)} that is not a parameter of the "
                    "model; leave it out, and append its group to the result"
                )
            if id(p) in owners:
                raise InputError(f"parameter {names[id(p)]!r} is in group {owners[id(p)]!r} of groups= and in {name!r}")
            owners[id(p)] = name
    return [
        ExistingGroup(name=name, params=params, param_names=param_names, options=options, ratio=ratio)
        for (name, params, param_names, options), ratio in zip(listed, ratios, strict=True)
    ]


_Listed = tuple[str, tuple[Tensor, ...], tuple[str, ...], dict[str, Any]]


def check_undivided(existing: Sequence[ExistingGroup], split: Sequence[Mapping[str, Any]], lr: float) -> None:
    """Raise InputError if the groups of "fan-in" have smaller learning rates than the existing ones."""
    before = {id(p): lr * group.ratio for group in existing for p in group.params}
    divisor = max(before[id(p)] / group["lr"] for group in split for p in group["params"] if group["lr"] > 0)
    if divisor > 1 + 1e-9:
        raise InputError(
            f"rule='fan-in' divides lr={lr} by {divisor:.0f} for a convolution, which is right only if it was tuned "
            "with such groups: pass tuned='fan-in' if it was, or tuned='global' and inputs= to convert a learning rate "
            "that was tuned with one rate for all parameters"
        )


def _checked(group: Any, index: int) -> _Listed:
    """(name, parameters, names that the optimizer stored for them, other options) of a group."""
    if not isinstance(group, Mapping) or "params" not in group:
        raise InputError(
            f"groups[{index}] is a {type(group).__name__}; expected a dict with 'params', as for an optimizer"
        )
    params = group["params"]
    if not isinstance(params, Iterable):
        raise InputError(f"groups[{index}]['params'] is a {type(params).__name__}; expected parameters")
    members = [params] if isinstance(params, Tensor) else list(params)
    stored = list(group.get("param_names", ()))
    if members and all(isinstance(member, tuple) and len(member) == 2 for member in members):  # from named_parameters()
        stored, members = [name for name, _ in members], [p for _, p in members]
    if not all(isinstance(p, Tensor) for p in members):
        raise InputError(f"groups[{index}]['params'] contains a {_first_other(members)}; expected parameters")
    name = str(group.get("name", index))
    return name, tuple(members), tuple(stored), {key: v for key, v in group.items() if key not in _PER_PARAMETER}


def _first_other(members: list[Any]) -> str:
    return next(type(member).__name__ for member in members if not isinstance(member, Tensor))


def _ratios(listed: list[_Listed]) -> list[float]:
    """The learning rate of each group divided by that of the first; all 1 if no group has one."""
    rates = [None if "lr" not in options else float(options["lr"]) for *_, options in listed]
    given = [rate for rate in rates if rate is not None]
    if not given:
        return [1.0] * len(listed)
    if len(given) < len(listed):
        without = listed[rates.index(None)][0]
        raise InputError(f"group {without!r} of groups= has no 'lr', but another one has; give it to all or to none")
    if not all(math.isfinite(rate) and rate >= 0 for rate in given) or given[0] == 0:
        raise InputError(f"the learning rates of groups= are {given}; expected finite ones, the first of them positive")
    return [rate / given[0] for rate in given]
