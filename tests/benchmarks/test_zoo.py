"""The parts of benchmarks/zoo.py compared with closed forms, and some of its cases."""

import gzip
import json
import random
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from zoo_parts.case import Case, Problem, generator_states
from zoo_parts.collection import cases_of
from zoo_parts.cost import cpu_times, peak_memory, train
from zoo_parts.judge import Verdict, judge
from zoo_parts.oracle import true_moments
from zoo_parts.snapshot import described, differences
from zoo_parts.summary import summary
from zoo_parts.worker import Worker


def _linear() -> Problem:
    model = nn.Sequential(nn.Linear(3, 4, bias=False), nn.Linear(4, 2, bias=False))
    generator = torch.Generator().manual_seed(0)
    return Problem(
        model=model,
        inputs=torch.randn(5, 3, generator=generator),
        targets=torch.randn(5, 2, generator=generator),
        loss="mse",
    )


def test_the_oracle_agrees_with_the_closed_form_of_two_linear_layers() -> None:
    problem = Case(name="linear", group="", build=_linear).built()
    a, b = (p.detach().double() for p in problem.model.parameters())
    x, y = problem.inputs.double(), problem.targets.double()
    residual = (x @ a.T @ b.T - y) / y.numel()
    slope_a, slope_b = (residual @ b).T @ x, residual.T @ (x @ a.T)
    change = x @ slope_a.T
    expected = [float(change.square().mean()), float((change @ b.T + x @ a.T @ slope_b.T).square().mean())]
    found = true_moments(Case(name="linear", group="", build=_linear), ["0", "1"], generator_states())
    np.testing.assert_allclose(found.S, expected, rtol=1e-6)
    assert found.error < 1e-6


def test_the_oracle_uses_autograd_for_the_step_and_the_forward_pass_for_the_change() -> None:
    def rounded() -> Problem:
        problem = _linear()
        layers = list(problem.model)

        class StraightThrough(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return x + (x.round() - x).detach()

        model = nn.Sequential(layers[0], StraightThrough(), layers[1])
        return Problem(model=model, inputs=problem.inputs, targets=problem.targets, loss="mse")

    found = true_moments(Case(name="rounded", group="", build=rounded), ["0", "1"], generator_states())
    assert found.S[0] > 0  # the gradient of autograd is not zero
    assert found.S[1] == 0  # but rounded values do not change


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m[0].weight.data.add_(1e-7),
        lambda m: m[0].register_forward_hook(lambda *_: None),
        lambda m: m[0].bias.register_hook(lambda g: g),
        lambda m: setattr(m[0], "calls", 1),
        lambda m: m[1].running_mean.add_(1e-3),
        lambda m: m[0].weight.requires_grad_(False),
        lambda m: setattr(m[0].weight, "grad", torch.zeros_like(m[0].weight)),
        lambda m: setattr(m[0], "weight", nn.Parameter(m[0].weight.detach().clone())),
        lambda m: m.eval(),
        lambda m: m.double(),
        lambda m: torch.rand(1),
        lambda m: random.random(),
        lambda m: np.random.rand(),  # noqa: NPY002
        lambda m: m.stored["list"].append(1),
    ],
)
def test_a_snapshot_detects_every_change(change: Callable[[nn.Module], object]) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    model.stored = {"list": []}
    before = described(model)
    assert differences(before, described(model)) == []
    change(model)
    assert differences(before, described(model))


# One construct of each kind on which jvp alone is wrong, raises, crashes or hangs, and five plain ones.
CONSTRUCTS = (
    *("dropout", "batch_norm", "siamese", "counter_in_buffer", "noise_from_numpy"),
    *("detached_norm", "memory_in_place", "no_grad_inside", "parameter_hooks_clip", "post_accumulate_hooks"),
    *("straight_through_round", "embedding_max_norm", "layers_in_threads", "depends_on_gradient_mode"),
    *("layers_in_a_plain_list", "deepcopy_of_a_layer_in_forward", "embedding_sparse", "model_that_returns_its_loss"),
    *("old_style_function", "full_backward_hook_reads", "weight_norm_old", "lstm", "embedding_bag_sum"),
    *("spectral_norm_parametrization", "checkpoint", "checkpoint_reentrant", "complex_weight"),
    *("compiled_eager_backend", "compiled_in_place", "distributed_data_parallel", "functional_call_in_forward"),
    *("view_after_a_convolution", "cross_attention_with_latents", "outputs_without_a_class_axis_mse", "exported"),
    *("scripted", "gradient_in_forward", "momentum_target", "masked_convolution", "batch_norm_over_two_values"),
)


@pytest.mark.filterwarnings("ignore")  # deprecation warnings of torch
@pytest.mark.parametrize("name", CONSTRUCTS)
def test_constructs_are_measured_correctly(name: str) -> None:
    (case,) = (case for case in cases_of("constructs") if case.name == name)
    verdict = judge(case, lambda _stage: None)
    # The run-time type checks of the tests draw from Python's generator.
    damage = [name for name in verdict.damage if "Python generator" not in name]
    assert (verdict.status, damage) == ("right", []), verdict


def test_the_collection_has_at_least_230_constructs() -> None:
    assert len(cases_of("constructs")) >= 230


@pytest.mark.slow
def test_a_worker_that_hangs_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("zoo_parts.worker").worker.LIMITS, "starting", 0.0)
    (case,) = (case for case in cases_of("constructs") if case.name == "dropout")
    worker = Worker("constructs")
    record = worker.judge(case)
    assert (record["status"], worker.alive) == ("invalid", False)
    assert "dropout" in summary([record])


def test_losses_are_defined_as_the_library_documents() -> None:
    problem = _linear()
    outputs = problem.outputs()
    assert torch.isclose(problem.objective(outputs), F.mse_loss(outputs, problem.targets) / 2)


def _large() -> Problem:
    """A model whose 10^7 weights need 40 MB; its activations are small."""
    model = nn.Sequential(nn.Linear(2000, 2500), nn.Linear(2500, 2000))
    return Problem(model=model, inputs=torch.ones(2, 2000), targets=torch.zeros(2, 2000), loss="mse")


def test_costs_are_those_of_the_run() -> None:
    case = Case(name="large", group="", build=_large)

    def train_often(problem: Problem) -> None:
        for _ in range(20):
            train(problem)

    # Margins of a factor of 20 and more, because other processes may share the core.
    seconds, training_seconds = cpu_times(case, train_often)
    assert seconds > training_seconds > 0
    seconds, training_seconds = cpu_times(case, lambda _: None)
    assert seconds < training_seconds


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_peak_memory_includes_the_model_and_what_the_run_allocates() -> None:
    case = Case(name="large", group="", build=_large)
    weights = 40e6
    assert peak_memory(case, lambda _: None) == pytest.approx(weights, rel=0.3)
    assert peak_memory(case, train) == pytest.approx(2 * weights, rel=0.3)  # weights and gradients
    assert peak_memory(case, lambda problem: [p.double() for p in problem.model.parameters()]) > 2.5 * weights


def test_records_are_reported_without_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = Verdict(name="dropout", group="noise", status="wrong", message="twice too large", deviation=1.0)
    path = tmp_path / "records.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(record.as_record()).encode()))
    script = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "zoo.py"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["zoo.py", "constructs", "--json", str(path), "--report"])
        assert script["main"]() == 1
    assert "dropout [noise]: twice too large" in capsys.readouterr().out
