"""Inputs, outputs, targets and losses of all kinds."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_parts.case import Group, Problem
from zoo_parts.constructs.common import called, convolutional, dense, drawn, images, labels, vectors

batches = Group("inputs, outputs and losses")


@dataclass
class Output:
    """What a model of transformers returns."""

    logits: Tensor
    hidden: Tensor


class Named(NamedTuple):
    """What inception returns in training."""

    logits: Tensor
    auxiliary: Tensor


class Returns(nn.Module):
    """A net that returns one of several structures."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.body, self.out = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh()), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Any:
        """Logits, and what else the structure holds."""
        hidden = self.body(x)
        logits = self.out(hidden)
        return {
            "tuple": lambda: (logits, hidden),
            "dictionary": lambda: {"logits": logits, "hidden": hidden},
            "dataclass": lambda: Output(logits, hidden),
            "named tuple": lambda: Named(logits, hidden[:, :4]),
            "vector": lambda: logits[:, 0],
            "scalar": lambda: logits.square().mean(),
            "list": lambda: [logits, logits * 2],
        }[self.kind]()


def _logits(outputs: Any) -> Tensor:
    if isinstance(outputs, dict):
        return outputs["logits"]
    return outputs.logits if hasattr(outputs, "logits") else outputs[0]


def _structured(kind: str) -> Problem:
    """The loss takes the structure as it is."""
    return vectors(Returns(kind), lambda outputs, targets: F.cross_entropy(_logits(outputs), targets))


def _selected(kind: str) -> Problem:
    """forward= selects the logits."""
    return called(lambda model, x: _logits(model(x)), Returns(kind), drawn(8, 6))


for _kind in ("tuple", "dictionary", "dataclass", "named tuple", "list"):
    name = _kind.replace(" ", "_")
    batches.add(f"loss_of_a_{name}", _structured, _kind)
    batches.add(f"logits_from_a_{name}", _selected, _kind)


def _binary(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(outputs, targets.to(outputs))


def _contrastive(outputs: Tensor, targets: Tensor) -> Tensor:
    z = F.normalize(outputs, dim=1)
    return F.cross_entropy(z @ z.T * 3 - 9 * torch.eye(len(z)).to(z), targets)


def _triplet(outputs: Tensor, _targets: Tensor) -> Tensor:
    return F.triplet_margin_loss(outputs[:3], outputs[3:6], outputs[5:8])


def _smooth(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, label_smoothing=0.1, reduction="sum")


def _focal(outputs: Tensor, targets: Tensor) -> Tensor:
    chosen = outputs.log_softmax(1).gather(1, targets[:, None])[:, 0]
    return -((1 - chosen.exp()) ** 2 * chosen).mean()


def _pairs(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.huber_loss(outputs[:, None] - outputs[None], (targets[:, None] - targets[None])[..., None].to(outputs))


class Margin(nn.Module):
    """A loss that is a module with a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weights", torch.tensor([1.0, 2, 3, 4]))

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Weighted multi-class margins."""
        return F.multi_margin_loss(outputs, targets, weight=self.weights.to(outputs))


LOSSES: dict[str, Any] = {
    "contrastive": _contrastive, "triplet": _triplet, "label_smoothing": _smooth, "focal": _focal, "pairwise": _pairs,
    "module": nn.CrossEntropyLoss(),
    "module_with_buffer": Margin(), "cosine": lambda z, y: -z.gather(1, y[:, None]).mean(),
}  # fmt: skip
for _name, _loss in LOSSES.items():
    batches.add(f"loss_{_name}", lambda loss=_loss: vectors(dense(nn.ReLU()), loss))


@batches.case
def outputs_without_a_class_axis() -> Problem:
    return vectors(Returns("vector"), _binary, (torch.arange(8) % 2).float())


@batches.case
def outputs_without_a_class_axis_mse() -> Problem:
    return vectors(Returns("vector"), "mse", drawn(8))


@batches.case
def model_that_returns_its_loss() -> Problem:
    return vectors(Returns("scalar"), lambda value, _targets: value)


@batches.case
def loss_with_weight_decay_inside() -> Problem:
    model = dense(nn.ReLU())

    def forward(net: nn.Module, x: Tensor) -> Any:
        return net(x), sum(p.square().sum() for p in net.parameters())

    def loss(outputs: Any, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs[0], targets) + 0.01 * outputs[1]

    return Problem(model=model, inputs=drawn(8, 6), targets=labels(), loss=loss, forward=forward)


@batches.case
def mse_of_float_targets() -> Problem:
    return vectors(dense(nn.ReLU()), "mse", drawn(8, 4))


@batches.case
def mse_of_class_indices() -> Problem:
    return vectors(dense(nn.ReLU()), "mse")


@batches.case
def targets_in_a_dictionary() -> Problem:
    def loss(outputs: Tensor, targets: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(outputs, targets["classes"], weight=targets["weights"].to(outputs))

    return vectors(dense(nn.ReLU()), loss, {"classes": labels(), "weights": torch.tensor([1.0, 2, 1, 2])})


@batches.case
def batch_of_one() -> Problem:
    return Problem(model=dense(nn.ReLU()), inputs=drawn(1, 6), targets=labels(1))


@batches.case
def keyword_inputs() -> Problem:
    model = Returns("dictionary")
    return called(lambda net, batch: net(**batch)["logits"], model, {"x": drawn(8, 6)})


@batches.case
def images_and_vectors() -> Problem:
    class Fused(nn.Module):
        """Two encoders of different kind."""

        def __init__(self) -> None:
            super().__init__()
            self.image, self.vector, self.out = convolutional(nn.ReLU()), dense(nn.ReLU()), nn.Linear(8, 4)

        def forward(self, image: Tensor, vector: Tensor) -> Tensor:
            return self.out(torch.cat([self.image(image), self.vector(vector)], 1).tanh())

    return called(lambda net, pair: net(*pair), Fused(), (drawn(8, 3, 8, 8), drawn(8, 6)))


@batches.case
def variable_lengths_in_a_list() -> Problem:
    class Lists(nn.Module):
        """A list of sequences, encoded one by one."""

        def __init__(self) -> None:
            super().__init__()
            self.encode, self.merge, self.out = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 4)

        def forward(self, items: list[Tensor]) -> Tensor:
            pooled = torch.stack([torch.relu(self.encode(torch.cat([item, item]))).mean(0) for item in items])
            return self.out(torch.relu(self.merge(pooled)))

    items = [drawn(n, 6) for n in (2, 3, 4, 5)]
    model = Lists()
    model.encode = nn.Sequential(nn.Identity(), model.encode)
    return called(lambda net, batch: net(batch), model, items, labels(4))


@batches.case
def byte_images() -> Problem:
    def forward(net: nn.Module, x: Tensor) -> Tensor:
        return net(x.to(next(net.parameters())) / 255)

    problem = images(convolutional(nn.ReLU()))
    pixels = (problem.inputs * 60 + 128).clamp(0, 255).byte()
    return Problem(model=problem.model, inputs=pixels, targets=problem.targets, forward=forward)


@batches.case
def contiguous_channels_last_input() -> Problem:
    problem = images(convolutional(nn.ReLU()))
    inputs = problem.inputs.contiguous(memory_format=torch.channels_last)
    return Problem(model=problem.model, inputs=inputs, targets=problem.targets)


@batches.case
def inputs_that_require_gradients() -> Problem:
    return Problem(model=dense(nn.ReLU()), inputs=drawn(8, 6).requires_grad_(), targets=labels())
