"""Models that change themselves when they are run: left as they were by everything that runs them.

Every call is checked by the oracle of tests/untouched.py, which shares no code with the package; here it is also shown
that a plain forward of each model would not pass it.
"""

import random
import re
import weakref
from collections import Counter, deque
from collections.abc import Callable

import numpy as np
import pytest
import torch
import untouched
from torch import Tensor, nn

import ammup
from ammup import InputError
from ammup.models.state import ModelState, preserved
from ammup.models.streams import seeded


class Plain(nn.Module):
    """Three layers; subclasses do something else on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.out = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        z = self.first(x)
        self.then(z)
        return self.out(self.second(z.relu()).relu())

    def then(self, z: Tensor) -> None:
        """What is done besides computing."""


class TwoNames(Plain):
    """One block under two names, and one batch norm under two."""

    def __init__(self) -> None:
        super().__init__()
        self.a = self.b = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        self.norm = self.a[1]

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.norm(self.second(self.b(self.a(x).relu()))))


class Tied(Plain):
    """One weight under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.second.weight = self.first.weight


class Counts(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def then(self, z: Tensor) -> None:
        self.calls += 1


class Caches(Plain):
    def then(self, z: Tensor) -> None:
        self.cache = z
        self.first.cache = [z]


class Collects(Plain):
    """Into containers that it has already, one of them in another one."""

    def __init__(self) -> None:
        super().__init__()
        self.log, self.recent, self.seen, self.by_name = [1], deque([1], maxlen=2), {1}, {"z": [0]}

    def then(self, z: Tensor) -> None:
        self.log.append(z)
        self.recent.append(z)
        self.seen.add(len(self.log))
        self.by_name["z"].append(z)
        self.by_name["new"] = z


class Statistics:
    """An object of the user's."""

    def __init__(self) -> None:
        self.n, self.total, self.values = 0, torch.zeros(4), np.zeros(4)


class Gathers(Plain):
    """Into a plain object, a tensor that is no buffer, and an array."""

    def __init__(self) -> None:
        super().__init__()
        self.statistics, self.mean, self.array = Statistics(), torch.zeros(4), np.zeros(4)

    def then(self, z: Tensor) -> None:
        self.statistics.n += 1
        self.statistics.total += 1
        self.mean += 1
        self.array += 1


class Moves(Plain):
    """A buffer that is replaced, another one by its data, a weight by its data, flags and a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("target", torch.zeros(4))
        self.register_buffer("average", torch.zeros(4))

    def then(self, z: Tensor) -> None:
        self.target = torch.ones(4)
        self.average.data.add_(1.0)
        self.out.bias.data = torch.ones(3)
        self.second.bias.requires_grad_(False)
        self.second.weight.grad = torch.ones(4, 4)
        self.second.eval()


class Draws(Plain):
    """From generators of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.torch_generator = torch.Generator().manual_seed(0)
        self.numpy_generator, self.python_generator = np.random.default_rng(0), random.Random(0)

    def then(self, z: Tensor) -> None:
        torch.rand((), generator=self.torch_generator)
        self.numpy_generator.random()
        self.python_generator.random()


class DrawsGlobally(Plain):
    def then(self, z: Tensor) -> None:
        torch.rand(())
        np.random.rand()  # noqa: NPY002
        random.random()


class Hooks(Plain):
    def then(self, z: Tensor) -> None:
        self.second.register_forward_hook(lambda *_: None)
        self.register_buffer("late", torch.ones(1))


class Renormalizes(nn.Module):
    """An embedding whose rows are rescaled when they are looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.hidden, self.out = nn.Embedding(5, 4, max_norm=0.5), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.hidden(self.tokens((x[:, 0].abs() * 4).long() % 5)).relu())


class Slotted:
    __slots__ = ("n", "values")

    def __init__(self) -> None:
        self.n, self.values = 0, []


class Listing(list):
    """A list with an attribute."""


class Tallies(Plain):
    """A Counter, slots, a list with attributes; objects that others refer to as well; a generator without a state."""

    def __init__(self) -> None:
        super().__init__()
        self.tally, self.slotted, self.listing = Counter(calls=1), Slotted(), Listing()
        self.listing.n = 0
        self.statistics, self.first.statistics = Statistics(), Statistics()
        self.helper = Statistics()
        self.helper.others = [self.statistics, self.first]
        gone = Statistics()
        self.entropy, self.proxy = random.SystemRandom(), weakref.proxy(gone)

    def then(self, z: Tensor) -> None:
        self.tally["calls"] += 1
        self.slotted.n += 1
        self.slotted.values.append(z)
        self.listing.n += 1
        self.statistics.n += 1
        self.first.statistics.n += 1


class Accumulates(Plain):
    """A gradient, a hook on a weight, and a tensor that joins the graph."""

    def __init__(self) -> None:
        super().__init__()
        self.first.weight.grad = torch.ones(4, 4)
        self.mean = torch.zeros(4)

    def then(self, z: Tensor) -> None:
        if self.kept.grad is not None:  # a copy of the model has none
            with torch.no_grad():
                self.kept.grad.add_(1)
        self.out.weight.register_hook(lambda gradient: 2 * gradient)
        self.mean += z.mean(0)

    @property
    def kept(self) -> nn.Parameter:
        return self.parameter[0]


class Overlaps(Plain):
    """A buffer, and a view of it in which elements share their memory."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("average", torch.zeros(4))
        self.rows = self.average.expand(6, 4)

    def then(self, z: Tensor) -> None:
        self.average.add_(1.0)
        self.second.eval()


MODELS = (
    TwoNames,
    Tied,
    Counts,
    Caches,
    Collects,
    Gathers,
    Moves,
    Draws,
    DrawsGlobally,
    Hooks,
    Renormalizes,
    Tallies,
    Accumulates,
    Overlaps,
)
X, Y = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1, 2])


def _model(kind: type[nn.Module]) -> nn.Module:
    with seeded("state", kind.__name__):
        model = kind()
    if kind is Accumulates:
        model.parameter = (model.first.weight,)  # the user's own, where a measurement puts another one in its place
    return model


# Of these models torch.func refuses two in the middle of their forward, and torch.fx some; nothing else may go wrong.
REFUSED = "mutate a captured Tensor|mutating directly with|could not be traced|cannot be copied: System entropy"


def _unless_refused(call: Callable[[], object]) -> None:
    try:
        call()
    except InputError as error:
        if not re.search(REFUSED, str(error)):
            raise


def _measure(model: nn.Module) -> None:
    _unless_refused(lambda: ammup.measure_updates(model, X, Y, loss="cross_entropy", units=["out"]))


def _fail(model: nn.Module) -> None:
    """The forward succeeds, and the measurement fails afterwards."""
    with pytest.raises(InputError, match=f"did not run exactly once|{REFUSED}"):
        ammup.measure_updates(model, X, Y, loss="cross_entropy", units=["out", ":nothing"])


def _check(model: nn.Module) -> None:
    _unless_refused(lambda: ammup.check_finite_step(model, X, Y, lr=1e-3, loss="cross_entropy", units=["out"]))


def _log(model: nn.Module) -> None:
    _unless_refused(lambda: ammup.UpdateLogger(model, every=1, loss="cross_entropy", units=["out"])(0, X, Y))


CALLS: dict[str, Callable[[nn.Module], object]] = {
    "measure_updates": _measure,
    "an error": _fail,
    "depth_units, traced": lambda model: _unless_refused(lambda: ammup.depth_units(model)),
    "depth_units, recorded": lambda model: ammup.depth_units(model, X),
    "check_finite_step": _check,
    "param_groups": lambda model: ammup.param_groups(model, 0.1, rule="fan-in", tuned="fan-in", inputs=X),
    "UpdateLogger": _log,
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", MODELS, ids=lambda kind: kind.__name__)
def test_it_is_left_as_it_was(kind: type[nn.Module], call: str) -> None:
    model = _model(kind)
    with untouched.left_as_they_were([model]):
        CALLS[call](model)


# A plain forward leaves tied weights alone; `functional_call` does not.
@pytest.mark.parametrize("kind", [k for k in MODELS if k is not Tied], ids=lambda kind: kind.__name__)
def test_the_oracle_notices_what_a_plain_forward_does(kind: type[nn.Module]) -> None:
    model = _model(kind)
    with pytest.raises(AssertionError, match=f"{kind.__name__} was changed"), untouched.left_as_they_were([model]):
        model(X)


def test_the_oracle_notices_what_functional_call_does() -> None:
    """Kind of pytorch#164759: a parameter with two names is put back as its replacement."""
    model = _model(TwoNames)
    weights = {name: p.detach().clone() for name, p in model.named_parameters()}
    with pytest.raises(AssertionError, match=r"a\.0\.weight in _parameters"), untouched.left_as_they_were([model]):
        torch.func.functional_call(model, weights, (X,))


def test_every_pass_begins_in_the_same_state() -> None:
    """A model whose second forward would be another function has the moments of its first."""

    class Warms(Plain):
        scale = 1.0

        def forward(self, x: Tensor) -> Tensor:
            self.scale *= 2.0
            return self.out(self.second(self.scale * self.first(x)))

    class Fixed(Plain):
        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.second(2.0 * self.first(x)))

    warms = _model(Warms)
    fixed = Fixed()
    fixed.load_state_dict(warms.state_dict())
    units = ["first", "second"]
    found, expected = (
        ammup.measure_updates(model, X, Y, loss="cross_entropy", units=units).S for model in (warms, fixed)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    step = ammup.check_finite_step(warms, X, Y, lr=1e-4, loss="cross_entropy", units=units)
    assert abs(step.gap).max() < 0.01
    found, expected = (
        [
            group["lr"]
            for group in ammup.param_groups(model, 0.1, rule="per-unit", inputs=X, targets=Y, loss="mse", units=units)
        ]
        for model in (warms, fixed)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert warms.scale == 1.0


def test_a_lazy_module_is_refused_before_it_is_run() -> None:
    model = nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.Linear(4, 3))
    for call in (ammup.depth_units, ammup.measure_updates):
        with pytest.raises(InputError, match=r"parameters without a shape \(0\.weight, 0\.bias\); run it once"):
            call(model, X)
    with pytest.raises(InputError, match="parameters without a shape"):
        ammup.check_finite_step(model, X, Y, lr=0.1, loss="mse")
    model(X)
    _measure_any(model)


def _measure_any(model: nn.Module) -> None:
    ammup.measure_updates(model, X, Y, loss="cross_entropy")


@pytest.mark.parametrize("kind", ["instance", "everywhere"])
def test_code_of_the_users_in_a_net_of_known_modules(kind: str) -> None:
    """Where every module is torch's, nothing is recorded; a forward or a hook of the user's is another matter."""
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3))
    model.calls = 0

    def count(*_: object) -> None:
        model.calls += 1

    if kind == "instance":
        plain = model.forward
        model.forward = lambda x: (count(), plain(x))[1]
        _measure_any(model)
    else:
        handle = nn.modules.module.register_module_forward_hook(count)
        try:
            _measure_any(model)
        finally:
            handle.remove()
    assert model.calls == 0


def test_everything_else_is_restored_where_one_part_cannot_be() -> None:
    class Stubborn(dict):
        def clear(self) -> None:
            raise RuntimeError("no")

    model = _model(Counts)
    model.stubborn = Stubborn(a=1)
    state = ModelState(model)
    model.stubborn["b"], model.calls = 2, 5
    model.eval()
    with pytest.raises(RuntimeError, match="no"):
        state.restore()
    assert model.calls == 0
    assert model.training
    assert model.out.training


def test_what_draws_from_any_global_generator_has_the_same_numbers_in_every_pass() -> None:
    class Drops(Plain):
        def forward(self, x: Tensor) -> Tensor:
            keep = (random.random() < 0.5, np.random.rand() < 0.5)  # noqa: NPY002
            z = self.first(x)
            return self.out(z + 10 * keep[0] * self.second(z) + 5 * keep[1] * z)

    model = _model(Drops).double()
    for seed in range(8):
        a, b = (
            ammup.measure_updates(model, X.double(), Y, loss="cross_entropy", units=["first", "out"], seed=seed).S
            for _ in range(2)
        )
        np.testing.assert_array_equal(a, b)


def test_a_cached_activation_with_a_graph_does_not_stop_check_finite_step() -> None:
    model = _model(Caches)
    model(X).sum().backward()
    assert model.cache.grad_fn is not None
    step = ammup.check_finite_step(model, X, Y, lr=1e-4, loss="cross_entropy", units=["out"])
    assert abs(step.gap).max() < 0.01


def test_a_graph_recorded_before_can_still_be_used() -> None:
    """The version counters of weights that a forward rescales are put back with the bits."""
    model = _model(Renormalizes)
    model(X)  # the rows that are looked up are rescaled now; scale one up again
    with torch.no_grad():
        model.tokens.weight.mul_(3.0)
    loss = (model.tokens.weight**2).sum()
    _measure(model)
    loss.backward()
    assert torch.equal(model.tokens.weight.grad, 2 * model.tokens.weight)


def test_a_module_in_a_plain_list_is_found() -> None:
    class Listed(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.hidden = [nn.BatchNorm1d(4)]

        def then(self, z: Tensor) -> None:
            self.hidden[0](z)

    model = _model(Listed)
    with preserved(model):
        model(X)
    assert torch.equal(model.hidden[0].running_mean, torch.zeros(4))
    assert model.hidden[0].num_batches_tracked == 0


def test_what_the_model_only_refers_to_is_not_copied() -> None:
    class Trainer:
        def __init__(self, model: nn.Module) -> None:
            self.model, self.step = model, 0
            self.loader = Statistics()

    model = _model(Plain)
    model.trainer = Trainer(model)
    state = ModelState(model)
    assert not any(tensor is model.trainer.loader.total for tensor in state.tensors)
    model.trainer.step = 7
    state.restore()
    assert model.trainer.step == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.complex64, torch.int64])
def test_bits_of_every_dtype_come_back(dtype: torch.dtype) -> None:
    model = nn.Module()
    values = torch.tensor([0.0, 1.0, 2.0]).to(dtype)
    if dtype.is_floating_point:
        values = torch.tensor([-0.0, float("nan"), 2.0], dtype=dtype)
    model.register_buffer("values", values.clone())
    version = model.values._version
    with preserved(model):
        model.values.zero_()
    assert untouched._bits(model.values) == untouched._bits(values)
    assert model.values._version == version
    with preserved(model):  # NaN is equal to itself: nothing is written
        pass
    assert model.values._version == version


def test_sparse_meta_and_lazy_tensors_are_left_alone() -> None:
    model = nn.Sequential(nn.LazyLinear(3), nn.Linear(2, 2, device="meta"))
    model.register_buffer("sparse", torch.eye(2).to_sparse())
    with untouched.left_as_they_were([model]), preserved(model):
        model.added = 1
    assert not hasattr(model, "added")
