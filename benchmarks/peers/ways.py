"""Methods that train a grid of learning rates, on the same replicas; benchmarks/peers/training.py times them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap
from torch.nn import functional as F
from torch.utils.data import TensorDataset

import ammup
from ammup.data.dataset import Data
from ammup.data.minibatches import Feed
from ammup.models.streams import random_stream
from ammup.training.allocator import freed_memory_kept
from ammup.training.replicas import TRAINERS
from ammup.training.runs import Training
from benchmarks.tracked.obvious import standardized_data, train

BATCH = 128
Weights = list[dict[str, np.ndarray]]  # one dictionary for each replica


@dataclass(frozen=True, kw_only=True)
class Case:
    """A net, a grid of learning rates, and the number of training steps."""

    family: str
    depth: int
    width: int
    side: int
    replicas: int
    steps: int
    dtype: str = "float32"
    device: str = "cpu"

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype of weights and images."""
        return torch.float64 if self.dtype == "float64" else torch.float32

    @property
    def lrs(self) -> list[float]:
        """The learning rates, small enough that no replica diverges."""
        return np.geomspace(1e-3, 3e-2, self.replicas).tolist()

    def model(self, seed: int = 0) -> nn.Module:
        """The net with weights drawn from the seed."""
        if self.family == "mlp":
            return ammup.mlp(self.depth, width=self.width, in_features=3 * self.side**2, out_features=10, seed=seed)
        net = {"cnn": ammup.cnn, "resnet": ammup.resnet}[self.family]
        return net(self.depth, width=self.width, seed=seed)

    def data(self) -> Data:
        """As many synthetic images as the steps need."""
        return ammup.load_data("synthetic", image_size=self.side, train=BATCH * self.steps, validation=10)

    def images(self) -> TensorDataset:
        """The standardized images, in the order of seed 0."""
        data = self.data()
        order = torch.randperm(len(data.train_images), generator=random_stream("minibatches", 0, 0))
        return TensorDataset(*standardized_data(data, self.torch_dtype)[order])

    def batches(self) -> list[tuple[Tensor, Tensor]]:
        """The minibatches in their order."""
        images, labels = self.images().tensors
        return list(zip(torch.split(images, BATCH), torch.split(labels, BATCH), strict=True))


@dataclass(frozen=True)
class Prepared:
    """A prepared training: ``run`` is timed, and ``weights`` converts its result to the weights of each replica."""

    run: Callable[[], Any]
    weights: Callable[[Any], Weights] = field(default=lambda result: result)


def obvious(case: Case) -> Prepared:
    """A plain PyTorch loop, one replica after another."""
    images = case.images()

    def run() -> list[nn.Module]:
        models = [case.model().to(case.device, case.torch_dtype) for _ in case.lrs]
        for lr, model in zip(case.lrs, models, strict=True):
            order = range(len(images))
            train(model, images, lr=lr, steps=case.steps, batch=BATCH, order=order, device=case.device)
        return models

    return Prepared(run=run, weights=lambda models: [_arrays(model.state_dict()) for model in models])


def vmapped(case: Case, *, compiled: bool) -> Prepared:
    """Vmap over stacked weights, as in the torch.func tutorial on ensembles."""
    model = case.model().to(case.device, case.torch_dtype)
    batches = [(x.to(case.device), y.to(case.device)) for x, y in case.batches()]
    lrs = torch.tensor(case.lrs, dtype=case.torch_dtype, device=case.device)

    def loss(parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(model, parameters, (x,)), y)

    gradients: Any = vmap(grad_and_value(loss), in_dims=(0, None, None))
    if compiled:
        gradients = torch.compile(gradients)

    def run() -> dict[str, Tensor]:
        model = case.model().to(case.device, case.torch_dtype)  # timed, as in every method
        parameters, _ = stack_module_state([model] * case.replicas)
        parameters = {name: p.detach().clone() for name, p in parameters.items()}
        for x, y in batches:
            gradient, _ = gradients(parameters, x, y)
            for name, p in parameters.items():
                p.addcmul_(gradient[name], lrs.reshape(-1, *[1] * (p.ndim - 1)), value=-1)
        return parameters

    return Prepared(run=run, weights=lambda p: [_arrays({n: t[i] for n, t in p.items()}) for i in range(case.replicas)])


def ours(case: Case, *, strategy: str, lrs: Sequence[float] | None = None) -> Prepared:
    """The sweep kernel; ``lrs`` are the learning rates of one worker, by default all."""
    feed = Feed(case.data(), batch_size=BATCH, device=case.device, dtype=case.torch_dtype)
    trainer = TRAINERS[strategy](lambda seed: case.model(seed).to(case.device), feed, Training(dtype=case.dtype))

    def run() -> Any:
        with freed_memory_kept():
            return trainer.train(lrs or case.lrs, 0, steps=case.steps)

    return Prepared(run=run, weights=lambda trained: [_arrays(one.weights) for one in trained])


def _arrays(weights: dict[str, Tensor]) -> dict[str, np.ndarray]:
    return {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in weights.items()}
