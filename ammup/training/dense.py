"""An SGD step of stacked dense nets (those of the paper), with as few passes over memory as possible.

The gradient of a loss is linear in the gradient of its logits. If the latter is multiplied by minus the learning rate
of each replica, backpropagation yields the update of each weight instead of its gradient, and the matrix product that
computes the update also adds it in place. No gradients are stored, and no optimizer reads the weights again.

Axes: R replica, B batch, N features in, M features out.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from ammup.models.nets import MLP
from ammup.training.fused import activation_name, has_hooks
from ammup.training.runs import Training


@dataclass(frozen=True, kw_only=True)
class DenseStep:
    """An SGD step of dense layers without biases; the last layer returns the logits.

    Attributes:
        names: names of the weights, from the first layer to the last.
        activation: "relu", "gelu", or None for the identity.
    """

    names: tuple[str, ...]
    activation: str | None

    @torch.no_grad()
    def __call__(
        self, parameters: Mapping[str, Tensor], lrs: Float[Tensor, " R"], images: Tensor, labels: Int64[Tensor, " B"]
    ) -> Float[Tensor, " R"]:
        """Update the stacked parameters in place; returns the losses before the step."""
        weights = [parameters[name] for name in self.names]
        inputs, outputs = [images.flatten(1).expand(len(lrs), -1, -1)], []
        for weight in weights[:-1]:
            outputs.append(torch.bmm(inputs[-1], weight.mT))
            inputs.append(_activate(outputs[-1], self.activation))
        losses, gradient = _cross_entropy(torch.bmm(inputs[-1], weights[-1].mT), labels)
        gradient *= -lrs[:, None, None]
        for i in reversed(range(len(weights))):
            # The gradient of the layer's inputs, computed before its weight is updated.
            input_gradient = torch.bmm(gradient, weights[i]) if i else None
            weights[i].baddbmm_(gradient.mT, inputs[i])
            if input_gradient is not None:
                gradient = _activation_backward(input_gradient, outputs[i - 1], inputs[i], self.activation)
        return losses


def dense_step(model: nn.Module, training: Training) -> DenseStep | None:
    """The step of a net from `ammup.mlp` that is trained by plain SGD in the precision of its weights.

    The result is None for any other model, including an instance of a subclass, and for a net with hooks, replaced
    layers, or frozen or tied weights.
    """
    if type(model) is not MLP or training.momentum or training.weight_decay or training.dtype == "bfloat16":
        return None
    layers = [*model.layers, model.readout]
    activation = activation_name(model.activation)
    if (activation is None and type(model.activation) is not nn.Identity) or any(map(has_hooks, model.modules())):
        return None
    if not all(type(layer) is nn.Linear and layer.bias is None and layer.weight.requires_grad for layer in layers):
        return None
    names = tuple(name for name, _ in model.named_parameters())
    if len(names) != len(layers):  # there are tied or additional parameters
        return None
    return DenseStep(names=names, activation=activation)


def _cross_entropy(
    logits: Float[Tensor, "R B classes"], labels: Int64[Tensor, " B"]
) -> tuple[Float[Tensor, " R"], Float[Tensor, "R B classes"]]:
    """The mean cross-entropy over the batch, and its gradient with respect to the logits."""
    log_p = logits.log_softmax(2)
    indices = labels[None, :, None].expand(len(logits), -1, 1)
    losses = -log_p.gather(2, indices).mean((1, 2))
    gradient = log_p.exp_()
    gradient.scatter_add_(2, indices, torch.full_like(gradient[:, :, :1], -1.0))
    return losses, gradient.div_(len(labels))


def _activate(z: Float[Tensor, "R B M"], activation: str | None) -> Float[Tensor, "R B M"]:
    if activation is None:
        return z
    return z.clamp_min_(0) if activation == "relu" else F.gelu(z)  # the backward pass of ReLU needs its output only


def _activation_backward(
    gradient: Float[Tensor, "R B M"], z: Float[Tensor, "R B M"], a: Float[Tensor, "R B M"], activation: str | None
) -> Float[Tensor, "R B M"]:
    """The gradient with respect to the pre-activations z, from that with respect to the activations a."""
    if activation is None:
        return gradient
    backward: Tensor = (
        torch.ops.aten.threshold_backward(gradient, a, 0)
        if activation == "relu"
        else torch.ops.aten.gelu_backward(gradient, z)
    )
    return backward
