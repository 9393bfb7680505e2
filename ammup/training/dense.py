"""An SGD step of stacked dense nets (those of the paper), with as few passes over memory as possible.

The gradient of a loss is linear in the gradient of its logits. If the latter is multiplied by minus the learning rate
of each replica, backpropagation yields the update of each weight instead of its gradient, and the matrix product that
computes the update also adds it in place. No gradients are stored, and no optimizer reads the weights again.

Images are shared, so the first layers of all replicas are one matrix product. Its result is [R, M, B], which is the
layout of every other activation. The softmax over classes is then vectorized over the batch. On a CPU, a few replicas
at a time take the step, so that their activations stay in the cache, in buffers that all parts and steps use.

Axes: R replica, B batch, N features in, M features out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ammup.models.nets import MLP
from ammup.training.fused import activation_name, has_hooks
from ammup.training.runs import Training

# Largest size in bytes of the activations of the replicas that take a step together on a CPU. Between 2 and 4 MiB the
# steps of 40 nets of 8 x 64 and of 8 x 128 are the fastest; with 1 MiB and with 20 MiB they take a tenth longer.
PART_BYTES = 3 << 20
# The functions of torch that write the product of a gradient and the derivative of an activation; torch.nn has none.
RELU_BACKWARD: Any = torch.ops.aten.threshold_backward.grad_input
GELU_BACKWARD: Any = torch.ops.aten.gelu_backward.grad_input


class DenseStep:
    """SGD steps of stacked dense layers without biases; the last layer returns the logits.

    Args:
        weights: stacked weights [R, M, N] of every layer, contiguous; each step updates them in place.
        lrs: learning rates of the replicas.
        activation: "relu", "gelu", or None for the identity.
    """

    def __init__(self, weights: Sequence[Tensor], lrs: Float[Tensor, " R"], activation: str | None) -> None:
        self.weights, self.lrs, self.activation = weights, lrs, activation
        self._parts: dict[int, list[_Part]] = {}  # by batch size: the last minibatch of an epoch may be smaller

    @torch.no_grad()
    def __call__(self, images: Tensor, labels: Int64[Tensor, " B"]) -> Float[Tensor, " R"]:
        """Update the weights in place; returns the losses before the step."""
        inputs = images.flatten(1)
        if len(inputs) not in self._parts:
            self._parts[len(inputs)] = self._divided(len(inputs))
        losses = [part.step(inputs, labels) for part in self._parts[len(inputs)]]
        return losses[0] if len(losses) == 1 else torch.cat(losses)

    def release_buffers(self) -> None:
        """Free the memory of the activations; the next step allocates it again."""
        self._parts.clear()

    def _divided(self, batch: int) -> "list[_Part]":
        """The replicas in parts of equal size, except for the last; they share buffers."""
        parts = 1
        if self.lrs.device.type == "cpu":
            replica = sum(weight.shape[1] for weight in self.weights) * batch * self.lrs.element_size()
            parts = -(-len(self.lrs) // max(1, PART_BYTES // replica))
        size = -(-len(self.lrs) // parts)
        buffers = _Buffers.allocate(self.weights, size, batch, self.activation)
        return [
            _Part.build(
                [weight[i : i + size] for weight in self.weights],
                -self.lrs[i : i + size, None, None] / batch,
                buffers.first(len(self.lrs[i : i + size])),
                self.activation,
            )
            for i in range(0, len(self.lrs), size)
        ]


@dataclass(frozen=True, kw_only=True)
class _Buffers:
    """Memory of one step, for every layer [R, M, B].

    Attributes:
        outputs: pre-activations; the last ones are the logits.
        activations: they share the memory of the pre-activations if the backward pass does not need both.
        gradients: with respect to the pre-activations. Two layers in succession have different memory.
    """

    outputs: list[Tensor]
    activations: list[Tensor]
    gradients: list[Tensor]

    @classmethod
    def allocate(cls, weights: Sequence[Tensor], replicas: int, batch: int, activation: str | None) -> "_Buffers":
        """Buffers for this number of replicas."""
        shapes = [(replicas, weight.shape[1], batch) for weight in weights]
        outputs = [weights[0].new_empty(shape) for shape in shapes]
        activations = [torch.empty_like(z) for z in outputs] if activation == "gelu" else outputs
        memory = weights[0].new_empty(2, max(z.numel() for z in outputs))
        gradients = [memory[i % 2, : z.numel()].view(z.shape) for i, z in enumerate(outputs)]
        return cls(outputs=outputs, activations=activations, gradients=gradients)

    def first(self, replicas: int) -> "_Buffers":
        """The part of the buffers that this number of replicas uses."""
        outputs, activations, gradients = (
            [buffer[:replicas] for buffer in buffers] for buffers in (self.outputs, self.activations, self.gradients)
        )
        return _Buffers(outputs=outputs, activations=activations, gradients=gradients)


@dataclass(frozen=True, kw_only=True)
class _Part:
    """The step of some of the replicas. Its views are stored; creating them takes a tenth of the step of a small net.

    Attributes:
        weights, transposed: the stacks [R, M, N] and [R, N, M] of every layer.
        first: the first layer of all replicas as one matrix [R M, N].
        scale: minus the learning rates divided by the batch size [R, 1, 1].
        buffers: where activations and gradients are written.
        inputs: the activations, transposed [R, B, M].
        activation: "relu", "gelu", or None for the identity.
    """

    weights: list[Tensor]
    transposed: list[Tensor]
    first: Tensor
    scale: Tensor
    buffers: _Buffers
    inputs: list[Tensor]
    activation: str | None

    @classmethod
    def build(cls, weights: list[Tensor], scale: Tensor, buffers: _Buffers, activation: str | None) -> "_Part":
        """The step of these stacks."""
        return cls(
            weights=weights,
            transposed=[weight.mT for weight in weights],
            first=weights[0].flatten(0, 1),
            scale=scale,
            buffers=buffers,
            inputs=[activation.mT for activation in buffers.activations],
            activation=activation,
        )

    def step(self, images: Float[Tensor, "B N"], labels: Int64[Tensor, " B"]) -> Float[Tensor, " R"]:
        """Update the weights in place; returns the losses before the step."""
        outputs, gradients = self.buffers.outputs, self.buffers.gradients
        torch.mm(self.first, images.t(), out=outputs[0].flatten(0, 1))
        for i in range(1, len(self.weights)):
            torch.bmm(self.weights[i], self._activate(i - 1), out=outputs[i])
        losses, gradient = _cross_entropy(outputs[-1], labels)
        gradient *= self.scale
        for i in reversed(range(1, len(self.weights))):
            # The gradient of the layer's inputs, computed before its weight is updated.
            input_gradient = torch.bmm(self.transposed[i], gradient, out=gradients[i - 1])
            self.weights[i].baddbmm_(gradient, self.inputs[i - 1])
            gradient = self._activation_backward(i - 1, input_gradient)
        self.first.addmm_(gradient.flatten(0, 1), images)
        return losses

    def _activate(self, layer: int) -> Float[Tensor, "R M B"]:
        z, a = self.buffers.outputs[layer], self.buffers.activations[layer]
        if self.activation == "relu":
            return z.clamp_min_(0)  # the backward pass of ReLU needs its output only
        if self.activation == "gelu":
            torch.ops.aten.gelu.out(z, out=a)
        return a

    def _activation_backward(self, layer: int, gradient: Float[Tensor, "R M B"]) -> Float[Tensor, "R M B"]:
        """The gradient with respect to the pre-activations, in place of that with respect to the activations."""
        if self.activation == "relu":
            RELU_BACKWARD(gradient, self.buffers.activations[layer], 0, grad_input=gradient)
        elif self.activation == "gelu":
            GELU_BACKWARD(gradient, self.buffers.outputs[layer], grad_input=gradient)
        return gradient


def dense_step(
    model: nn.Module, training: Training, parameters: Mapping[str, Tensor], lrs: Float[Tensor, " R"]
) -> DenseStep | None:
    """The step of a net from `ammup.mlp` that is trained by plain SGD in the precision of its weights.

    The result is None for any other model, including an instance of a subclass, and for a net with hooks, replaced
    layers, or frozen or tied weights.

    Args:
        model: the net of one replica.
        training: settings of every replica.
        parameters: stacks of the parameters by name, which the step updates in place.
        lrs: learning rates of the replicas.
    """
    if type(model) is not MLP or training.momentum or training.weight_decay or training.dtype == "bfloat16":
        return None
    layers = [*model.layers, model.readout]
    activation = activation_name(model.activation)
    if (activation is None and type(model.activation) is not nn.Identity) or any(map(has_hooks, model.modules())):
        return None
    if not all(type(layer) is nn.Linear and layer.bias is None and layer.weight.requires_grad for layer in layers):
        return None
    names = [name for name, _ in model.named_parameters()]
    if len(names) != len(layers):  # there are tied or additional parameters
        return None
    return DenseStep([parameters[name] for name in names], lrs, activation)


def _cross_entropy(
    logits: Float[Tensor, "R classes B"], labels: Int64[Tensor, " B"]
) -> tuple[Float[Tensor, " R"], Float[Tensor, "R classes B"]]:
    """The mean cross-entropy over the batch, and the gradient of its sum with respect to the logits."""
    log_p = logits.log_softmax(1)
    indices = labels.expand(len(logits), 1, -1)
    losses = -log_p.gather(1, indices).mean((1, 2))
    gradient = log_p.exp_()
    gradient.scatter_add_(1, indices, torch.full_like(gradient[:, :1], -1.0))
    return losses, gradient
