"""The choice between the two methods of a measurement, which compute the same moments.

"jvp": one backward and one forward-mode pass by `torch.func`. It is the faster method, and exact if every module is a
pure function of its weights and inputs. It ignores hooks on parameters and the changes of detached statistics, and its
result is wrong if the state, threads or random numbers of a model differ between its two passes.

"difference": ordinary backward passes, and forward passes at changed weights (:mod:`ammup.measurement.difference`). It
includes all of these effects.

"auto" uses jvp for models that consist only of modules of torch, torchvision and this package, without hooks, and whose
rounding errors are small enough. It uses difference, in float64, for all other models, for gradients under autocast,
and if jvp fails.
"""

import torch
from torch import nn

from ammup.measurement.specification import MeasurementSpec
from ammup.models.purity import reason_against_purity

# Largest estimated error of S̄ for which "auto" accepts jvp in the model's own precision, so that S̄ is accurate to 1 %.
LARGEST_ERROR = 8e-3


def reason_against_jvp(model: nn.Module, spec: MeasurementSpec) -> str:
    """Why jvp may be wrong for this model; empty if it is reliable."""
    if spec.autocast is not None:
        return f"the gradient is computed under autocast in {spec.autocast}"
    if spec.forward is not None:
        return "forward= may run any code"
    if reason := reason_against_purity(model):
        return reason
    for name, p in model.named_parameters():
        if p.is_complex() or p.dtype in (torch.float16, torch.bfloat16):
            return f"{name} has dtype {p.dtype}"
        if p._backward_hooks or p._post_accumulate_grad_hooks:
            return f"{name} has hooks on its gradient"
    return ""
