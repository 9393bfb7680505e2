"""Models whose forward is a pure function: they consist only of modules of known packages, without code of the user."""

from itertools import chain, pairwise

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from ammup.models.tensor_state import has_memory

# Packages whose modules are pure functions of weights and inputs; benchmarks/zoo.py checks those of torchvision.
PURE_MODULES = ("torch.nn.modules.", "torchvision.models.", "torchvision.ops.", "ammup.models.")
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def reason_against_purity(model: nn.Module) -> str:
    """Which part of the model may run code of the user; empty if there is none."""
    pure: set[type] = set()
    for name, module in model.named_modules():
        kind = type(module)
        if kind in pure or f"{kind.__module__}.".startswith(PURE_MODULES):
            pure.add(kind)
        else:
            return f"{_quoted(name)} is a {kind.__module__}.{kind.__qualname__}, whose forward may run any code"
        if any(getattr(module, table) for table in _HOOKS) or "forward" in vars(module):
            return f"{_quoted(name)} has hooks or a replaced forward"
    if any(getattr(torch.nn.modules.module, f"_global{table}") for table in _HOOKS):
        return "hooks are registered for all modules"
    return _reason_of_shared_memory(model)


def constant_weights(model: nn.Module) -> list[Tensor]:
    """The weights that no forward of the model changes; empty if the forward may run code of the user.

    Modules of torch and torchvision write to their buffers, such as the statistics of batch norm, and with ``max_norm``
    to their weights. They do not write to other weights. Weights that are parts of a larger memory, such as those of a
    recurrent layer on a GPU, are left out.
    """
    if reason_against_purity(model):
        return []
    renormed = {id(p) for m in model.modules() if getattr(m, "max_norm", None) is not None for p in m.parameters()}
    return [p for p in model.parameters() if id(p) not in renormed and _owns_memory(p)]


def _reason_of_shared_memory(model: nn.Module) -> str:
    """Which two tensors share elements, so that a step of one also changes the other; empty if there are none.

    A weight that is one object under several names is no such case.
    """
    spans = []
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        if _is_plain(tensor) and tensor.numel():
            last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
            spans.append((tensor.data_ptr(), tensor.data_ptr() + last * tensor.element_size(), name))
    for (_, last, name), (start, _, other) in pairwise(sorted(spans)):
        if start <= last:
            return f"{name!r} and {other!r} share memory"
    return ""


def _is_plain(tensor: Tensor) -> bool:
    return has_memory(tensor) and not is_traceable_wrapper_subclass(tensor)


def _owns_memory(tensor: Tensor) -> bool:
    return _is_plain(tensor) and tensor.untyped_storage().nbytes() == tensor.nbytes


def _quoted(name: str) -> str:
    return f"module {name!r}" if name else "the model"
