"""Forwards that write to their model: counters, memories, generators, values that are clamped or averaged."""

import collections
import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from zoo_parts.case import Group, Problem
from zoo_parts.constructs.common import dense, drawn, tokens, vectors

state = Group("state written by the forward")
generators = Group("random generators")


class Counter(nn.Module):
    """A scale that grows with the number of calls."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.calls, self.history = kind, 0, []
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        """Scaled by the count."""
        if self.kind == "attribute":
            self.calls += 1
            return x * (1 + 0.5 * self.calls)
        if self.kind == "list":
            self.history.append(1.0)
            return x * (1 + 0.5 * len(self.history))
        self.steps += 1
        return x * (1 + 0.5 * self.steps)


class Memory(nn.Module):
    """Mixes in an average of earlier activations."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.register_buffer("mean", torch.zeros(8))
        self.kept: Any = torch.zeros(8)
        self.queue: collections.deque[Tensor] = collections.deque(maxlen=3)

    def forward(self, x: Tensor) -> Tensor:
        """The input, minus what is remembered."""
        if self.kind == "in place":
            self.mean.mul_(0.5).add_(0.5 * x.detach().mean(0))
            return x - self.mean
        if self.kind == "buffer assigned":
            self.mean = 0.5 * self.mean + 0.5 * x.detach().mean(0)
            return x - self.mean
        if self.kind == "attribute with a graph":
            out = x - self.kept.detach().to(x)
            self.kept = x.mean(0)
            return out
        self.queue.append(x.detach().mean(0))
        return x - torch.stack(list(self.queue)).mean(0)


class Ema(nn.Module):
    """A momentum copy of a layer, moved in every forward (BYOL, MoCo)."""

    def __init__(self) -> None:
        super().__init__()
        self.online, self.target, self.out = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(8, 4)
        self.target.load_state_dict(self.online.state_dict())
        self.target.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """The difference of both, after the target moved."""
        with torch.no_grad():
            for a, b in zip(self.target.parameters(), self.online.parameters(), strict=True):
                a.lerp_(b, 0.1)
        return self.out(torch.tanh(self.online(x)) + torch.tanh(self.target(x)))


class Clamped(nn.Linear):
    """Clamps its weight in place before it is used (WGAN), or normalizes it."""

    def __init__(self, kind: str) -> None:
        super().__init__(8, 8)
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        """The product with the weight as it is after the write."""
        with torch.no_grad():
            if self.kind == "clamp":
                self.weight.clamp_(-0.3, 0.3)
            else:
                self.weight.div_(self.weight.norm(dim=1, keepdim=True))
        return super().forward(x)


class ClampedData(nn.Linear):
    """The same through ``.data``."""

    def forward(self, x: Tensor) -> Tensor:
        """The product."""
        self.weight.data.clamp_(-0.3, 0.3)
        return super().forward(x)


class Codebook(nn.Module):
    """A codebook that learns by averages, as in VQ-VAE: a buffer that learns."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("codes", torch.randn(5, 8))

    def forward(self, x: Tensor) -> Tensor:
        """Straight-through code of the nearest entry, which moves towards its members."""
        nearest = torch.cdist(x, self.codes).argmin(1)
        quantized = self.codes[nearest]
        with torch.no_grad():
            self.codes.index_add_(0, nearest, 0.01 * (x - quantized))
        return x + 0.5 * (quantized - x).detach()


class Cache(nn.Module):
    """A matrix that is computed in the first forward and kept."""

    def __init__(self) -> None:
        super().__init__()
        self.basis: Tensor | None = None
        self.scale = nn.Parameter(torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        """The product with a fixed basis."""
        if self.basis is None:
            self.basis = torch.linalg.qr(drawn(8, 8))[0].to(x)
        return (x * self.scale) @ self.basis


class WarmUp(nn.Module):
    """Initializes itself from the first batch (ActNorm of Glow)."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(8)), nn.Parameter(torch.zeros(8))
        self.register_buffer("initialized", torch.tensor(False))

    def forward(self, x: Tensor) -> Tensor:
        """Affine; at the first call with the statistics of the batch."""
        if not self.initialized:
            with torch.no_grad():
                self.shift.copy_(-x.mean(0))
                self.scale.copy_(1 / (x.std(0) + 1e-3))
                self.initialized.fill_(True)
        return (x + self.shift) * self.scale


class Anomaly(nn.Module):
    """Writes into an array and a set, and keeps its last output."""

    def __init__(self) -> None:
        super().__init__()
        self.seen, self.norms, self.last = set(), np.zeros(3), None

    def forward(self, x: Tensor) -> Tensor:
        """The input, divided by the number of different shapes so far."""
        self.seen.add(len(self.seen))
        self.norms[0] += 1
        self.last = x * len(self.seen)
        return self.last / float(self.norms[0])


for _kind in ("attribute", "list", "buffer"):
    state.add(f"counter_in_{_kind}", lambda kind=_kind: vectors(dense(Counter(kind), nn.ReLU())))
for _kind in ("in place", "buffer assigned", "attribute with a graph", "queue"):
    name = f"memory_{_kind.replace(' ', '_')}"
    state.add(name, lambda kind=_kind: vectors(dense(Memory(kind), nn.ReLU())))
for _kind in ("clamp", "normalize"):
    state.add(f"weight_{_kind}_in_forward", lambda kind=_kind: vectors(dense(nn.ReLU(), Clamped(kind))))
state.add("weight_data_clamp_in_forward", lambda: vectors(dense(nn.ReLU(), ClampedData(8, 8))))
state.add("momentum_target", lambda: vectors(Ema()))
state.add("codebook", lambda: vectors(dense(Codebook(), nn.ReLU())))
state.add("cached_matrix", lambda: vectors(dense(Cache(), nn.ReLU())))
state.add("initialized_from_first_batch", lambda: vectors(dense(WarmUp(), nn.ReLU())))
state.add("writes_array_and_set", lambda: vectors(dense(Anomaly(), nn.ReLU())))


class Annealed(nn.Module):
    """Sampling probability that decays with the calls (scheduled sampling)."""

    def __init__(self) -> None:
        super().__init__()
        self.temperature = 1.0

    def forward(self, x: Tensor) -> Tensor:
        """A softmax that sharpens from call to call."""
        self.temperature *= 0.9
        return torch.softmax(x / self.temperature, 1) * 8


state.add("annealed_temperature", lambda: vectors(dense(Annealed())))


class Noise(nn.Module):
    """Multiplicative noise from one of the sources that people use."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source = source
        self.generator: Any = {
            "own torch generator": lambda: torch.Generator().manual_seed(0),
            "own NumPy generator": lambda: np.random.default_rng(0),
            "own NumPy legacy generator": lambda: np.random.RandomState(0),
            "own Python generator": lambda: random.Random(0),
        }.get(source, lambda: None)()

    def forward(self, x: Tensor) -> Tensor:
        """The input with noise; numbers from NumPy and Python do not depend on the dtype."""
        shape = tuple(x.shape)
        values = {
            "own torch generator": lambda: torch.rand(shape, generator=self.generator, dtype=torch.float32),
            "own NumPy generator": lambda: torch.from_numpy(self.generator.random(shape)),
            "own NumPy legacy generator": lambda: torch.from_numpy(self.generator.rand(*shape)),
            "own Python generator": lambda: torch.tensor([self.generator.random() for _ in range(shape[1])]),
            "torch": lambda: torch.rand_like(x),
            "NumPy": lambda: torch.from_numpy(np.random.rand(*shape)),  # noqa: NPY002
            "Python": lambda: torch.tensor([random.random() for _ in range(shape[1])]),
            "normal of torch": lambda: torch.randn(shape),
        }[self.source]()
        return x * (0.5 + values.to(x))


class RandomPath(nn.Module):
    """Chooses one of three layers by Python's or torch's random numbers."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source = source
        self.scales = nn.ParameterList([nn.Parameter(torch.full((8,), 0.5 + i)) for i in range(3)])

    def forward(self, x: Tensor) -> Tensor:
        """Scaled by the chosen one."""
        chosen = random.randrange(3) if self.source == "Python" else int(torch.randint(3, ()))
        return x * self.scales[chosen]


class Shuffled(nn.Module):
    """Permutes channels at random."""

    def forward(self, x: Tensor) -> Tensor:
        """The permuted input."""
        return x[:, torch.randperm(x.shape[1])] + x


class Reseeded(nn.Module):
    """Seeds the global generator in its forward, and so decides what dropout behind it does."""

    def forward(self, x: Tensor) -> Tensor:
        """The input times noise that is the same in every call."""
        torch.manual_seed(7)
        return x * (0.5 + torch.rand(8, dtype=torch.float32).to(x))


for _source in ("own torch generator", "own NumPy generator", "own NumPy legacy generator", "own Python generator",
                "torch", "NumPy", "Python", "normal of torch"):  # fmt: skip
    name = f"noise_from_{_source.lower().replace(' ', '_')}"
    generators.add(name, lambda source=_source: vectors(dense(Noise(source), nn.ReLU())))
for _source in ("Python", "torch"):
    generators.add(f"path_chosen_by_{_source.lower()}", lambda source=_source: vectors(dense(RandomPath(source))))
generators.add("shuffled_channels", lambda: vectors(dense(Shuffled(), nn.ReLU())))
generators.add("seeds_in_forward", lambda: vectors(dense(Reseeded(), nn.ReLU(), nn.Dropout(0.3))))


@generators.case
def masked_tokens() -> Problem:
    class Masked(nn.Module):
        """Replaces random tokens by a mask token, as in BERT."""

        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.body, self.out = nn.Embedding(13, 8), nn.Linear(8, 8), nn.Linear(8, 4)

        def forward(self, indices: Tensor) -> Tensor:
            hidden = torch.bernoulli(torch.full(indices.shape, 0.3)).bool()
            x = self.embedding(torch.where(hidden, torch.full_like(indices, 12), indices))
            return self.out(torch.relu(self.body(x)).mean(1))

    return tokens(Masked())
