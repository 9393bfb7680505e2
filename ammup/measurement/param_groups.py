"""Learning rates of the weights as plain torch param groups: one for all, by kernel cardinality, or by depth unit.

A group is a dict of parameters, a learning rate and a name. Tensors and modules are not modified, so everything that
works with param groups of the same parameters (DistributedDataParallel, fully_shard, torch.compile, schedulers) still
works.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from torch import Tensor, nn
from torch.optim import Optimizer

from ammup.errors import InputError, check_known
from ammup.measurement.existing_groups import ExistingGroup, Groups, check_undivided, existing_groups
from ammup.measurement.loss import Loss, Targets
from ammup.measurement.own_weights import per_unit_factors
from ammup.measurement.specification import MeasurementSpec
from ammup.measurement.updates import measure_updates
from ammup.models.depth import Forward, structure_of
from ammup.models.layers import SupportConv
from ammup.models.wrappers import unwrapped

RULES: Mapping[str, str] = {
    "global": "one learning rate for all",
    "fan-in": "the learning rate of a weight divided by its kernel cardinality",
    "per-unit": "the own weights of every depth unit move it equally far",
}
CONVOLUTIONS = (nn.modules.conv._ConvNd, SupportConv)
REST = "rest"
_Assignment = dict[str, tuple[str, float]]  # parameter name: (group name, learning rate or its factor)


def param_groups(
    model: nn.Module,
    lr: float,
    *,
    rule: str = "global",
    inputs: Any = None,
    targets: Targets | None = None,
    loss: Loss | None = None,
    forward: Forward | None = None,
    units: Sequence[str] | None = None,
    groups: Groups | Optimizer | None = None,
    tuned: str | None = None,
) -> list[dict[str, Any]]:
    """Param groups for any torch optimizer, with every trainable parameter exactly once (also tied ones).

    With ``groups``, such as those with and without weight decay, each of these groups is split by the rule. Its parts
    keep its other options, and the ratio of its learning rate to that of the first group. Parameters in no group stay
    in none. Where the optimizer multiplies the weight decay by the learning rate, as SGD and AdamW do, the rule also
    changes that product.

    "global" gives all parameters ``lr``.

    A learning rate holds for one rule only. One that was tuned with one rate for all parameters, such as that of
    :func:`ammup.transfer_lr`, is nine times too small for the 3×3 convolutions of "fan-in". Therefore "fan-in" requires
    ``tuned`` if it changes a learning rate. With ``tuned="global"``, all learning rates are multiplied by the constant
    at which S̄ on this batch equals that with ``lr`` for all parameters. ``tuned="fan-in"`` states that ``lr`` was tuned
    with such groups.

    "fan-in" divides the learning rate of a convolution's weight by its kernel cardinality k. All other parameters have
    ``lr``.

    * With one global learning rate, all k taps of a kernel take the step, so S̄ has a factor k² and κ ∝ 1/k (claim
      theorem-1.prefactor-free-of-kernel, for positions that are independent of each other). With this rule, κ does not
      depend on k (theorem-1.prefactor-free-of-kernel-per-tap).
    * With few input channels, positions are similar and some dependence on k remains: the ratio of η* at k = 5 to η* at
      k = 1 was 1.4 for 3 channels and 1.05 for 64.
    * κ does not depend on the width either, but because of the mean-field readout, not because of this rule.
    * A functional convolution is detected only with ``inputs``. A weight computed by ``torch.nn.utils.parametrize`` is
      never detected.

    "per-unit" makes the own parts of all units equal. The weights of unit l are those that reach unit l and no earlier
    unit. The own part of unit l is the mean square of its change when only its weights take the step.

    * The weights of unit l get the factor own_l^(-1/2), times a common constant chosen so that S̄ is the same as with
      ``lr`` for all weights.
    * The S_l themselves cannot be made equal in general, because the steps of earlier weights also move later units,
      often further than the first unit moves in total. This rule can even increase their differences: S_16/S_1 of
      ``mlp(16, width=64)`` grew from 26 … 143 to 850 … 1850.
    * Norms, biases and projections belong to the first unit that they reach. Parameters that reach no unit (the
      readout) keep ``lr``, in the group "rest". A unit without trainable weights of its own has no group.
    * The own parts are measured for one SGD step on this batch, in the model's current mode (train or eval), which
      takes one measurement for each unit.

    Args:
        model: any module; for "per-unit" it must not be compiled or wrapped yet. Compiling or wrapping it later keeps
            the parameters. ``fully_shard`` replaces them, so build the groups after it; for "per-unit", from the
            :func:`lr_factors` of groups that were built before it.
        lr: the global learning rate, positive and finite.
        rule: "global", "fan-in" or "per-unit".
        inputs: (B, …) as in :func:`ammup.measure_updates`; needed by "per-unit".
        targets: as in :func:`ammup.measure_updates`; None draws labels.
        loss: as in :func:`ammup.measure_updates`.
        forward: as in :func:`ammup.measure_updates`.
        units: the depth units for "per-unit", as in :func:`ammup.measure_updates`.
        groups: existing groups, as they are given to an optimizer, or an optimizer; ``lr`` is the new learning rate of
            the first one. None puts all trainable parameters into one.
        tuned: the rule with which ``lr`` was tuned. One that is not ``rule`` needs ``inputs``. None is "global" for
            "global" and "per-unit", which keep S̄; "fan-in" rejects it if it changes a learning rate.

    Returns:
        Groups ``{"params": [...], "lr": float, "name": str}`` in the order of the model's parameters. The names are
        "all"; "k=1", "k=9", …; or those of the units, and "rest". With ``groups``, they begin with the name or the
        index of the existing group, as in "0: k=9", and the groups contain its other options.

    Raises:
        InputError: the learning rate is not positive and finite, the rule is unknown, "fan-in" divides a learning rate
            and ``tuned`` does not state what it was tuned with, there are no trainable weights,
            "per-unit" has no inputs or a unit that its own weights do not move, measure_updates rejects the input, or
            ``groups`` are invalid or have parameters of another model.

    Example:
        >>> import ammup, torch
        >>> groups = ammup.param_groups(ammup.cnn(2, width=8), 0.9, rule="fan-in", tuned="fan-in")
        >>> [(group["name"], round(group["lr"], 9), len(group["params"])) for group in groups]
        [('k=9', 0.1, 2), ('k=1', 0.9, 1)]
        >>> optimizer = torch.optim.SGD(groups, momentum=0.9)
        >>> net = ammup.resnet(1, width=8, batchnorm=True)
        >>> vectors = [p for p in net.parameters() if p.ndim == 1]
        >>> existing = [
        ...     {"params": [p for p in net.parameters() if p.ndim > 1], "weight_decay": 0.1, "name": "decay"},
        ...     {"params": vectors, "weight_decay": 0.0, "name": "no decay"},
        ... ]
        >>> groups = ammup.param_groups(net, 0.9, rule="fan-in", tuned="fan-in", groups=existing)
        >>> [(group["name"], round(group["lr"], 9), group["weight_decay"]) for group in groups]
        [('decay: k=9', 0.1, 0.1), ('decay: k=1', 0.9, 0.1), ('no decay: k=1', 0.9, 0.0)]
    """
    if not (math.isfinite(lr) and lr > 0):
        raise InputError(f"lr={lr} must be positive and finite")
    check_known("rule", rule, RULES)
    model = unwrapped(model)
    trainable = [p for p in model.parameters() if p.requires_grad]
    if not trainable:
        raise InputError(f"{type(model).__name__} has no trainable weights, so there is nothing to group")
    all_trainable = ExistingGroup(name="", params=tuple(trainable), param_names=(), options={}, ratio=1.0)
    existing = [all_trainable] if groups is None else existing_groups(model, groups)
    data = {"inputs": inputs, "targets": targets, "loss": loss, "forward": forward, "units": units}
    if tuned not in (None, rule):
        check_known("tuned", tuned, RULES)
        if inputs is None:
            raise InputError(
                f"tuned={tuned!r} and rule={rule!r}: converting the learning rate needs inputs=, one batch"
            )
        before, after = (_split(model, existing, str(name), 1.0, data) for name in (tuned, rule))
        lr *= _conversion(model, before, after, data)
    groups_of_rule = _split(model, existing, rule, lr, data)
    if rule == "fan-in" and tuned is None:
        check_undivided(existing, groups_of_rule, lr)
    return groups_of_rule


def _split(
    model: nn.Module, existing: Sequence[ExistingGroup], rule: str, lr: float, data: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The existing groups, split by a rule; ``data`` contains arguments of :func:`ammup.measure_updates`."""
    names = {id(p): name for name, p in model.named_parameters()}
    members = {names[id(p)]: p for group in existing for p in group.params}
    if rule == "global":
        assigned: _Assignment = dict.fromkeys(members, ("" if existing[0].name else "all", 1.0))
    elif rule == "fan-in":
        assigned = _by_kernel(model, members, data["inputs"], data["forward"])
    else:
        if data["inputs"] is None:
            raise InputError("rule='per-unit' measures the model: give inputs=, and targets= or drawn labels are used")
        left_out = [name for name, p in model.named_parameters() if p.requires_grad and name not in members]
        spec = MeasurementSpec(**data, lr_factors=dict.fromkeys(left_out, 0.0))
        assigned = {**dict.fromkeys(members, (REST, 1.0)), **per_unit_factors(model, spec)}
    return [part for group in existing for part in group.split(names, assigned, lr)]


def _conversion(model: nn.Module, before: Groups, after: Groups, data: Mapping[str, Any]) -> float:
    """The factor of all learning rates of ``after`` at which S̄ of one SGD step is that of ``before``."""
    S_bar = [measure_updates(model, **data, lr_factors=lr_factors(model, groups)).S_bar for groups in (before, after)]
    return math.sqrt(S_bar[0] / S_bar[1])


def param_table(model: nn.Module, groups: Groups) -> pd.DataFrame:
    """A table of each parameter's learning rate and group.

    Args:
        model: the model whose parameters are in the groups.
        groups: from :func:`param_groups`, or an optimizer's ``param_groups``.

    Returns:
        One row for each parameter in the model's order: ``parameter``, its name; ``shape``; ``fan_in``, the number of
        elements for each output row or channel (1 for a vector); ``lr``; ``factor``, lr divided by the largest one in
        the groups; ``group``, the group's name, or its index if it has no name. A parameter that is in no group, such
        as a frozen one, has learning rate 0 and the group "".

    Raises:
        InputError: a group has no learning rate, a parameter is not the model's, or a parameter is in two groups.

    Example:
        >>> import ammup
        >>> net = ammup.cnn(1, width=8)
        >>> groups = ammup.param_groups(net, 0.9, rule="fan-in", tuned="fan-in")
        >>> print(ammup.param_table(net, groups).round(3).to_string(index=False))
               parameter        shape  fan_in  lr  factor group
         layers.0.weight (8, 3, 3, 3)      27 0.1   0.111   k=9
        readout.1.weight      (10, 8)       8 0.9   1.000   k=1
    """
    assigned = _assigned(model, groups)
    largest = max((lr for _, lr in assigned.values()), default=0.0)
    rows = []
    for name, p in model.named_parameters():
        group, lr = assigned.get(name, ("", 0.0))
        shape = tuple(p.shape)
        factor = lr / largest if largest else float("nan")
        rows.append((name, shape, math.prod(shape[1:]), lr, factor, group))
    return pd.DataFrame(rows, columns=["parameter", "shape", "fan_in", "lr", "factor", "group"])


def lr_factors(model: nn.Module, groups: Groups) -> dict[str, float]:
    """The learning rate of every trainable parameter by name; 0 for parameters that are in no group.

    Pass them as ``lr_factors`` to :func:`ammup.measure_updates`. Its ``S_bar`` is then that of one SGD step with these
    groups, and its ``lr_star`` is the factor by which to multiply all their learning rates to reach S̄ = 1.

    Arguments and errors as in :func:`param_table`.

    Example:
        >>> import ammup, torch
        >>> from ammup.measurement.param_groups import lr_factors
        >>> net, x = ammup.mlp(4, width=16, in_features=8), torch.ones(2, 8)
        >>> groups = ammup.param_groups(net, 0.01, rule="per-unit", inputs=x, loss="mse")
        >>> by_unit = ammup.measure_updates(net, x, lr_factors=lr_factors(net, groups)).S_bar
        >>> abs(by_unit / (0.01**2 * ammup.measure_updates(net, x).S_bar) - 1) < 1e-4
        True
    """
    assigned = _assigned(model, groups)
    return {name: assigned.get(name, ("", 0.0))[1] for name, p in model.named_parameters() if p.requires_grad}


def _assigned(model: nn.Module, groups: Groups) -> _Assignment:
    """(group, learning rate) of each parameter that is in a group."""
    names = {id(p): name for name, p in model.named_parameters()}
    assigned: _Assignment = {}
    for index, group in enumerate(groups):
        label = str(group.get("name", index))
        if "lr" not in group:
            raise InputError(f"group {label!r} has no 'lr'; give groups from param_groups() or an optimizer")
        for p in group["params"]:
            name = names.get(id(p))
            if name is None:
                shape = tuple(p.shape)
                raise InputError(f"group {label!r} contains a tensor {shape} that is not a parameter of the model")
            if name in assigned:
                raise InputError(f"parameter {name!r} is in group {assigned[name][0]!r} and again in {label!r}")
            assigned[name] = (label, float(group["lr"]))
    return assigned


def _by_kernel(model: nn.Module, members: Mapping[str, Tensor], inputs: Any, forward: Forward | None) -> _Assignment:
    """(group, factor 1/k) of each parameter by its kernel cardinality k; k is 1 for all but convolutions."""
    # Not through `module.weight`: a parametrized module computes it on access, which may change its buffers.
    modules = [m for m in model.modules() if isinstance(m, CONVOLUTIONS)]
    kernels = {id(p) for m in modules for name, p in m.named_parameters(recurse=False) if name == "weight"}
    if inputs is not None:
        flow = structure_of(model, inputs, forward=forward).flow
        names = {operation.weight for operation in flow if operation.function.startswith("conv")}
        # The effect of a learning rate on a parametrized weight depends on the parametrization, so these are skipped.
        kernels |= {id(p) for name, p in members.items() if name in names and "parametrizations." not in name}
    assigned: _Assignment = {}
    for name, p in members.items():
        k = math.prod(p.shape[2:]) if id(p) in kernels else 1
        assigned[name] = (f"k={k}", 1 / k)
    return assigned
