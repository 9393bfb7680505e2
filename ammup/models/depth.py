"""The depth units of a module: their names and their number L."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ammup.errors import InputError, check_known
from ammup.models.array_input import tensor_if_array
from ammup.models.eager import run_eagerly
from ammup.models.flow import recorded
from ammup.models.operation import Operation, owner_of
from ammup.models.state import ModelState, check_initialized, preserved
from ammup.models.streams import seeded
from ammup.models.structure import Structure
from ammup.models.tracing import traced
from ammup.models.wrappers import unwrapped

Forward = Callable[[nn.Module, Any], Tensor]

# What each convention counts on one path. It is the path with the most units, or with the fewest for "shortest".
CONVENTIONS: Mapping[str, str] = {
    "paper": "each residual addition, and each weight layer outside a residual branch (arXiv 2510.04327, section 3.2)",
    "blocks": "each residual addition",
    "layers": "each weight layer, except projections on a skip connection",
    "relu": "each input of an activation (PathSum, arXiv 2402.17440, section 3.3)",
    "shortest": "weight layers and residual additions on the path with the fewest of them (arXiv 2602.07494)",
    "update-bearing": "as paper, and the stem, but only units with a trained weight (arXiv 2602.07494, revised)",
}


def depth_units(
    model: nn.Module, example_input: Any = None, *, convention: str = "paper", forward: Forward | None = None
) -> tuple[str, ...]:
    """The names of the model's depth units, in the order of computation.

    The units are in sequence: they lie on one path from an input to the first output, so that parallel branches do not
    add to the depth. Gates (squeeze-and-excitation, attention weights), auxiliary heads and computations that do not
    depend on the input are not on the path. Neither the readout nor the stem is counted. The stem consists of the
    weight layers of the module that reads the raw inputs before the first residual block.
    `ammup.models.depth.CONVENTIONS` describes the conventions.

    Args:
        model: any module that torch.fx can trace; with ``example_input``, any module.
        example_input: (B, …), or any argument that ``forward`` accepts. The operations are then recorded from one run,
            after which the model and the global random generators are restored.
        convention: "paper", "blocks", "layers", "relu", "shortest" or "update-bearing".
        forward: ``forward(model, example_input)``; None calls the model with the input.

    Returns:
        Names of modules as in ``model.named_modules()``, or of functions called in a module, such as "layer1.0:add".
        The second call of a module or function has a name such as "shared@2" or "layer1.0:add_2". If a module is called
        again but only its first call is a unit, the name of the first call is "shared@1".

    Raises:
        InputError: the convention is unknown, or the model cannot be traced or has no such units.

    Example:
        >>> import ammup
        >>> from torchvision.models import resnet18
        >>> ammup.depth_units(resnet18())[:2]
        ('layer1.0:add', 'layer1.1:add')
    """
    check_known("convention", convention, CONVENTIONS)
    model = unwrapped(model) if isinstance(model, nn.Module) else model
    return units_of(model, structure_of(model, example_input, forward=forward), convention)


def units_of(model: nn.Module, structure: Structure, convention: str = "paper") -> tuple[str, ...]:
    """The names of the depth units in a model's structure; errors as in :func:`depth_units`."""
    units = structure.units(convention)
    if not units:
        raise InputError(
            f"{type(model).__name__} has no depth units in the convention {convention!r}",
            python="choose another or pass units=; layers inside a torch.func transform are not counted",
            option="give a factory whose model has weight layers that run outside of torch.func transforms",
        )
    return units


def minimal_depth(
    model: nn.Module, example_input: Any = None, *, convention: str = "paper", forward: Forward | None = None
) -> int:
    """L, the number of depth units; arguments and errors as in :func:`depth_units`.

    Example:
        >>> import ammup
        >>> ammup.minimal_depth(ammup.resnet(4, width=8))
        4
    """
    return len(depth_units(model, example_input, convention=convention, forward=forward))


def check_depths_differ(counts: Mapping[int, int], *, remedy: str = "") -> None:
    """Check that the models of different depths have different numbers of depth units.

    Args:
        counts: for each depth of a factory, the number of depth units of its model.
        remedy: what else to do, appended to the message.

    Raises:
        InputError: two depths have the same number.
    """
    owners: dict[int, int] = {}
    for depth, count in counts.items():
        other = owners.setdefault(count, depth)
        if other != depth:
            units = "depth unit" if count == 1 else "depth units"
            raise InputError(
                f"the factory ignores its depth: depths {other} and {depth} both gave {count} {units}{remedy}"
            )


OWN_NETS = "ammup.models.nets"
_TRACED: dict[tuple[type, str, frozenset[str]], Structure] = {}


def structure_of(
    model: nn.Module, example_input: Any = None, *, forward: Forward | None = None, state: ModelState | None = None
) -> Structure:
    """The structure of a module: recorded from a run on an example input, or traced without one.

    Args:
        model: the module, which is restored afterwards.
        example_input: as in :func:`depth_units`.
        forward: as in :func:`depth_units`.
        state: the recorded state of the model; None records it.

    Raises:
        InputError: the module cannot be traced or run, or has no weight layer.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"model is a {type(model).__name__}; give an nn.Module")
    if example_input is not None:
        check_initialized(model)
        example_input = _array_for(model, example_input) if forward is None else example_input
        inputs = [leaf for leaf in tree_leaves(example_input) if isinstance(leaf, Tensor)]
        with preserved(model, state, only_passes=forward is None):
            return _checked(model, recorded(model, inputs, lambda: _run(model, example_input, forward)))
    if type(model).__module__ != OWN_NETS:
        with preserved(model, state), seeded("structure"):  # the traced forward may store its proxies in the model
            return _checked(model, traced(model))
    # Cached, because a trace takes as long as a small measurement. The repr of these nets determines their forward.
    key = (type(model), repr(model), frozen_layers(model))
    if key not in _TRACED:
        _TRACED[key] = _checked(model, traced(model))
    return _TRACED[key]


def _array_for(model: nn.Module, value: Any) -> Any:
    """A NumPy array as a tensor in the dtype and on the device of the model's first weight; others unchanged."""
    tensor, like = tensor_if_array("example_input", value), next(model.parameters(), None)
    if tensor is value or like is None:
        return tensor
    return tensor.to(like.device, like.dtype if tensor.is_floating_point() else None)


def _run(model: nn.Module, example_input: Any, forward: Forward | None) -> Any:
    """Run one forward and restore the global random generators."""
    with seeded("structure"), run_eagerly():
        try:
            return model(example_input) if forward is None else forward(model, example_input)
        except Exception as error:  # the user's forward can raise anything
            raise cannot_be_run(model, example_input, error) from error


def cannot_be_run(model: nn.Module, inputs: Any, error: Exception) -> InputError:
    """Return the error for a forward that raised an exception."""
    shapes = [tuple(leaf.shape) for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor)]
    message = str(error).strip().splitlines()
    return InputError(
        f"{type(model).__name__} cannot be run on inputs of shape {shapes[0] if len(shapes) == 1 else shapes}: "
        f"{message[0] if message else type(error).__name__}"
    )


def _checked(model: nn.Module, flow: list[Operation]) -> Structure:
    """Return the structure of a flow; raise InputError if it has no weight layer."""
    structure = Structure(flow, frozen_layers(model))
    if not structure.layers:
        raise InputError(f"{type(model).__name__} has no linear, convolutional or recurrent layer, so it has no depth")
    return structure


def frozen_layers(model: nn.Module) -> frozenset[str]:
    """Names of the layers without a trained weight, as in :attr:`Operation.layer`."""
    owners = {owner_of(name): False for name, _ in model.named_parameters()}
    for name, parameter in model.named_parameters():
        owners[owner_of(name)] |= parameter.requires_grad
    return frozenset(owner for owner, trained in owners.items() if not trained)
