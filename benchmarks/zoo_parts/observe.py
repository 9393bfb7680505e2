"""Recording of the outputs of depth units by name, and evaluation of a forward pass in float64.

ammup names the output of a module by its path, ``layer1.0``, and that of a function by the module that called it,
``layer1.0:add``; a second call is ``layer1.0@2`` or ``layer1.0:add_2``. This is a separate implementation of that
convention: module hooks and a function mode.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

DOUBLE = {torch.float32: torch.float64, torch.float16: torch.float64, torch.bfloat16: torch.float64,
          torch.complex64: torch.complex128}  # fmt: skip
CASTS = {torch.Tensor.float, torch.Tensor.half, torch.Tensor.bfloat16}
BERNOULLI = {torch.bernoulli, torch.Tensor.bernoulli}
DRAWN_IN_PLACE = {torch.Tensor.normal_, torch.Tensor.uniform_, torch.Tensor.exponential_}
DRAWN = {torch.rand, torch.randn, torch.rand_like, torch.randn_like}
RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu")
OPERATORS = {"iadd": "add", "radd": "add", "imatmul": "matmul", "rmatmul": "matmul"}


class Watch(TorchFunctionMode):
    """Records the outputs of units during one forward pass, and runs the pass in float64.

    Args:
        model: the module that runs.
        units: names of the outputs to record.
        single_draws: draw random floats in float32, as a float32 model does, before they are converted.
    """

    def __init__(self, model: nn.Module, units: Iterable[str], *, single_draws: bool) -> None:
        super().__init__()
        self.model, self.single_draws = model, single_draws
        self.units = {unit.removesuffix("@1"): unit for unit in units}
        self.found: dict[str, Tensor] = {}
        self._calls: Counter[str] = Counter()
        self._stack: list[tuple[str, Counter[str]]] = []

    def __deepcopy__(self, _memo: object) -> "Watch":
        """The object itself: a model that copies its modules in its forward pass also copies their hooks."""
        return self

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = self._evaluate(func, args, kwargs or {})
        if self._stack:
            name = str(getattr(func, "__name__", func)).strip("_").partition(".")[0]
            owner, functions = self._stack[-1]
            name = OPERATORS.get(name, name)
            functions[name] += 1
            suffix = "" if functions[name] == 1 else f"_{functions[name]}"
            self._capture(f"{owner}:{name}{suffix}", args[0] if output is None and args else output)
            if name in RECURRENT:
                self._capture_layers(owner, output)
        return output

    def _evaluate(self, func: Any, args: Any, kwargs: Any) -> Any:
        if func in CASTS:
            return args[0].double()
        if func in DRAWN and (self.single_draws or "dtype" in kwargs):
            return func(*args, **{**kwargs, "dtype": kwargs.get("dtype", torch.float32)}).double()
        if self.single_draws and func in BERNOULLI:
            return func(args[0].float(), *args[1:], **kwargs).double()
        if self.single_draws and func in DRAWN_IN_PLACE and args[0].is_floating_point():
            drawn = func(torch.empty_like(args[0], dtype=torch.float32), *args[1:], **kwargs)
            return args[0].copy_(drawn)
        args, kwargs = tree_map(_as_double, (args, kwargs))
        return func(*args, **kwargs)

    def _capture(self, name: str, output: Any) -> None:
        if name in self.units and self.units[name] not in self.found:
            tensors = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
            if tensors:
                with torch._C.DisableTorchFunction():
                    self.found[self.units[name]] = tensors[0].detach().clone()

    def _capture_layers(self, owner: str, output: Any) -> None:
        """Record the last hidden states of the lower layers, which are ``owner:layer_1`` and so on."""
        sequence, last = output[0], output[1]  # (..., directions H) and (layers directions, B, H)
        directions = sequence.shape[-1] // last.shape[-1]
        for k in range(len(last) // directions - 1):
            with torch._C.DisableTorchFunction():
                state = last[k * directions : (k + 1) * directions].transpose(0, 1)
            self._capture(f"{owner}:layer_{k + 1}", state)

    @contextmanager
    def watching(self) -> Iterator[dict[str, Tensor]]:
        """Record the outputs of the forward pass in the context."""
        handles = []
        for path, module in self.model.named_modules():
            if isinstance(module, torch.jit.ScriptModule):
                continue
            handles.append(module.register_forward_pre_hook(lambda _m, _a, path=path: self._enter(path)))
            handles.append(module.register_forward_hook(self._leave, always_call=True))
        try:
            with self:
                yield self.found
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, path: str) -> None:
        self._calls[path] += 1
        calls = self._calls[path]
        self._stack.append((path if calls == 1 else f"{path}@{calls}", Counter()))

    def _leave(self, _module: nn.Module, _arguments: Any, output: Any) -> None:
        self._capture(self._stack.pop()[0], output)


def _as_double(value: Any) -> Any:
    return DOUBLE.get(value, value) if isinstance(value, torch.dtype) else value


def to_double(value: Any) -> Any:
    """A float or complex tensor in double precision; other values unchanged."""
    if isinstance(value, Tensor) and value.dtype in DOUBLE:
        return value.to(DOUBLE[value.dtype])
    return value


def convert_model(model: nn.Module) -> None:
    """Convert parameters, buffers and plain tensor attributes to double precision."""
    model._apply(to_double)
    for module in model.modules():
        for name, value in list(vars(module).items()):
            if name.startswith("_") and not isinstance(value, Tensor | list):
                continue  # the tables of nn.Module
            for held in tree_leaves(value):
                if isinstance(held, nn.Module):  # a layer that is not registered
                    held._apply(to_double)
            if isinstance(value, Tensor | list | tuple | dict):
                converted = tree_map(_plain_to_double, value)
                changed = any(a is not b for a, b in zip(tree_leaves(converted), tree_leaves(value), strict=True))
                if changed:
                    vars(module)[name] = converted


def _plain_to_double(value: Any) -> Any:
    plain = isinstance(value, Tensor) and not isinstance(value, nn.Parameter) and value.dtype in DOUBLE
    return value.detach().to(DOUBLE[value.dtype]).requires_grad_(value.requires_grad) if plain else value


def unwrapped(model: nn.Module) -> tuple[nn.Module, str]:
    """The module inside DataParallel, DistributedDataParallel and torch.compile, and its path in the wrapper."""
    path = []
    while True:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
            path.append("module")
        elif isinstance(model, torch._dynamo.OptimizedModule):
            model = model._orig_mod
            path.append("_orig_mod")
        else:
            return model, ".".join(path)


def without_prefix(unit: str, prefix: str) -> str:
    """The name of a unit in the module inside a wrapper."""
    if prefix and unit.startswith(prefix) and unit[len(prefix) : len(prefix) + 1] in ("", ".", ":", "@"):
        return unit[len(prefix) :].removeprefix(".")
    return unit
