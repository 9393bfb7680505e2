"""What autograd does not see, and the step does: detached statistics, ``.data``, hooks, no_grad parts."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_parts.case import Group, Problem
from zoo_parts.constructs.common import Apply, Residual, convolutional, dense, images, vectors

detached = Group("statistics outside autograd")
hooks = Group("hooks")


class NoGradStatistics(nn.Module):
    """Normalizes by statistics that are computed without a graph."""

    def forward(self, x: Tensor) -> Tensor:
        """The normalized input."""
        with torch.no_grad():
            mean, deviation = x.mean(0), x.std(0)
        return (x - mean) / (deviation + 1e-3)


class WeightScale(nn.Linear):
    """Divides its weight by a statistic of itself, read through ``.data`` or ``.detach()``."""

    def __init__(self, read: str) -> None:
        super().__init__(8, 8)
        self.read = read

    def forward(self, x: Tensor) -> Tensor:
        """The product with the scaled weight."""
        weight = self.weight.data if self.read == "data" else self.weight.detach()
        return F.linear(x, self.weight / weight.norm(), self.bias)


class Renormalization(nn.Module):
    """Batch renormalization: r and d carry no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(8))
        self.register_buffer("deviation", torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        """Batch statistics, corrected towards the running ones."""
        mean, deviation = x.mean(0), x.std(0) + 1e-3
        r = (deviation.detach() / self.deviation).clamp(0.3, 3)
        d = ((mean.detach() - self.mean) / self.deviation).clamp(-1, 1)
        if self.training:
            self.mean.lerp_(mean.detach(), 0.1)
            self.deviation.lerp_(deviation.detach(), 0.1)
        return (x - mean) / deviation * r + d


class Numpy(nn.Module):
    """A scale that leaves torch and comes back."""

    def forward(self, x: Tensor) -> Tensor:
        """Divided by a standard deviation that NumPy computes."""
        return x / float(x.detach().numpy().std())


FUNCTIONS: dict[str, Any] = {
    "detached_norm": lambda x: x / x.detach().norm(dim=1, keepdim=True),
    "data_norm": lambda x: x / x.data.norm(dim=1, keepdim=True),
    "detached_maximum": lambda x: (x - x.detach().amax(1, keepdim=True)).exp(),
    "detached_softmax_shift": lambda x: torch.softmax(x - x.detach().max(), 1) * 8,
    "item_scale": lambda x: x / x.std().item(),
    "detached_gate": lambda x: x * torch.sigmoid(x.detach()),
    "detached_half": lambda x: torch.cat([x[:, :4], x[:, 4:].detach() * 2], 1),
    "stop_gradient_target": lambda x: x + 0.5 * (x.flip(1).detach()),
}
for _name, _function in FUNCTIONS.items():
    detached.add(_name, lambda function=_function: vectors(dense(function, nn.ReLU())))
detached.add("no_grad_statistics", lambda: vectors(dense(NoGradStatistics(), nn.ReLU())))
detached.add("numpy_statistics", lambda: vectors(dense(Numpy(), nn.ReLU())))
detached.add("weight_scale_by_data", lambda: vectors(dense(WeightScale("data"))))
detached.add("weight_scale_by_detach", lambda: vectors(dense(WeightScale("detach"))))
detached.add("batch_renormalization", lambda: vectors(dense(Renormalization(), nn.ReLU()).train()))


class FrozenTrunk(nn.Module):
    """A trunk under no_grad and a trained head of three layers."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(6, 8), nn.ReLU())
        self.head = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))

    def forward(self, x: Tensor) -> Tensor:
        """Features without a graph, then the head."""
        with torch.no_grad():
            features = self.trunk(x)
        return self.head(features)


class DetachedBranch(nn.Module):
    """Two branches, one of which is cut off by ``detach``."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Only one branch is trained, and both move what follows."""
        return self.out(torch.relu(self.a(x) + self.b(x).detach()))


class CutTrunk(nn.Module):
    """Trains the trunk by a skip and cuts the main path before the head."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.out = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        """The middle layer sees the trunk without its graph."""
        z = self.a(x)
        return self.out(torch.tanh(self.c(torch.tanh(self.b(z.detach())) + z)))


detached.add("frozen_trunk_without_graph", lambda: vectors(FrozenTrunk()))
detached.add("detached_branch", lambda: vectors(DetachedBranch()))
detached.add("trunk_cut_before_a_layer", lambda: vectors(CutTrunk()))


def _hooked(register: Any) -> Problem:
    model = dense(nn.ReLU())
    register(model)
    return vectors(model)


def _halve_backward(_module: nn.Module, grads: Any, *_rest: Any) -> Any:
    return tuple(None if g is None else g / 2 for g in grads)


def _clip_parameters(model: nn.Module) -> None:
    for p in model.parameters():
        p.register_hook(lambda g: g.clamp(-0.01, 0.01))


def _mask_parameter(model: nn.Module) -> None:
    mask = (torch.arange(64).reshape(8, 8) % 3 > 0).float()
    model[2].weight.register_hook(lambda g: g * mask.to(g))


def _normalize_gradients(model: nn.Module) -> None:
    for p in model.parameters():
        p.register_hook(lambda g: g / (g.norm() + 1e-3))


def _halve_accumulated(p: Tensor) -> None:
    p.grad.mul_(0.5)


def _after_accumulation(model: nn.Module) -> None:
    for p in model.parameters():
        p.register_post_accumulate_grad_hook(_halve_accumulated)


def _activations(model: nn.Module) -> None:
    kept: dict[str, Tensor] = {}
    model[0].register_forward_hook(lambda _m, _a, out: kept.__setitem__("z", out))


def _hook_on_output(model: nn.Module) -> None:
    def scale(_module: nn.Module, _args: Any, out: Tensor) -> None:
        if out.requires_grad:
            out.register_hook(lambda g: g * 0.1)

    model[0].register_forward_hook(scale)


REGISTERED: dict[str, Any] = {
    "parameter_hooks_clip": _clip_parameters,
    "parameter_hook_masks": _mask_parameter,
    "parameter_hooks_normalize": _normalize_gradients,
    "post_accumulate_hooks": _after_accumulation,
    "forward_hook_keeps_activation": _activations,
    "forward_hook_changes_output": lambda m: m[0].register_forward_hook(lambda _m, _a, out: out * 2),
    "forward_pre_hook_changes_input": lambda m: m[2].register_forward_pre_hook(lambda _m, a: (a[0] + 1,)),
    "forward_hook_with_kwargs": lambda m: m[2].register_forward_hook(lambda _m, _a, _k, o: o.tanh(), with_kwargs=True),
    "full_backward_hook_reads": lambda m: m[0].register_full_backward_hook(lambda _m, _i, _o: None),
    "full_backward_hook_halves": lambda m: m[2].register_full_backward_hook(_halve_backward),
    "full_backward_pre_hook": lambda m: m[2].register_full_backward_pre_hook(_halve_backward),
    "tensor_hook_on_output": _hook_on_output,
    "backward_hook_on_root": lambda m: m.register_full_backward_hook(lambda _m, _i, _o: None),
}
for _name, _register in REGISTERED.items():
    hooks.add(_name, _hooked, _register)


@hooks.case
def image_net_with_full_backward_hooks() -> Problem:
    model = convolutional(Residual(nn.Sequential(nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1))))
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_full_backward_hook(lambda _m, _i, _o: None)
    return images(model)


@hooks.case
def hook_inside_forward() -> Problem:
    def scaled(x: Tensor) -> Tensor:
        if x.requires_grad:
            x.register_hook(lambda g: -g)
        return x * 1.0

    return vectors(dense(nn.ReLU(), Apply(scaled)))
