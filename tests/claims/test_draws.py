"""Measurements of the claims against the public functions, one draw at a time, and vector-Jacobian products."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

import ammup
from ammup import InputError
from ammup.claims import draws
from ammup.claims.draws import Setting, _unit_squares, moments, random_direction, step_of, unit_vjp
from ammup.measurement.moments import UpdateMoments
from ammup.measurement.specification import MeasurementSpec
from ammup.measurement.updates import measure_draws
from ammup.theory.diagonals import unit_squares
from ammup.theory.wide_limit import gradient_squares
from ammup.theory.wide_net import wide_net

DENSE = Setting(
    family="mlp",
    depths=(2, 3),
    inputs=("noise", 3, 6),
    arguments=(("width", 8), ("in_features", 6), ("out_features", 4), ("readout", "he")),
)
LINE = Setting(
    family="cnn",
    depths=(2,),
    inputs=("noise", 2, 4, 5),
    arguments=(("width", 4), ("dims", 1), ("in_channels", 4), ("out_channels", 3), ("kernel", 3), ("readout", "he")),
)
IMAGES = Setting(family="cnn", depths=(2, 4), inputs=("images", 3, 6), arguments=(("width", 4),),
                 loss="cross_entropy", part="total", classes=True)  # fmt: skip
SEEDS = range(5, 9)


@pytest.fixture(autouse=True)
def _isolated_cache_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(draws, "device", lambda: "cpu")
    with draws.isolated_cache():
        yield


# The cache


def test_a_memoized_function_is_called_once_until_the_cache_is_cleared() -> None:
    calls = []

    @draws.memoize
    def twice(x: int) -> int:
        calls.append(x)
        return 2 * x

    assert [twice(1), twice(1), twice(2)] == [2, 2, 4]
    assert calls == [1, 2]
    draws.clear_cache()
    assert twice(1) == 2
    assert calls == [1, 2, 1]


def test_no_result_crosses_the_borders_of_an_isolated_cache_even_after_an_error() -> None:
    calls = []

    @draws.memoize
    def called() -> int:
        calls.append(1)
        return len(calls)

    def fails() -> None:
        with draws.isolated_cache():
            assert called() == 2
            assert called() == 2
            raise ZeroDivisionError

    assert called() == 1
    with pytest.raises(ZeroDivisionError):
        fails()
    assert called() == 3


def test_equal_settings_share_their_draws_and_other_seeds_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    original = draws.build_model

    def build(factory, depth: int, seed: int, *device: str) -> torch.nn.Module:
        built.append(seed)
        return original(factory, depth, seed, *device)

    monkeypatch.setattr(draws, "build_model", build)
    first = DENSE.at(2).S_bar(SEEDS)
    n = len(built)
    np.testing.assert_array_equal(DENSE.with_arguments(width=8).at(2).S_bar(range(5, 9)), first)
    assert len(built) == n
    DENSE.at(2).S_bar(range(6, 10))
    assert len(built) > n


# Settings


def test_at_and_with_arguments_return_a_changed_copy() -> None:
    deeper = DENSE.at(7, 9)
    assert (deeper.depths, deeper.arguments) == ((7, 9), DENSE.arguments)
    wider = DENSE.with_arguments(width=16, activation="gelu")
    assert dict(wider.arguments) == {**dict(DENSE.arguments), "width": 16, "activation": "gelu"}
    assert wider.depths == DENSE.depths == (2, 3)
    assert dict(DENSE.arguments)["width"] == 8
    assert DENSE.with_arguments(width=8) == DENSE
    assert hash(DENSE.with_arguments(width=8)) == hash(DENSE)


def test_the_factory_is_the_public_family_with_the_arguments_of_the_setting() -> None:
    net = DENSE.with_arguments(width=5).factory(4, seed=3)
    expected = ammup.mlp(4, width=5, in_features=6, out_features=4, readout="he", seed=3)
    assert type(net) is type(expected)
    for name, weight in expected.state_dict().items():
        assert torch.equal(net.state_dict()[name], weight)


def test_a_kernel_given_by_its_offsets_has_as_many_taps() -> None:
    net = IMAGES.with_arguments(kernel=((0, 0), (1, 0), (0, 1))).factory(2, seed=0)
    direct = ammup.cnn(2, width=4, kernel=[(0, 0), (1, 0), (0, 1)], seed=0)
    assert net.state_dict()["layers.0.weight"].shape == direct.state_dict()["layers.0.weight"].shape
    assert net.state_dict()["layers.0.weight"][0, 0].numel() == 3


def test_ones_are_one_sample_and_noise_does_not_depend_on_the_global_generator() -> None:
    ones, classes = replace(DENSE, inputs=("ones", 6)).batch
    assert torch.equal(ones, torch.ones(1, 6))
    assert classes is None
    first, _ = DENSE.batch
    draws._batch.cache_clear()
    torch.manual_seed(12345)
    again, _ = DENSE.batch
    assert first.shape == (3, 6)
    assert torch.equal(first, again)
    other, _ = replace(DENSE, inputs=("noise", 6, 3)).batch
    assert not torch.equal(first.flatten(), other.flatten())


def test_images_have_their_classes_as_targets_only_if_classes_is_set() -> None:
    inputs, classes = IMAGES.batch
    expected, labels = ammup.load_data("synthetic", image_size=6).batch(3)
    assert torch.equal(inputs, expected)
    assert torch.equal(classes, labels)
    assert replace(IMAGES, classes=False).batch[1] is None


# Measurements


def _one_by_one(setting: Setting, depth: int) -> list[UpdateMoments]:
    inputs, targets = setting.batch
    objective = {name: getattr(setting, name) for name in ("loss", "part", "label_draws")}
    spec = MeasurementSpec(inputs=inputs, targets=targets, **objective)
    results = []
    for seed in SEEDS:
        model, stream = setting.factory(depth, seed=seed), (depth, seed)
        results += measure_draws([model], spec, streams=[stream])
    return results


@pytest.mark.parametrize("setting", [DENSE, IMAGES, replace(DENSE, part="total", label_draws=2)])
def test_s_bar_has_one_row_per_seed_and_one_column_per_depth(setting: Setting) -> None:
    rows = setting.S_bar(SEEDS)
    assert rows.shape == (len(SEEDS), len(setting.depths))
    for column, depth in zip(rows.T, setting.depths, strict=True):
        alone = _one_by_one(setting, depth)
        np.testing.assert_allclose(column, [m.S_bar for m in alone], rtol=1e-4)
        np.testing.assert_allclose(setting.at(depth).S(SEEDS), [m.S for m in alone], rtol=1e-4)


def test_s_bar_is_that_of_the_public_function_with_the_same_seeds() -> None:
    inputs, classes = IMAGES.batch
    for column, depth in zip(IMAGES.S_bar(SEEDS).T, IMAGES.depths, strict=True):
        nets = [ammup.cnn(depth, width=4, seed=seed) for seed in SEEDS]
        public = [ammup.measure_updates(net, inputs, classes, loss="cross_entropy").S_bar for net in nets]
        np.testing.assert_allclose(column, public, rtol=1e-4)


def test_draws_do_not_depend_on_the_stack_size(monkeypatch: pytest.MonkeyPatch) -> None:
    together = DENSE.S_bar(SEEDS)
    draws.clear_cache()
    monkeypatch.setattr(draws, "stack_size", lambda step: 3)
    np.testing.assert_allclose(DENSE.S_bar(SEEDS), together, rtol=1e-5)
    np.testing.assert_allclose(DENSE.S_bar(SEEDS[1:3]), together[1:3], rtol=1e-5)


def test_s_of_several_depths_is_rejected() -> None:
    with pytest.raises(ValueError, match="unpack"):
        DENSE.S(SEEDS)


@pytest.mark.parametrize(("kernel", "taps"), [(1, 1), (3, 3), (5, 5), (((0,), (2,)), 2)])
def test_a_learning_rate_per_tap_divides_s_by_the_squared_kernel_cardinality(kernel, taps: int) -> None:
    plain = LINE.with_arguments(kernel=kernel)
    per_tap = replace(plain, per_tap_lr=True)
    np.testing.assert_allclose(per_tap.S(SEEDS), plain.S(SEEDS) / taps**2, rtol=1e-4)


def test_a_learning_rate_per_tap_does_not_change_dense_layers() -> None:
    np.testing.assert_array_equal(replace(DENSE, per_tap_lr=True).S_bar(SEEDS), DENSE.S_bar(SEEDS))


NARROW = replace(DENSE, depths=(1, 4), inputs=("ones", 6)).with_arguments(width=12, out_features=5)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_the_squared_gradients_of_a_narrow_relu_net_have_exactly_the_expectation_of_the_law(depth: int) -> None:
    results = moments(NARROW, depth, range(64))
    expected = gradient_squares(*NARROW.law_arguments(depth))
    assert len(expected) == depth
    names = [f"layers.{i}.weight" for i in range(depth)]
    assert list(results[0].gradient_squares)[:depth] == names  # the columns of the control variate
    shares = np.array([[m.gradient_squares[name] for name in names] for m in results]) / expected
    control = shares.mean(axis=1)
    assert control.mean() == pytest.approx(1, abs=4 * control.std(ddof=1) / 8)
    assert control.std(ddof=1) / 8 < 0.25  # otherwise the previous line would test nothing
    np.testing.assert_array_less(abs(shares.mean(axis=0) - 1), 4 * shares.std(axis=0, ddof=1) / 8)


SMALL_RESIDUAL = Setting(family="resnet", depths=(4,), inputs=("noise", 2, 3, 3, 3), arguments=(("width", 8),))


@pytest.mark.parametrize("padding", ["circular", "zero"])
@pytest.mark.parametrize("family", ["cnn", "resnet"])
def test_the_squares_of_narrow_units_have_exactly_the_expectation_of_the_law(family: str, padding: str) -> None:
    setting = replace(SMALL_RESIDUAL, family=family).with_arguments(padding=padding)
    squares = _unit_squares(setting, 4, range(200))
    expected = unit_squares(wide_net(setting.architecture(4)), setting.batch[0].double().numpy())
    assert squares.shape == (200, 4)
    error = squares.std(axis=0, ddof=1) / 200**0.5
    assert (error < 0.1 * expected).all()  # a factor of the kernel cardinality or the number of blocks would be seen
    np.testing.assert_array_less(abs(squares.mean(axis=0) - expected), 4 * error)


@pytest.mark.parametrize("family", ["cnn", "resnet"])
def test_a_controlled_s_bar_of_convolutions_has_the_same_mean_and_less_scatter(family: str) -> None:
    setting, seeds = replace(SMALL_RESIDUAL, family=family).with_arguments(width=16), range(128)
    plain, adjusted = setting.S_bar(seeds), setting.S_bar_controlled(seeds)
    difference = adjusted - plain
    np.testing.assert_array_less(abs(difference.mean(axis=0)), 4 * difference.std(axis=0, ddof=1) / 128**0.5)
    np.testing.assert_array_less(adjusted.var(axis=0), 0.8 * plain.var(axis=0))


def test_a_controlled_s_bar_needs_an_exact_expectation() -> None:
    with pytest.raises(InputError, match="gelu"):
        SMALL_RESIDUAL.with_arguments(activation="gelu").S_bar_controlled(range(4))
    with pytest.raises(InputError, match="use S_bar"):
        NARROW.with_arguments(activation="gelu").S_bar_controlled(range(4))


def test_a_controlled_s_bar_has_the_same_mean_and_less_scatter() -> None:
    seeds = range(64)
    plain, adjusted = NARROW.S_bar(seeds), NARROW.S_bar_controlled(seeds)
    assert adjusted.shape == plain.shape == (64, 2)
    difference = adjusted - plain
    np.testing.assert_array_less(abs(difference.mean(axis=0)), 4 * difference.std(axis=0, ddof=1) / 8)
    np.testing.assert_array_less(adjusted.var(axis=0), 0.5 * plain.var(axis=0))


def test_the_law_of_a_wide_net_is_close_to_its_measured_learning_rate_and_cached() -> None:
    wide = replace(DENSE, depths=(2, 4), inputs=("ones", 64)).with_arguments(width=64, in_features=64, out_features=64)
    measured = wide.S_bar(range(24)).mean(axis=0) ** -0.5
    np.testing.assert_allclose(wide.law(), measured, rtol=0.2)
    assert wide.law() is wide.at(2, 4).law()


# Directions and vector-Jacobian products


def test_a_step_has_one_depth_and_the_weights_of_its_seed() -> None:
    step = step_of(DENSE.at(2), 7)
    net = DENSE.factory(2, seed=7)
    for name, weight in step.weights.items():
        assert torch.equal(weight, net.state_dict()[name])
    with pytest.raises(ValueError, match="unpack"):
        step_of(DENSE, 7)


def test_a_random_direction_depends_on_its_key_alone_and_has_the_named_weights() -> None:
    step = step_of(DENSE.at(2), 0)
    one, same, other = (random_direction(step, ["layers.1.weight"], *key) for key in ((1, 2), (1, 2), (2, 1)))
    assert set(one) == {"layers.1.weight"}
    assert one["layers.1.weight"].shape == step.weights["layers.1.weight"].shape
    assert torch.equal(one["layers.1.weight"], same["layers.1.weight"])
    assert not torch.equal(one["layers.1.weight"], other["layers.1.weight"])


@pytest.mark.parametrize(("setting", "unit"), [(DENSE.at(3), 0), (DENSE.at(3), -1), (LINE, 1), (IMAGES.at(4), 2)])
def test_the_vector_jacobian_product_is_adjoint_to_the_tangents(setting: Setting, unit: int) -> None:
    step = step_of(setting, 1)
    direction = random_direction(step, list(step.weights), "d")
    tangent = step.unit_tangents(direction)[unit]
    vector = torch.randn(tangent.shape, generator=torch.Generator().manual_seed(0))
    gradient = unit_vjp(step, unit, vector)
    assert set(gradient) == set(step.weights)
    inner = sum(float((direction[name].double() * gradient[name].double()).sum()) for name in direction)
    assert inner == pytest.approx(float((vector.double() * tangent.double()).sum()), rel=1e-4, abs=1e-5)
    assert abs(inner) > 0.01


# Learning-rate factors of weights


def _updates(net: torch.nn.Module, factors: dict[str, float] | None = None) -> UpdateMoments:
    inputs = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    return ammup.measure_updates(net, inputs, torch.tensor([0, 3, 1]), loss="mse", lr_factors=factors)


def _mlp(depth: int = 3, **given) -> torch.nn.Module:
    return ammup.mlp(depth, width=8, in_features=6, out_features=4, readout="he", seed=2, **given)


@pytest.mark.parametrize(
    "factors",
    [{"layers.0": 1.0}, {"layers.9.weight": 0.5}, {"": 1.0}, {"layers.0.weight": -1.0},
     {"layers.0.weight": float("nan")}, {"layers.0.weight": float("inf")}, {"layers.0.weight": 1.0, "x": 1.0}],
)  # fmt: skip
def test_a_factor_that_is_no_learning_rate_or_of_no_weight_is_refused(factors: dict[str, float]) -> None:
    with pytest.raises(InputError, match=r"lr_factors=.*(finite and at least 0|names of trainable weights)"):
        _updates(_mlp(), factors)


def test_a_factor_of_a_frozen_weight_is_rejected() -> None:
    net = _mlp()
    net.get_parameter("layers.1.weight").requires_grad_(False)
    with pytest.raises(InputError, match=r"layers\.1\.weight.*names of trainable weights"):
        _updates(net, {"layers.1.weight": 0.5})


def test_factors_of_zero_for_all_weights_are_rejected() -> None:
    net = _mlp()
    with pytest.raises(InputError, match="one step moves no depth unit"):
        _updates(net, {name: 0.0 for name, _ in net.named_parameters()})


@pytest.mark.parametrize("stacked", [True, False])
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_factor_of_zero_is_equivalent_to_freezing_the_weight(
    layer: int, stacked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not stacked:
        monkeypatch.setattr("ammup.measurement.jvp.stack_size", lambda step: 1)
    name = f"layers.{layer}.weight"
    frozen = _mlp()
    frozen.get_parameter(name).requires_grad_(False)
    complete, without = _updates(_mlp()).S, _updates(_mlp(), {name: 0.0}).S
    np.testing.assert_allclose(without, _updates(frozen).S, rtol=1e-5)
    np.testing.assert_allclose(without[:layer], complete[:layer], rtol=1e-5)
    assert not np.any(np.isclose(without[layer:], complete[layer:], rtol=1e-3))
    if layer == 0:
        assert without[0] == 0


def test_a_factor_for_all_weights_scales_the_step_and_not_the_gradient() -> None:
    net = _mlp()
    plain, scaled = _updates(net), _updates(net, {name: 3.0 for name, _ in net.named_parameters()})
    np.testing.assert_allclose(scaled.S, 9 * plain.S, rtol=1e-5)
    assert scaled.gradient_squares == pytest.approx(dict(plain.gradient_squares))
    ones = _updates(net, {name: 1.0 for name, _ in net.named_parameters()})
    np.testing.assert_array_equal(ones.S, plain.S)


def test_a_factor_of_the_first_layer_scales_the_first_unit() -> None:
    plain, scaled = _updates(_mlp()), _updates(_mlp(), {"layers.0.weight": 0.5})
    assert scaled.S[0] == pytest.approx(plain.S[0] / 4, rel=1e-5)
