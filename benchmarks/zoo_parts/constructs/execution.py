"""How a forward is executed: threads, checkpoints, autocast, gradient modes, copies."""

import copy
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from zoo_parts.case import Group, Problem
from zoo_parts.constructs.common import Residual, convolutional, dense, drawn, images, vectors

execution = Group("execution")


def block() -> nn.Sequential:
    """Two layers, 8 to 8."""
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))


class Threads(nn.Module):
    """Runs its branches in threads."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList(block() for _ in range(2))
        self.first, self.out = nn.Linear(6, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        """The sum of the branches."""
        x = self.first(x)
        with ThreadPoolExecutor(2) as pool:
            a, b = pool.map(lambda branch: branch(x), self.branches)
        return self.out(torch.relu(x + a + b))


class Forked(nn.Module):
    """Runs a branch by torch.jit.fork."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.branch, self.out = nn.Linear(6, 8), block(), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        """The input of the branch and its output."""
        x = self.first(x)
        future = torch.jit.fork(self.branch, x)
        return self.out(torch.relu(x + torch.jit.wait(future)))


class Checkpointed(nn.Module):
    """Recomputes its block in the backward."""

    def __init__(self, *, reentrant: bool, dropout: float = 0.0) -> None:
        super().__init__()
        self.block, self.reentrant = nn.Sequential(*block(), nn.Dropout(dropout)), reentrant

    def forward(self, x: Tensor) -> Tensor:
        """A residual block."""
        return x + checkpoint(self.block, x, use_reentrant=self.reentrant)


class SequentialCheckpoints(nn.Module):
    """checkpoint_sequential over four layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(*block(), nn.ReLU(), *block())

    def forward(self, x: Tensor) -> Tensor:
        """In two segments."""
        return checkpoint_sequential(self.layers, 2, x, use_reentrant=False)


class CheckpointedFeatures(nn.Module):
    """Densely connected layers that are recomputed from a list of features, as in DenseNet of torchvision."""

    def __init__(self, *, reentrant: bool) -> None:
        super().__init__()
        self.layers, self.reentrant = nn.ModuleList(nn.Linear(8 * n, 8) for n in (1, 2)), reentrant

    def forward(self, x: Tensor) -> Tensor:
        """The last features."""
        features = [x]
        for layer in self.layers:

            def closure(*parts: Tensor, layer: nn.Module = layer) -> Tensor:
                return torch.relu(layer(torch.cat(parts, 1)))

            features.append(checkpoint(closure, *features, use_reentrant=self.reentrant))
        return features[-1]


class Autocast(nn.Module):
    """Runs its block in bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.block = block()

    def forward(self, x: Tensor) -> Tensor:
        """In the dtype of the input again."""
        with torch.autocast("cpu", torch.bfloat16):
            return x + self.block(x).to(x.dtype)


class CopiesItself(nn.Module):
    """Runs a copy of a layer of its own, as some meta-learners and ensembles do."""

    def __init__(self, *, whole: bool) -> None:
        super().__init__()
        self.layer, self.whole = nn.Linear(8, 8), whole

    def forward(self, x: Tensor) -> Tensor:
        """The layer and a frozen copy of it."""
        twin = copy.deepcopy(self).layer if self.whole else copy.deepcopy(self.layer)
        return self.layer(x) + 0.5 * twin(x).detach()


class OwnStep(nn.Module):
    """Takes a gradient step on fast weights inside the forward (MAML)."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.body, self.out = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        """With the adapted weights of the body."""
        z = torch.tanh(self.layer(x))
        with torch.enable_grad():
            inner = (self.body(z) - z).square().mean()
            (slope,) = torch.autograd.grad(inner, self.body.weight, create_graph=True)
        return self.out(torch.tanh(F.linear(z, self.body.weight - 0.5 * slope, self.body.bias)))


class FunctionalCall(nn.Module):
    """Calls a layer by functional_call with changed weights."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        """With doubled weights."""
        weights = {name: 2 * p for name, p in self.layer.named_parameters()}
        return torch.func.functional_call(self.layer, weights, (x,))


class ReadsOwnParameters(nn.Module):
    """Iterates over its own parameters in the forward, as weight decay in the model does."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.out = nn.Linear(6, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Scaled by the norm of all weights."""
        size = sum(p.square().sum() for p in self.parameters())
        return self.out(torch.tanh(self.a(x)) / (1 + 0.01 * size))


class NoGradInside(nn.Module):
    """Uses modes that change how autograd records."""

    def __init__(self, mode: Any) -> None:
        super().__init__()
        self.mode, self.side, self.layer = mode, nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        """One layer inside the mode, one outside."""
        with self.mode():
            gate = torch.sigmoid(self.side(x.detach())).clone()
        return self.layer(x) * gate.clone()


class GradModeDependent(nn.Module):
    """Takes another path without gradients, as fast paths do."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        """Doubled where gradients are recorded."""
        return self.layer(x) * (2.0 if torch.is_grad_enabled() else 1.0)


class SavedTensorHooks(nn.Module):
    """Packs saved tensors, as offloading to the CPU does."""

    def __init__(self) -> None:
        super().__init__()
        self.block = block()

    def forward(self, x: Tensor) -> Tensor:
        """The block with packed tensors."""
        with torch.autograd.graph.saved_tensors_hooks(lambda t: t.numpy(force=True), torch.from_numpy):
            return self.block(x)


MODES: dict[str, Any] = {"no_grad": torch.no_grad, "inference_mode": torch.inference_mode,
                         "detect_anomaly": lambda: torch.autograd.set_detect_anomaly(True)}  # fmt: skip
execution.add("layers_in_threads", lambda: vectors(Threads()))
execution.add("layers_in_jit_fork", lambda: vectors(Forked()))
execution.add("checkpoint_reentrant", lambda: vectors(dense(Checkpointed(reentrant=True))))
execution.add("checkpoint", lambda: vectors(dense(Checkpointed(reentrant=False))))
execution.add("checkpoint_with_dropout", lambda: vectors(dense(Checkpointed(reentrant=False, dropout=0.3))))
execution.add("checkpoint_sequential", lambda: vectors(dense(SequentialCheckpoints())))
for _name, _reentrant in {"": False, "_reentrant": True}.items():
    execution.add(
        f"checkpoint_of_features{_name}", lambda way=_reentrant: vectors(dense(CheckpointedFeatures(reentrant=way)))
    )
execution.add("autocast_inside", lambda: vectors(dense(Autocast())))
execution.add("deepcopy_of_a_layer_in_forward", lambda: vectors(dense(nn.ReLU(), CopiesItself(whole=False))))
execution.add("deepcopy_of_itself_in_forward", lambda: vectors(dense(nn.ReLU(), CopiesItself(whole=True))))
execution.add("gradient_step_in_forward", lambda: vectors(OwnStep()))
execution.add("functional_call_in_forward", lambda: vectors(dense(nn.ReLU(), FunctionalCall())))
execution.add("reads_its_parameters", lambda: vectors(ReadsOwnParameters()))
for _name, _mode in MODES.items():
    execution.add(f"{_name}_inside", lambda mode=_mode: vectors(dense(nn.ReLU(), NoGradInside(mode))))
execution.add("depends_on_gradient_mode", lambda: vectors(dense(nn.ReLU(), GradModeDependent())))
execution.add("saved_tensor_hooks", lambda: vectors(dense(nn.ReLU(), SavedTensorHooks())))


@execution.case
def autocast_around() -> Problem:
    def forward(model: nn.Module, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return model(x).float()

    return Problem(model=dense(nn.ReLU()), inputs=drawn(8, 6), targets=torch.arange(8) % 4, forward=forward)


@execution.case
def channels_last() -> Problem:
    return images(convolutional(Residual(nn.Conv2d(8, 8, 3, padding=1))).to(memory_format=torch.channels_last))


@execution.case
def on_meta_moved_to_cpu() -> Problem:
    with torch.device("meta"):
        model = dense(nn.ReLU())
    model = model.to_empty(device="cpu")
    for p in model.parameters():
        nn.init.normal_(p, std=0.3)
    return vectors(model)


@execution.case
def shared_memory_weights() -> Problem:
    return vectors(dense(nn.ReLU()).share_memory())
