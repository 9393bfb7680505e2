"""Recording the operations of one run of any module (its flow), and observing named values during a run.

`ammup.models.operation` defines the names.
"""

import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ammup.errors import InputError
from ammup.models.listener import CallListener, check_observable, tensors_in
from ammup.models.operation import (
    CONSTANTS,
    RECURRENT,
    Operation,
    function_operation,
    is_activation,
    owner_of,
    recurrent_operations,
    weight_of_module,
)

EMBEDDINGS = ("embedding", "embedding_bag")
RECURRENT_WEIGHT = re.compile(r"weight_ih_l(\d+)")


class _Recorder(CallListener):
    """Records the flow of one run."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self.flow: list[Operation] = []
        self.places: dict[int, int] = {}
        self.weights = {id(p): name for name, p in model.named_parameters()}
        self.alive: list[Tensor] = []  # references to the tensors, so that no id is reused
        self.paths = {module: path for path, module in model.named_modules()}
        self.floating: set[int] = set()  # places of floating-point values
        self.indices: set[int] = set()  # ids of integers that are computed from floating-point values
        self.starts: list[int] = []  # for each running module, the number of operations before it
        self.returned: Any = None  # the value that the model itself returned

    def begin(self, inputs: Iterable[Tensor]) -> None:
        """Record the inputs of the forward."""
        for tensor in inputs:
            self._put(tensor, Operation(sources=(), is_input=True))

    def end(self, returned: Any) -> None:
        """Record the outputs of the forward.

        They are the tensors in ``returned`` that the model computed or, if there are none, those that the model itself
        returned.
        """
        for outputs in (returned, self.returned):
            leaves = tensors_in(outputs)
            computed = list(dict.fromkeys(self.places[id(leaf)] for leaf in leaves if id(leaf) in self.places))
            for position, place in enumerate(computed):
                self.flow[place] = replace(self.flow[place], output=position)
            if computed:
                return

    def entered(self, path: str) -> None:
        super().entered(path)
        self.starts.append(len(self.flow))

    def function(self, name: str, function: str, arguments: list[Tensor], output: Any) -> None:
        if function in CONSTANTS:
            return
        sources = self._sources(arguments)
        weights = [self.weights[id(a)] for a in arguments if id(a) in self.weights]
        outputs = tensors_in(output)
        from_indices = any(id(a) in self.indices for a in arguments)
        looked_up = from_indices and function in EMBEDDINGS
        if not sources and not looked_up:
            if weights:  # a tensor that is computed only from weights is treated as a weight
                self.weights |= {id(tensor): weights[0] for tensor in outputs}
            elif from_indices:
                self.indices |= {id(tensor) for tensor in outputs}
            self.alive += outputs
            return
        if function in RECURRENT and weights:
            layers = [
                weight for weight in weights if RECURRENT_WEIGHT.search(weight)
            ]  # excludes a trained initial state
            n_layers = max(1, len({RECURRENT_WEIGHT.findall(weight)[0] for weight in layers}))
            owner = owner_of((layers or weights)[0])
            self.flow += recurrent_operations(sources, len(self.flow), function, name, owner=owner, n_layers=n_layers)
        else:
            operation = function_operation(sources, function, name, next(iter(weights), ""))
            if looked_up:  # the path begins at these rows, because their indices have no derivative
                operation = replace(operation, is_input=True)
            if len(outputs) == 1:
                self._put(outputs[0], operation)
                return
            self.flow.append(operation)
        container = len(self.flow) - 1
        self.floating.add(container)
        for tensor in outputs:
            self._put(tensor, Operation(sources=(container,), function="part"))

    def module(self, name: str, module: nn.Module, arguments: list[Tensor], output: Any) -> None:
        start = self.starts.pop()
        if module is self.model:
            self.returned = output
        if isinstance(module, nn.RNNBase | nn.RNNCellBase):
            self._name_recurrent(name, start)
        if not isinstance(output, Tensor):
            return
        if id(output) not in self.places:  # computed without a visible function call, as in a torch.autograd.Function
            layer, weight = weight_of_module(self.paths.get(module, ""), module)  # a copied module has no path
            self._put(output, Operation(sources=self._sources(arguments), layer=layer, weight=weight))
        if id(output) not in self.places:
            return
        place = self.places[id(output)]
        operation = self.flow[place]
        if is_activation(module):
            operation = replace(operation, activation=module)
        # The innermost module that computed the value names it. The root module has an empty name.
        if name and place >= start and (":" in operation.name or not operation.name):
            operation = replace(operation, name=name)
        self.flow[place] = operation

    def _sources(self, arguments: list[Tensor]) -> tuple[int, ...]:
        """The places of the computed tensors among the arguments of a function, without repetition."""
        return tuple(dict.fromkeys(self.places[id(a)] for a in arguments if id(a) in self.places))

    def _name_recurrent(self, name: str, start: int) -> None:
        """Name the last layer of a recurrent module after the module, which may return a tuple."""
        layers = [i for i in range(start, len(self.flow)) if self.flow[i].layer is not None]
        if layers:
            self.flow[layers[-1]] = replace(self.flow[layers[-1]], name=name)

    def _put(self, tensor: Tensor, operation: Operation) -> None:
        if tensor.is_floating_point() or tensor.is_complex():
            self.floating.add(len(self.flow))
        elif self.floating.intersection(operation.sources):
            self.indices.add(id(tensor))  # an index or a mask, which has no derivative
            self.alive.append(tensor)
            return
        self.places[id(tensor)] = len(self.flow)
        self.flow.append(operation)
        self.alive.append(tensor)


def check_outside_transforms(name: str, value: Tensor) -> None:
    """Raise InputError if the value belongs to a torch.func transform and cannot be read outside of it."""
    if torch._C._functorch.is_functorch_wrapped_tensor(value):
        raise InputError(
            f"unit {name!r} is computed inside a torch.func transform (vmap, grad, jvp) and cannot be observed",
            python="pass units= that are computed outside",
            option="compute it outside of the transform",
        )


def recorded(model: nn.Module, inputs: Iterable[Tensor], run: Callable[[], Any]) -> list[Operation]:
    """The operations of one run of any module. The caller restores the model afterwards.

    Args:
        model: the module.
        inputs: the input tensors of its forward.
        run: a function that runs the forward and returns its outputs.
    """
    recorder = _Recorder(model)
    with torch.no_grad(), warnings.catch_warnings(), recorder.listening():
        # Reentrant checkpoints warn in a forward without gradients.
        warnings.filterwarnings("ignore", "None of the inputs have requires_grad=True")
        recorder.begin(inputs)
        recorder.end(run())
    return recorder.flow


class _Observer(CallListener):
    """Passes the values of the given names to a function."""

    def __init__(self, model: nn.Module, names: Iterable[str], record: Callable[[str, Any], None]) -> None:
        super().__init__(model)
        self.wanted = {name.removesuffix("@1"): name for name in names}
        self.record = record

    def function(self, name: str, function: str, arguments: list[Tensor], output: Any) -> None:
        if name in self.wanted:
            self.record(self.wanted[name], output)
        if function in RECURRENT:
            for k, state in enumerate(_lower_layers(output), 1):
                layer = f"{name.partition(':')[0]}:layer_{k}"
                if layer in self.wanted:
                    self.record(self.wanted[layer], state)

    def module(self, name: str, module: nn.Module, arguments: list[Tensor], output: Any) -> None:
        if name in self.wanted:
            self.record(self.wanted[name], output)


def _lower_layers(output: tuple[Tensor, ...]) -> Iterator[Tensor]:
    """The final hidden states (B, direction, H) of all layers of a recurrent function except the last layer."""
    sequence, hidden = output[:2]  # (…, directions H) and (layers directions, B, H)
    directions = sequence.shape[-1] // hidden.shape[-1]
    for state in hidden.reshape(-1, directions, *hidden.shape[1:])[:-1]:
        yield state.transpose(0, 1)


@contextmanager
def observed(model: nn.Module, names: Iterable[str], record: Callable[[str, Any], None]) -> Iterator[None]:
    """In the context, call ``record(name, value)`` for each value with one of these names when it is computed."""
    names = list(names)
    check_observable(model)
    if any(":" in name or "@" in name for name in names):
        with _Observer(model, names, record).listening():
            yield
        return
    # If all names are modules, hooks on these modules are faster than observing every function call.
    modules = dict(model.named_modules())

    def hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def report(_module: nn.Module, _arguments: Any, output: Any) -> None:
            record(name, output)  # returns None: any other value would replace the module's output

        return report

    handles = [modules[name].register_forward_hook(hook(name)) for name in names]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
