"""Which of two ways to the same number a measurement takes.

"jvp": one backward and one forward-mode pass by `torch.func`, the fastest way, exact where every module is a plain
function of its weights and inputs. It sees neither hooks on parameters nor what a detached statistic does to the same
forward, and a model whose state, threads or random numbers differ between its two passes gives a wrong number.

"difference": plain autograd and forwards at moved weights (:mod:`ammup.measurement.difference`), which sees all of it.

"auto" takes jvp for models made of the modules of torch, torchvision and this package alone, without hooks, and
difference for everything else, and wherever jvp fails or rounding errors are too large for it.
"""

import torch
from torch import nn

from ammup.measurement.specification import MeasurementSpec

# Packages whose modules are plain functions of weights and inputs; benchmarks/zoo.py checks those of torchvision.
PLAIN_FUNCTIONS = ("torch.nn.modules.", "torchvision.models.", "torchvision.ops.", "ammup.models.")
# Relative error of S̄ above which jvp in the model's own precision is not good enough.
LARGEST_ERROR = 5e-3
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def reason_against_jvp(model: nn.Module, spec: MeasurementSpec) -> str:
    """Why jvp cannot be relied on for this model, or nothing."""
    if spec.forward is not None:
        return "forward= runs code of its own"
    for name, module in model.named_modules():
        kind = type(module)
        if not f"{kind.__module__}.".startswith(PLAIN_FUNCTIONS):
            return f"{_named(name)} is a {kind.__module__}.{kind.__qualname__}, whose forward is unknown"
        if any(getattr(module, table) for table in _HOOKS) or "forward" in vars(module):
            return f"{_named(name)} has hooks or a forward of its own"
    if any(getattr(torch.nn.modules.module, f"_global{table}") for table in _HOOKS):
        return "hooks are registered for all modules"
    for name, p in model.named_parameters():
        if p.is_complex() or p.dtype in (torch.float16, torch.bfloat16):
            return f"{name} has dtype {p.dtype}"
        if p._backward_hooks or p._post_accumulate_grad_hooks:
            return f"{name} has hooks on its gradient"
    return ""


def _named(name: str) -> str:
    return f"module {name!r}" if name else "the model"
