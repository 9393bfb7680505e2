"""Depth laws: what factories may do, how draws are kept apart, and when a closed law is named."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import ammup
from ammup import InputError
from ammup.measurement.specification import MeasurementSpec
from ammup.models.factory import build_model
from ammup.stats.power_law import fit_maximal_lr

ONES = torch.ones(1, 16)
SMALL = partial(ammup.mlp, width=16, in_features=16, out_features=16, readout="he")


def _user_factory(depth: int) -> nn.Module:
    """Draws from torch's global generator, as most user code does."""
    layers = [module for _ in range(depth) for module in (nn.Linear(16, 16), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(16, 3))


def test_table_curve_and_fit_belong_together() -> None:
    law = ammup.depth_exponent(SMALL, [8, 2, 4], inputs=ONES, part="label", seeds=[3, 1, 9])
    assert list(law.table.columns) == ["depth", "seed", "S_bar", "lr_star"]
    assert law.table["depth"].tolist() == [2, 2, 2, 4, 4, 4, 8, 8, 8]
    assert law.table["seed"].tolist() == [3, 1, 9] * 3
    np.testing.assert_allclose(law.table["lr_star"], law.table["S_bar"] ** -0.5)
    means = law.table.groupby("depth")["S_bar"].mean()
    np.testing.assert_allclose(law.curve["lr_star"], means**-0.5)
    assert law.power_law == fit_maximal_lr({d: g["S_bar"] for d, g in law.table.groupby("depth")})
    assert {depth: len(S) for depth, S in law.S.items()} == {2: 2, 4: 4, 8: 8} == dict(law.units)
    for depth, S in law.S.items():
        assert S.mean() == pytest.approx(means[depth])
    slopes = law.curve["local_slope"]
    assert np.isnan(slopes[0])
    assert slopes[1] == pytest.approx(np.log2(law.curve["lr_star"][1] / law.curve["lr_star"][0]))


def test_each_draw_is_that_of_measure_updates_for_its_stream() -> None:
    law = ammup.depth_exponent(SMALL, [2, 4], inputs=ONES, targets=torch.tensor([1]), loss="cross_entropy", seeds=3)
    for row in law.table.itertuples():
        moments = ammup.measure_updates(SMALL(row.depth, seed=row.seed), ONES, torch.tensor([1]), loss="cross_entropy")
        assert row.S_bar == pytest.approx(moments.S_bar, rel=1e-5)


def test_results_do_not_depend_on_global_state_or_on_other_depths() -> None:
    torch.manual_seed(0)
    first = ammup.depth_exponent(_user_factory, [2, 4], inputs=ONES, seeds=2).table
    torch.manual_seed(1)
    second = ammup.depth_exponent(_user_factory, [8, 4], inputs=ONES, seeds=2).table
    at_4 = [table[table["depth"] == 4].reset_index(drop=True) for table in (first, second)]
    assert at_4[0].equals(at_4[1])
    assert len(set(first["S_bar"])) == 4


def test_factories_without_seed_are_seeded_and_leave_no_trace() -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    a, b, c = (build_model(_user_factory, 2, seed)[0].weight for seed in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(torch.get_rng_state(), state)


def test_seeds_in_blocks_equal_seeds_at_once(monkeypatch) -> None:
    from ammup.measurement import jvp

    whole = ammup.depth_exponent(SMALL, [2, 4], inputs=ONES, seeds=5).table
    monkeypatch.setattr(jvp, "STACKED_BYTES", 2 * 5 * (4 * 16 * 16 + 16 * 16) * 4)
    parts = ammup.depth_exponent(SMALL, [2, 4], inputs=ONES, seeds=5).table
    np.testing.assert_allclose(whole["S_bar"], parts["S_bar"], rtol=1e-5)


@pytest.mark.parametrize(
    ("factory", "arguments", "known"),
    [
        (SMALL, {"part": "label"}, True),
        (partial(ammup.resnet, dims=0, width=16, branch=1, in_channels=16), {"part": "label"}, True),
        (SMALL, {"part": "total"}, False),  # as many outputs as channels
        (partial(SMALL, out_features=4), {"part": "total"}, True),
        (SMALL, {"part": "label", "loss": "cross_entropy"}, True),
        (SMALL, {"part": "label", "inputs": torch.ones(2, 16)}, True),
        (SMALL, {"part": "label", "inputs": torch.ones(7000, 16)}, False),
        (partial(ammup.cnn, width=8, head="field"), {"part": "label", "inputs": torch.ones(2, 3, 4, 4)}, True),
        (partial(ammup.cnn, width=8, head="field", dims=1), {"part": "label", "inputs": torch.ones(2, 3, 4, 4)}, True),
        (partial(ammup.cnn, width=8), {"part": "label", "inputs": torch.ones(2, 3, 4, 4)}, True),
        (SMALL, {"part": "label", "targets": torch.ones(1, 16)}, False),
        (partial(ammup.resnet, dims=0, width=16, branch=2, in_channels=16), {"part": "label"}, True),
        (partial(ammup.resnet, dims=0, width=16, branch=1, in_channels=16, dropout=0.1), {"part": "label"}, False),
        (_user_factory, {"part": "label"}, False),
    ],
)  # fmt: skip
def test_where_a_closed_law_is_named(factory, arguments: dict, known: bool) -> None:
    law = ammup.depth_exponent(factory, [2, 4], **{"inputs": ONES, "seeds": 1, **arguments})
    assert (law.reference is not None) == known


def test_reference_is_the_slope_of_the_law_at_these_depths() -> None:
    depths = [2, 4, 8]
    inputs = 3 * torch.ones(1, 48)
    factory = partial(ammup.mlp, width=16, in_features=48, out_features=5, activation="gelu")
    law = ammup.depth_exponent(factory, depths, inputs=inputs, part="label", seeds=1)
    expected = ammup.finite_depth_law(
        depths,
        family="mlp",
        activation="gelu",
        width=16,
        in_features=48,
        out_features=5,
        readout="mean-field",
        input_power=9.0,
    )
    assert law.reference == pytest.approx(ammup.fit_power_law(depths, expected).slope)


def test_a_factory_without_seed_that_draws_nothing_is_one_draw() -> None:
    law = ammup.depth_exponent(_seeds_itself, [2, 4], inputs=ONES, seeds=5)
    assert law.table["seed"].tolist() == [0, 0]
    assert np.isnan(law.power_law.slope_ci).all()


def _returns_none(depth: int) -> None:
    return None


def _ignores_depth(depth: int) -> nn.Module:
    return _user_factory(3)


def _ignores_seed(depth: int, seed: int) -> nn.Module:
    return SMALL(depth, seed=0)


def _seeds_itself(depth: int) -> nn.Module:
    torch.manual_seed(0)
    return _user_factory(depth)


def _fails(depth: int, seed: int) -> nn.Module:
    raise RuntimeError("no such depth")


@pytest.mark.parametrize(
    ("factory", "depths", "arguments", "message"),
    [
        (SMALL, [4], {}, "at least 2"),
        (SMALL, [4, 4], {}, "contains a repeated depth"),
        (SMALL, [0, 4], {}, "at least 1"),
        (SMALL, [2, 4], {"seeds": 0}, "seeds=0"),
        (SMALL, [2, 4], {"seeds": [1, 1]}, "distinct seeds"),
        (SMALL, [2, 4], {"device": "abacus"}, "device 'abacus'"),
        (SMALL, [2, 4], {"level": 2.0}, "confidence level"),
        (partial(SMALL, width=0), [2, 4], {}, "width=0"),
        (partial(SMALL, wdith=8), [2, 4], {}, "failed at depth 2: TypeError.*wdith"),
        (_returns_none, [2, 4], {}, "returned NoneType at depth 2"),
        (_ignores_depth, [2, 4], {}, "ignores its depth: depths 2 and 4 both gave 3"),
        (_ignores_seed, [2, 4], {}, "ignores its seed: seeds 0 and 1 gave the same weights at depth 2"),
        (_fails, [2, 4], {}, "failed at depth 2: RuntimeError: no such depth"),
    ],
)
def test_unusable_requests_are_refused(factory, depths, arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ammup.depth_exponent(factory, depths, **{"inputs": ONES, "seeds": 2, **arguments})


class _Doubled(nn.Module):
    """x + x, which jvp differentiates right, or with half of it detached, which it does not see."""

    def __init__(self, *, detached: bool) -> None:
        super().__init__()
        self.detached = detached

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + (x.detach() if self.detached else x)


@pytest.mark.parametrize("detached", [False, True])
def test_unknown_modules_are_measured_both_ways_once_and_by_jvp_where_that_agrees(detached: bool, monkeypatch) -> None:
    from ammup.measurement import updates

    def net(depth: int) -> nn.Module:
        layers = [part for _ in range(depth) for part in (nn.Linear(6, 6), _Doubled(detached=detached), nn.Tanh())]
        return nn.Sequential(*layers, nn.Linear(6, 2))

    methods: list[str] = []
    measure = updates.measure_draws

    def noted(models: list, spec: MeasurementSpec, *, streams: list) -> list:
        found = measure(models=models, spec=spec, streams=streams)
        methods.extend(moments.method for moments in found)
        return found

    monkeypatch.setattr("ammup.measurement.depth_exponent.measure_draws", noted)
    inputs = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    law = ammup.depth_exponent(net, [2, 3], inputs=inputs, seeds=3)
    assert methods == ["difference" if detached else "jvp"] * 6
    for row in law.table.itertuples():
        model, spec = build_model(net, row.depth, row.seed), MeasurementSpec(inputs=inputs, method="difference")
        (exact,) = measure(models=[model], spec=spec, streams=[(row.depth, row.seed)])
        assert row.S_bar == pytest.approx(exact.S_bar, rel=1e-4)


def test_the_law_of_the_sharpness_is_fitted_to_geometric_means_of_the_edge() -> None:
    net = partial(ammup.mlp, width=8, in_features=8)
    inputs, labels = torch.eye(4, 8), torch.arange(4)
    options = {"inputs": inputs, "targets": labels, "loss": "cross_entropy", "measure": "sharpness"}
    law = ammup.depth_exponent(net, [2, 4, 6], seeds=3, **options)
    edges = {}
    for depth in (2, 4, 6):
        found = [
            ammup.measure_sharpness(net(depth, seed=seed), inputs, labels, loss="cross_entropy") for seed in range(3)
        ]
        edges[depth] = np.array([sharpness.edge for sharpness in found])
    measured = law.table.pivot(index="depth", columns="seed", values="lr_star").to_numpy()
    np.testing.assert_allclose(measured, list(edges.values()), rtol=1e-3)
    np.testing.assert_allclose(law.table["lr_star"] * law.table["sharpness"], 2)
    means = [np.exp(np.log(values).mean()) for values in edges.values()]
    np.testing.assert_allclose(law.curve["lr_star"], means, rtol=1e-3)
    slope = np.polyfit(np.log([2, 4, 6]), np.log(means), 1)[0]
    assert law.power_law.slope == pytest.approx(slope, abs=1e-3)
    assert (law.draws, law.units, law.measure, law.reference) == (3, {2: 2, 4: 4, 6: 6}, "sharpness", None)
    half = ammup.depth_exponent(net, [2, 4, 6], seeds=[0], **options)
    rest = ammup.depth_exponent(net, [2, 4, 6], seeds=[1, 2], **options)
    assert half.joined(rest).power_law.slope == pytest.approx(law.power_law.slope)
    momentum = lambda params, lr: torch.optim.SGD(params, lr, momentum=0.5)  # noqa: E731
    fast = ammup.depth_exponent(net, [2, 4, 6], seeds=3, optimizer=momentum, **options)
    np.testing.assert_allclose(fast.table["lr_star"], 1.5 * law.table["lr_star"], rtol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"measure": "curvature"}, "unknown measure='curvature'; expected one of: updates, sharpness"),
        ({"measure": "sharpness", "part": "label"}, "part='label' of the sharpness is not defined"),
    ],
)
def test_unknown_measures_are_rejected(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ammup.depth_exponent(partial(ammup.mlp, width=4, in_features=4), [1, 2], inputs=torch.ones(1, 4), **options)
