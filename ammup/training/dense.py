"""A step of SGD of a stack of the paper's dense nets, in as few passes over memory as it takes.

The gradient of a loss is linear in that of its logits. Multiplied there by minus the learning rate of each replica,
what reaches a weight is its step, which the product that makes it adds in place: no gradients, no pass of an optimizer.

Axes: R replica, B batch, N features in, M features out.
"""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from ammup.models.nets import MLP
from ammup.training.fused import activation_name, hooked
from ammup.training.runs import Training

# (stacked parameters, learning rates, images, labels) -> losses before the step, which is made in place.
DenseStep = Callable[[Mapping[str, Tensor], Float[Tensor, " R"], Tensor, Int64[Tensor, " B"]], Float[Tensor, " R"]]


def dense_step(model: nn.Module, training: Training) -> DenseStep | None:
    """That of what `ammup.mlp` returns, trained by plain SGD in the weights' own precision; None of anything else.

    A subclass, and a model with hooks, replaced layers, frozen or tied weights are left alone.
    """
    if type(model) is not MLP or training.momentum or training.weight_decay or training.dtype == "bfloat16":
        return None
    layers = [*model.layers, model.readout]
    activation = activation_name(model.activation)
    if (activation is None and type(model.activation) is not nn.Identity) or any(map(hooked, model.modules())):
        return None
    if not all(type(layer) is nn.Linear and layer.bias is None and layer.weight.requires_grad for layer in layers):
        return None
    names = [name for name, _ in model.named_parameters()]
    if len(names) != len(layers):  # some are tied, or there are others
        return None

    @torch.no_grad()
    def step(
        parameters: Mapping[str, Tensor], lrs: Float[Tensor, " R"], images: Tensor, labels: Int64[Tensor, " B"]
    ) -> Float[Tensor, " R"]:
        weights = [parameters[name] for name in names]
        seen, before = [images.flatten(1).expand(len(lrs), -1, -1)], []
        for weight in weights[:-1]:
            before.append(torch.bmm(seen[-1], weight.mT))
            seen.append(_activated(before[-1], activation))
        losses, gradient = _cross_entropy(torch.bmm(seen[-1], weights[-1].mT), labels)
        gradient *= -lrs[:, None, None]
        for i in reversed(range(len(weights))):
            below = torch.bmm(gradient, weights[i]) if i else None  # of the weight before its step
            weights[i].baddbmm_(gradient.mT, seen[i])
            if below is not None:
                gradient = _derived(below, before[i - 1], seen[i], activation)
        return losses

    return step


def _cross_entropy(
    logits: Float[Tensor, "R B classes"], labels: Int64[Tensor, " B"]
) -> tuple[Float[Tensor, " R"], Float[Tensor, "R B classes"]]:
    """Mean over the batch, and its gradient."""
    log_p = logits.log_softmax(2)
    places = labels[None, :, None].expand(len(logits), -1, 1)
    losses = -log_p.gather(2, places).mean((1, 2))
    gradient = log_p.exp_()
    gradient.scatter_add_(2, places, torch.full_like(gradient[:, :, :1], -1.0))
    return losses, gradient.div_(len(labels))


def _activated(z: Float[Tensor, "R B M"], activation: str | None) -> Float[Tensor, "R B M"]:
    if activation is None:
        return z
    return z.clamp_min_(0) if activation == "relu" else F.gelu(z)  # the sign of what ReLU returns is enough later


def _derived(
    gradient: Float[Tensor, "R B M"], z: Float[Tensor, "R B M"], a: Float[Tensor, "R B M"], activation: str | None
) -> Float[Tensor, "R B M"]:
    if activation is None:
        return gradient
    derived: Tensor = (
        torch.ops.aten.threshold_backward(gradient, a, 0)
        if activation == "relu"
        else torch.ops.aten.gelu_backward(gradient, z)
    )
    return derived
