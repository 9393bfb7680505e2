"""Ways to train a grid of learning rates, each on the same replicas; benchmarks/peers/training.py times them."""

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
Weights = list[dict[str, np.ndarray]]  # of each replica


@dataclass(frozen=True, kw_only=True)
class Case:
    """A net, a grid, and how long it is trained."""

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
        """Of weights and images."""
        return torch.float64 if self.dtype == "float64" else torch.float32

    @property
    def lrs(self) -> list[float]:
        """Small enough that nobody diverges."""
        return np.geomspace(1e-3, 3e-2, self.replicas).tolist()

    def model(self, seed: int = 0) -> nn.Module:
        """Its weights drawn from the seed."""
        if self.family == "mlp":
            return ammup.mlp(self.depth, width=self.width, in_features=3 * self.side**2, out_features=10, seed=seed)
        net = {"cnn": ammup.cnn, "resnet": ammup.resnet}[self.family]
        return net(self.depth, width=self.width, seed=seed)

    def data(self) -> Data:
        """As many images as the steps take."""
        return ammup.load_data("synthetic", image_size=self.side, train=BATCH * self.steps, validation=10)

    def images(self) -> TensorDataset:
        """Standardized, in the order of seed 0."""
        data = self.data()
        order = torch.randperm(len(data.train_images), generator=random_stream("minibatches", 0, 0))
        return TensorDataset(*standardized_data(data, self.torch_dtype)[order])

    def batches(self) -> list[tuple[Tensor, Tensor]]:
        """The minibatches."""
        images, labels = self.images().tensors
        return list(zip(torch.split(images, BATCH), torch.split(labels, BATCH), strict=True))


@dataclass(frozen=True)
class Prepared:
    """A way, ready to run: training is what is timed; ``weights`` tells what came of it."""

    run: Callable[[], Any]
    weights: Callable[[Any], Weights] = field(default=lambda found: found)


def obvious(case: Case) -> Prepared:
    """Replica after replica, as anybody would write it."""
    images = case.images()

    def run() -> list[nn.Module]:
        models = [case.model().to(case.device, case.torch_dtype) for _ in case.lrs]
        for lr, model in zip(case.lrs, models, strict=True):
            order = range(len(images))
            train(model, images, lr=lr, steps=case.steps, batch=BATCH, order=order, device=case.device)
        return models

    return Prepared(run=run, weights=lambda models: [_arrays(model.state_dict()) for model in models])


def vmapped(case: Case, *, compiled: bool) -> Prepared:
    """torch.func, as in its tutorial on ensembles."""
    model = case.model().to(case.device, case.torch_dtype)
    batches = [(x.to(case.device), y.to(case.device)) for x, y in case.batches()]
    lrs = torch.tensor(case.lrs, dtype=case.torch_dtype, device=case.device)

    def loss(parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(model, parameters, (x,)), y)

    gradients: Any = vmap(grad_and_value(loss), in_dims=(0, None, None))
    if compiled:
        gradients = torch.compile(gradients)

    def run() -> dict[str, Tensor]:
        model = case.model().to(case.device, case.torch_dtype)  # as every way does, within the time
        parameters, _ = stack_module_state([model] * case.replicas)
        parameters = {name: p.detach().clone() for name, p in parameters.items()}
        for x, y in batches:
            found, _ = gradients(parameters, x, y)
            for name, p in parameters.items():
                p.addcmul_(found[name], lrs.reshape(-1, *[1] * (p.ndim - 1)), value=-1)
        return parameters

    return Prepared(run=run, weights=lambda p: [_arrays({n: t[i] for n, t in p.items()}) for i in range(case.replicas)])


def ours(case: Case, *, strategy: str, lrs: Sequence[float] | None = None) -> Prepared:
    """The sweep kernel; ``lrs`` are a share of the replicas."""
    feed = Feed(case.data(), batch_size=BATCH, device=case.device, dtype=case.torch_dtype)
    trainer = TRAINERS[strategy](lambda seed: case.model(seed).to(case.device), feed, Training(dtype=case.dtype))

    def run() -> Any:
        with freed_memory_kept():
            return trainer.train(lrs or case.lrs, 0, steps=case.steps)

    return Prepared(run=run, weights=lambda trained: [_arrays(one.weights) for one in trained])


def _arrays(weights: dict[str, Tensor]) -> dict[str, np.ndarray]:
    return {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in weights.items()}
