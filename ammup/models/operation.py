"""One operation of a forward: its inputs, its function and the name of its output.

A later run can be observed at the named outputs. The name is the path of the module that returned the output, ``path``,
or that of the calling module with the function, ``path:add``. The second call of either is ``path@2`` or
``path:add_2``.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ammup.models.layers import WEIGHT_LAYERS

ATTENTION = "multi_head_attention_forward"
RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu")
CELLS = tuple(f"{name}_cell" for name in RECURRENT)
# Functions whose result depends on the shape of their input only.
CONSTANTS = (
    *("zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like", "randint_like"),
    *("new_zeros", "new_ones", "new_full", "new_empty", "new_tensor", "size", "dim", "numel"),
)
SELECTIONS = ("part", "getitem", "select", "narrow")
# Other names of the same function in Python and torch -> the name that is recorded.
SYNONYMS = {"iadd": "add", "radd": "add", "imatmul": "matmul", "rmatmul": "matmul"}
PRODUCTS = (
    *(f"conv{n}d" for n in (1, 2, 3)),
    *(f"conv_transpose{n}d" for n in (1, 2, 3)),
    *("linear", "bilinear", "matmul", "mm", "bmm", "addmm", "baddbmm", "einsum", "tensordot"),
    ATTENTION,
    *CELLS,
)
SEVERAL_WEIGHTS = (ATTENTION, *CELLS)
ACTIVATION_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    name: getattr(F, name)
    for name in ("relu", "gelu", "silu", "elu", "selu", "mish", "hardswish", "relu6", "leaky_relu")
} | {"tanh": torch.tanh, "sigmoid": torch.sigmoid}


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation of a forward.

    Attributes:
        sources: indices of the operations whose outputs it reads.
        function: "add", "relu", "conv2d", …; "part" for one of several outputs of a function; empty for inputs and for
            modules whose inside is not recorded.
        name: name of its output.
        layer: name of the module that owns the weight, if the operation multiplies by a weight.
        weight: name of that weight in ``named_parameters``; empty if it has several (attention, recurrent layers).
        activation: the activation, if the operation applies one.
        is_input: whether it is an input of the forward.
        output: its position among the outputs of the forward; None if it is not an output.
    """

    sources: tuple[int, ...]
    function: str = ""
    name: str = ""
    layer: str | None = None
    weight: str = ""
    activation: Callable[[Tensor], Tensor] | None = None
    is_input: bool = False
    output: int | None = None

    @property
    def kind(self) -> str:
        """The function, or the class of the activation module in lower case: "sigmoid", "softmax", …."""
        return self.function or ("" if self.activation is None else type(self.activation).__name__.lower())

    @property
    def is_sum(self) -> bool:
        """Whether it adds two computed tensors; `x + x`, `x + 1` and `x + weight` have one source."""
        return self.function == "add" and len(self.sources) == 2


class Names:
    """Counts the calls of modules and functions, and names their outputs."""

    def __init__(self) -> None:
        self._calls: Counter[str] = Counter()
        self._stack: list[tuple[str, Counter[str]]] = []

    def enter(self, path: str) -> None:
        """Record that a module is called."""
        self._calls[path] += 1
        calls = self._calls[path]
        self._stack.append((path if calls == 1 else f"{path}@{calls}", Counter()))

    def leave(self) -> str:
        """Record that the current module returns, and return the name of its output."""
        return self._stack.pop()[0]

    def function(self, name: str) -> str:
        """Record a function call in the current module, and return the name of its output; "" outside the model."""
        if not self._stack:
            return ""
        owner, functions = self._stack[-1]
        functions[name] += 1
        return f"{owner}:{name}" if functions[name] == 1 else f"{owner}:{name}_{functions[name]}"


def function_name(target: object) -> str:
    """The common name of a function: "add" for `operator.add`, `torch.add`, `Tensor.add_` and `+`."""
    name = getattr(target, "__name__", str(target)).strip("_").partition(".")[0]  # torch.export calls "add.Tensor"
    return SYNONYMS.get(name, name)


def function_operation(sources: tuple[int, ...], function: str, name: str, weight: str) -> Operation:
    """The operation of a function that is applied to computed tensors and possibly to a weight."""
    multiplies = function in PRODUCTS and bool(weight)
    return Operation(
        sources=sources,
        function=function,
        name=name,
        layer=owner_of(weight) if multiplies else None,
        weight=weight if multiplies and function not in SEVERAL_WEIGHTS else "",
        activation=ACTIVATION_FUNCTIONS.get(function),
    )


def recurrent_operations(
    sources: tuple[int, ...], place: int, function: str, name: str, *, owner: str, n_layers: int
) -> list[Operation]:
    """The chain of layers of a recurrent module; the first operation has the index ``place``.

    The last operation has the given name; the k-th of the others is called ``path:layer_k``.
    """
    call = name.partition(":")[0]
    return [
        Operation(
            sources=sources if k == 1 else (place + k - 2,),
            function=function,
            name=name if k == n_layers else f"{call}:layer_{k}",
            layer=owner,
        )
        for k in range(1, n_layers + 1)
    ]


def weight_of_module(path: str, module: nn.Module) -> tuple[str | None, str]:
    """(layer, weight) of a module that multiplies by a weight; the weight is empty if there are several."""
    if isinstance(module, nn.MultiheadAttention | nn.RNNCellBase):
        return path, ""
    return (path, f"{path}.weight") if isinstance(module, WEIGHT_LAYERS) else (None, "")


def owner_of(parameter: str) -> str:
    """Name of the module that owns a parameter; for a parameter of the root module, its own name."""
    return parameter.rpartition(".")[0] or parameter


def is_activation(module: nn.Module) -> bool:
    """Whether a module is one of torch's activations."""
    in_torch = type(module).__module__ == "torch.nn.modules.activation"
    return in_torch and not isinstance(module, nn.MultiheadAttention)
