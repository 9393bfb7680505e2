"""Learning rates of the weights as plain torch param groups: one for all, by kernel cardinality, or by depth unit.

A group is a dict of parameters, a float and a name. Nothing is put on a tensor or on a module, so whatever takes param
groups of the same parameters (DistributedDataParallel, fully_shard, torch.compile, schedulers) works as it did.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from ammup.errors import InputError, check_known
from ammup.measurement.loss import Loss
from ammup.measurement.moments import UpdateMoments
from ammup.measurement.specification import MeasurementSpec
from ammup.measurement.step import Step
from ammup.measurement.updates import measure_updates
from ammup.models.depth import Forward, structure_of
from ammup.models.flow import observed
from ammup.models.layers import SupportConv
from ammup.models.state import preserved
from ammup.models.streams import seeded

RULES: Mapping[str, str] = {
    "global": "one learning rate for all",
    "fan-in": "the learning rate of a weight divided by its kernel cardinality",
    "per-unit": "every depth unit's own weights move it equally far",
}
CONVOLUTIONS = (nn.modules.conv._ConvNd, SupportConv)
REST = "rest"
Groups = Iterable[Mapping[str, Any]]
Placed = dict[str, tuple[str, float]]  # of each parameter: its group's name, and the factor of its learning rate


def param_groups(
    model: nn.Module,
    lr: float,
    *,
    rule: str = "global",
    inputs: Any = None,
    targets: Tensor | None = None,
    loss: Loss = "cross_entropy",
    forward: Forward | None = None,
    units: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Param groups for any torch optimizer that hold every trainable parameter once; tied ones once, frozen ones never.

    "global" gives all parameters ``lr``.

    "fan-in" divides the learning rate of a convolution's weight by its kernel cardinality k, and leaves all else at
    ``lr``. With one global learning rate every weight has k taps that take the step, S̄ gets a factor k², and κ ∝ 1/k
    (claim theorem-1.prefactor-free-of-kernel, for positions that are independent of each other); with this rule κ is
    free of k (theorem-1.prefactor-free-of-kernel-per-tap). Where inputs have few channels, positions are alike and a
    part of k stays: η* at k = 5 over η* at k = 1 was 1.4 for 3 channels, 1.05 for 64. That κ is free of the width as
    well is not this rule's doing: it is the mean-field readout's. A functional convolution is seen with ``inputs``
    only, a weight that ``torch.nn.utils.parametrize`` makes of others never.

    "per-unit" makes the own parts of the units equal. The own part of unit l is the mean square of its change when only
    those weights take the step that reach l and no earlier unit. The whole S_l cannot be made equal in general: the
    steps of earlier weights reach later units, and often move them further than the first unit moves in all. Nor does
    this rule bring the S_l closer together: S_16/S_1 of ``mlp(16, width=64)`` grew from 26 … 143 to 850 … 1850. The
    factor of the weights of unit l is own_l^(-1/2), times one constant that leaves S̄ what it is with ``lr`` for all.
    Norms, biases and projections belong to the first unit that they reach; what reaches none (the readout) stays at
    ``lr`` in the group "rest", and a unit without trainable weights of its own has no group. The parts are those of one
    SGD step on this batch, with the model in the mode it is in; they cost a measurement for each unit.

    Args:
        model: any module. For "per-unit" neither compiled nor wrapped yet; the groups hold the same parameters
            afterwards. ``fully_shard`` replaces the parameters: build groups after it, for "per-unit" from
            :func:`lr_factors` of groups built before.
        lr: the global learning rate, positive and finite.
        rule: "global", "fan-in" or "per-unit".
        inputs: (B, …) as in :func:`ammup.measure_updates`; needed by "per-unit".
        targets: as there; None draws labels.
        loss: as there.
        forward: as there.
        units: as there; the depth units that "per-unit" looks at.

    Returns:
        Groups ``{"params": [...], "lr": float, "name": str}`` in the order of the model's parameters. The names are
        "all"; "k=1", "k=9", …; or those of the units, and "rest".

    Raises:
        InputError: a learning rate that is not positive and finite, an unknown rule, no trainable weights, "per-unit"
            without inputs or with a unit that its own weights do not move, or what measure_updates refuses.

    Example:
        >>> import ammup, torch
        >>> groups = ammup.param_groups(ammup.cnn(2, width=8), 0.9, rule="fan-in")
        >>> [(group["name"], round(group["lr"], 9), len(group["params"])) for group in groups]
        [('k=9', 0.1, 2), ('k=1', 0.9, 1)]
        >>> optimizer = torch.optim.SGD(groups, momentum=0.9)
    """
    if not (math.isfinite(lr) and lr > 0):
        raise InputError(f"lr={lr} must be positive and finite")
    check_known("rule", rule, RULES)
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not trainable:
        raise InputError(f"{type(model).__name__} has no trainable weights, so there is nothing to group")
    placed: Placed = {}
    if rule == "fan-in":
        placed = _by_kernel(model, trainable, inputs, forward)
    elif rule == "per-unit":
        if inputs is None:
            raise InputError("rule='per-unit' measures the model: give inputs=, and targets= or drawn labels are used")
        spec = MeasurementSpec(inputs=inputs, targets=targets, loss=loss, label_draws=1, units=units, forward=forward)
        with preserved(model) as state:
            step = Step.of(model, spec, state=state)
            placed = _by_unit(step, partial(measure_updates, model, inputs, targets, loss=loss, forward=forward))
    groups: dict[str, dict[str, Any]] = {}
    for name, p in trainable.items():
        group, factor = placed.get(name, ("all" if rule == "global" else REST, 1.0))
        groups.setdefault(group, {"params": [], "lr": float(lr * factor), "name": group})["params"].append(p)
    return list(groups.values())


def param_table(model: nn.Module, groups: Groups) -> pd.DataFrame:
    """What learning rate each parameter has.

    Args:
        model: the model whose parameters the groups hold.
        groups: from :func:`param_groups`, or an optimizer's ``param_groups``.

    Returns:
        One row for each parameter in the model's order: ``parameter``, its name; ``shape``; ``fan_in``, its elements
        for each output row or channel (1 for a vector); ``lr``; ``factor``, lr over the largest one in the groups;
        ``group``, the group's name, or its place where it has none. A parameter of no group, such as a frozen one, has
        learning rate 0 and the group "".

    Raises:
        InputError: a group without a learning rate, with a parameter that is not the model's, or one that another group
            has.

    Example:
        >>> import ammup
        >>> net = ammup.cnn(1, width=8)
        >>> print(ammup.param_table(net, ammup.param_groups(net, 0.9, rule="fan-in")).round(3).to_string(index=False))
               parameter        shape  fan_in  lr  factor group
         layers.0.weight (8, 3, 3, 3)      27 0.1   0.111   k=9
        readout.1.weight      (10, 8)       8 0.9   1.000   k=1
    """
    held = _held(model, groups)
    largest = max((lr for _, lr in held.values()), default=0.0)
    rows = []
    for name, p in model.named_parameters():
        group, lr = held.get(name, ("", 0.0))
        shape, factor = tuple(p.shape), lr / largest if largest else float("nan")
        rows.append((name, shape, math.prod(shape[1:]), lr, factor, group))
    return pd.DataFrame(rows, columns=["parameter", "shape", "fan_in", "lr", "factor", "group"])


def lr_factors(model: nn.Module, groups: Groups) -> dict[str, float]:
    """The learning rate of every trainable parameter by name, 0 for those of no group.

    As ``lr_factors`` of :func:`ammup.measure_updates`, whose learning rate is 1, they make its ``S_bar`` that of one
    SGD step with these groups, and its ``lr_star`` the number by which to multiply all their learning rates to reach
    S̄ = 1.

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
    held = _held(model, groups)
    return {name: held.get(name, ("", 0.0))[1] for name, p in model.named_parameters() if p.requires_grad}


def _held(model: nn.Module, groups: Groups) -> Placed:
    """(group, learning rate) of each parameter that a group holds."""
    names = {id(p): name for name, p in model.named_parameters()}
    held: Placed = {}
    for place, group in enumerate(groups):
        label = str(group.get("name", place))
        if "lr" not in group:
            raise InputError(f"group {label!r} has no 'lr'; give groups of param_groups() or of an optimizer")
        for p in group["params"]:
            name = names.get(id(p))
            if name is None:
                raise InputError(f"group {label!r} holds a tensor of shape {tuple(p.shape)} that is not the model's")
            if name in held:
                raise InputError(f"parameter {name!r} is in group {held[name][0]!r} and again in {label!r}")
            held[name] = (label, float(group["lr"]))
    return held


def _by_kernel(model: nn.Module, trainable: Mapping[str, Tensor], inputs: Any, forward: Forward | None) -> Placed:
    # A parametrized module computes its `weight` when asked for it, which may change its buffers: ask for parameters.
    modules = [m for m in model.modules() if isinstance(m, CONVOLUTIONS)]
    kernels = {id(p) for m in modules for name, p in m.named_parameters(recurse=False) if name == "weight"}
    if inputs is not None:
        flow = structure_of(model, inputs, forward=forward).flow
        names = {operation.weight for operation in flow if operation.function.startswith("conv")}
        # What 1/k of the original of a parametrization does to the weight depends on the parametrization.
        kernels |= {id(p) for name, p in trainable.items() if name in names and "parametrizations." not in name}
    placed: Placed = {}
    for name, p in trainable.items():
        k = math.prod(p.shape[2:]) if id(p) in kernels else 1
        placed[name] = (f"k={k}", 1 / k)
    return placed


def _by_unit(step: Step, measured: Callable[..., UpdateMoments]) -> Placed:
    owners = first_units(step)
    whole = measured(units=step.units).S_bar
    factors: dict[str, float] = {}
    for unit in dict.fromkeys(owners.values()):
        others = {name: 0.0 for name in step.weights if owners.get(name) != unit}
        try:
            factors[unit] = measured(units=[unit], lr_factors=others).S_bar ** -0.5
        except InputError as error:
            raise InputError(f"rule='per-unit' cannot scale the own weights of unit {unit!r}: {error}") from error
    # Weights of no unit move none, so S̄ is exactly quadratic in a constant that all the others share.
    scaled = measured(units=step.units, lr_factors={name: factors[unit] for name, unit in owners.items()}).S_bar
    return {name: (unit, factors[unit] * (whole / scaled) ** 0.5) for name, unit in owners.items()}


def first_units(step: Step) -> dict[str, str]:
    """The first unit, in order of computation, that each weight reaches; weights that reach none are left out."""
    # Read off the graph that autograd records: norms and biases, which the flow of layers does not show, are in it.
    leaves = {name: w.detach().requires_grad_() for name, w in step.weights.items()}
    names = {id(leaf): name for name, leaf in leaves.items()}
    roots: dict[str, Any] = {}

    def record(unit: str, z: Tensor) -> None:
        roots.setdefault(unit, z.grad_fn)

    step.restore_model()
    with torch.enable_grad(), seeded("first units"), observed(step.model, step.units, record):
        step.run(leaves)
    step.restore_model()  # each measurement that follows records the model anew
    owners: dict[str, str] = {}
    seen = {None}
    for unit, root in roots.items():
        stack = [root]
        while stack:
            node = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            name = names.get(id(getattr(node, "variable", None)))
            if name is not None:
                owners[name] = unit
            stack += [source for source, _ in node.next_functions]
    return owners
