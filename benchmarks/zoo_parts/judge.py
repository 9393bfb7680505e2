"""Measurement of a case, comparison with the oracle, and detection of changes in the model."""

import contextlib
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

import ammup
from zoo_parts.case import Case, Generators, Problem, generator_states, generators_restored, seed_everything
from zoo_parts.cost import cpu_times
from zoo_parts.oracle import OracleMoments, outputs_at_rest, true_moments
from zoo_parts.snapshot import bits, described, differences

TOLERANCE = 0.01  # relative error of S̄ that is accepted
RESOLVED = 0.003  # with a larger relative error, the oracle is inconclusive
SAME_NOISE = 0.01  # relative difference of outputs: larger than rounding to float32, smaller than another mask


@dataclass
class Verdict:
    """The result of one case.

    Attributes:
        status: "right", "wrong", "flagged" (wrong, with a warning or a large reported error), "refused", "crash",
            "hang", "unresolved" (the oracle is inconclusive) or "invalid" (the model of the case cannot be trained).
        message: message of the exception, or a description of the error.
        deviation: S̄ divided by that of the oracle, minus 1.
        damage: names of changes in the model or in global state after the call.
        seconds: CPU time of one call of ``measure_updates``.
        training_seconds: CPU time of one plain forward and backward pass.
    """

    name: str
    group: str
    status: str = ""
    message: str = ""
    units: list[str] = field(default_factory=list)
    S_bar: float = math.nan
    oracle: float = math.nan
    oracle_error: float = math.nan
    deviation: float = math.nan
    worst_unit: float = math.nan
    damage: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    seconds: float = math.nan
    training_seconds: float = math.nan

    def as_record(self) -> dict[str, Any]:
        """A dictionary of plain values."""
        return asdict(self)


def judge(case: Case, report_stage: Callable[[str], None]) -> Verdict:
    """Run one case.

    Args:
        case: the case.
        report_stage: called with "training", "measuring" and "comparing" at the start of each stage.
    """
    verdict = Verdict(name=case.name, group=case.group)
    report_stage("training")
    try:
        expected = _trained(case.built())
    except Exception as error:  # a model can raise anything
        return _with(verdict, "invalid", f"does not train: {_described_error(error)}")
    report_stage("measuring")
    moments = _measure(case, verdict, expected)
    if moments is None:
        return verdict
    report_stage("comparing")
    try:
        _compare(case, verdict, moments)
    except Exception as error:  # a model in float64 can raise anything
        return _with(verdict, "unresolved", f"oracle: {_described_error(error)}")
    return verdict


def _with(verdict: Verdict, status: str, message: str = "") -> Verdict:
    verdict.status, verdict.message = status, message
    return verdict


def _described_error(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip().replace("\n", " ")[:300]


def call_ammup(problem: Problem, **options: Any) -> ammup.UpdateMoments:
    """Call ``measure_updates`` like a user."""
    if problem.forward is not None:
        options.setdefault("forward", problem.forward)
    return ammup.measure_updates(problem.model, problem.inputs, problem.targets, loss=problem.loss, **options)


def _measure(case: Case, verdict: Verdict, expected: list[object]) -> ammup.UpdateMoments | None:
    """Measure a new model, and record the changes that this leaves in it."""
    problem = case.built()
    for parameter in list(problem.model.parameters())[::2]:
        if parameter.requires_grad and not isinstance(parameter, torch.nn.parameter.UninitializedTensorMixin):
            parameter.grad = torch.full_like(parameter, 0.25)  # as between two training steps
    seed_everything(1)
    before = described(problem.model)
    moments = None
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            moments = call_ammup(problem)
        _with(verdict, "measured")
    except ammup.InputError as error:
        message = _described_error(error).removeprefix("InputError: ")
        _with(verdict, "right" if case.refusal else "refused", message)
    except Exception as error:  # any other exception is a crash
        _with(verdict, "crash", _described_error(error))
    verdict.warnings = [str(w.message)[:200] for w in caught if "ammup" in str(w.filename)]
    verdict.damage = differences(before, described(problem.model)) + _training_differences(case, problem, expected)
    verdict.damage += _damage_of_depth_units(case)
    if moments is not None:
        verdict.seconds, verdict.training_seconds = cpu_times(case, call_ammup, repeats=1)
    return moments


def _damage_of_depth_units(case: Case) -> list[str]:
    """The changes that ``depth_units`` leaves in the model, whether it succeeds or not."""
    problem = case.built()
    before = described(problem.model)
    with contextlib.suppress(Exception):  # its errors are reported by measure_updates
        ammup.depth_units(problem.model, problem.inputs, forward=problem.forward)
    return [f"depth_units: {name}" for name in differences(before, described(problem.model))]


def _trained(problem: Problem) -> list[object]:
    """Checksums of the loss, the weights and the buffers after one step of SGD, from fixed states of the generators."""
    model = problem.model
    with generators_restored():
        seed_everything(2)
        model.zero_grad()
        loss = problem.objective(problem.outputs())
        loss.backward()
        trained = [p for p in model.parameters() if p.grad is not None]
        if not any(p.grad.abs().sum() > 0 for p in trained) or not torch.isfinite(loss):
            raise ValueError("the gradient is zero, or the loss is not finite")
        torch.optim.SGD(trained, 1e-2).step()
    return [bits(tensor) for tensor in (loss, *model.parameters(), *model.buffers())]


def _training_differences(case: Case, measured: Problem, expected: list[object]) -> list[str]:
    """Whether training the measured model gives the same result as training a new one."""
    if expected != _trained(case.built()):
        return []  # the step is not reproducible, so it cannot be compared
    try:
        after = _trained(measured)
    except Exception as error:  # a model can raise anything
        return [f"cannot be trained afterwards: {_described_error(error)}"]
    return [] if expected == after else ["trains differently afterwards"]


def _same(a: list[Tensor], b: list[Tensor]) -> bool:
    return len(a) == len(b) and all(x.shape == y.shape and bool((x == y).all()) for x, y in zip(a, b, strict=True))


def _compare(case: Case, verdict: Verdict, moments: ammup.UpdateMoments) -> None:
    verdict.units, verdict.S_bar = list(moments.units), float(moments.S_bar)
    realization = _realization(case) if _is_random(case) else Realization(states=generator_states())
    # A random forward pass is one realization of its noise; noise drawn in float32 is equally valid.
    ways = [single for single in (False, True) if realization.matches(case, single_draws=single)]
    oracles = [true_moments(case, moments.units, realization.states, single_draws=way) for way in ways or [False]]
    oracle = min(oracles, key=lambda o: abs(_relative(verdict.S_bar, o.S_bar)))
    verdict.oracle, verdict.oracle_error = oracle.S_bar, oracle.error
    verdict.deviation = _relative(verdict.S_bar, oracle.S_bar)
    verdict.worst_unit = _worst_unit(moments, oracle)
    wrong = abs(verdict.deviation) > TOLERANCE
    if wrong and not ways:
        _with(verdict, "unresolved", f"the noise differs from that of the oracle ({verdict.deviation:+.1%})")
    elif oracle.error > RESOLVED:
        _with(verdict, "unresolved", f"relative error of the oracle: {oracle.error:.1%}")
    elif not wrong:
        _with(verdict, "right")
    else:
        status = "flagged" if verdict.warnings or moments.error > TOLERANCE else "wrong"
        _with(verdict, status, f"S̄ {verdict.S_bar:.4g} instead of {oracle.S_bar:.4g}: {verdict.deviation:+.1%}")


def _relative(value: float, true: float) -> float:
    if value == true:
        return 0.0
    return value / true - 1 if true else math.inf


def _worst_unit(moments: ammup.UpdateMoments, oracle: OracleMoments) -> float:
    """The largest error of a unit, relative to S̄."""
    errors = [abs(float(a) - b) for a, b in zip(moments.S, oracle.S, strict=True)]
    return max(errors) / oracle.S_bar if oracle.S_bar else math.inf


def _is_random(case: Case) -> bool:
    """Whether the outputs depend on the states of the global generators."""
    results = []
    with generators_restored():
        for seed in range(3, 9):
            problem = case.built()
            seed_everything(seed)
            results.append([leaf for leaf in tree_leaves(problem.outputs()) if isinstance(leaf, Tensor)])
    return not all(_same(results[0], other) for other in results[1:])


@dataclass(frozen=True, kw_only=True)
class Realization:
    """States of the generators at the start of each pass of a measurement, and the outputs of the last pass."""

    states: Generators
    outputs: Tensor | None = None

    def matches(self, case: Case, *, single_draws: bool) -> bool:
        """Whether the forward pass of the oracle draws the same noise, that is, whether the outputs agree.

        They can differ because a kernel may assign the random numbers to its elements in another order.
        """
        if self.outputs is None:
            return True
        expected = outputs_at_rest(case, self.states, single_draws=single_draws)
        return bool((self.outputs.to(expected) - expected).norm() < SAME_NOISE * expected.norm())


def _realization(case: Case) -> Realization:
    """The realization of the noise in a measurement, observed in a second measurement."""
    problem = case.built()
    states: list[Generators] = []
    outputs: list[Tensor] = []

    def recorded_forward(model: torch.nn.Module, inputs: Any) -> Any:
        with torch._C._DisableFuncTorch():  # otherwise the state is a tensor of the active transform
            states.append(generator_states())
        output = model(inputs) if problem.forward is None else problem.forward(model, inputs)
        outputs.append(_without_transforms(tree_leaves(output)[0]))
        return output

    call_ammup(problem, forward=recorded_forward)
    digests = [(state[0].numpy().tobytes(), repr(state[1]), state[2]) for state in states]
    chosen = digests.index(Counter(digests).most_common(1)[0][0])
    return Realization(states=states[chosen], outputs=outputs[chosen])


def _without_transforms(tensor: Tensor) -> Tensor:
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return tensor.detach().clone()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress the warnings of models."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def warm_up() -> None:
    """Run one small measurement, so that imports of ammup and torch on first use are not timed."""
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Tanh(), torch.nn.Linear(2, 2))
    ammup.measure_updates(model, torch.ones(2, 2), torch.tensor([0, 1]), loss="cross_entropy")
