"""Existing param groups split by a rule, trained by real optimizers and compared with one optimizer per parameter."""

import copy
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import ammup
from ammup import InputError
from ammup.measurement.param_groups import lr_factors

X, Y = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64), torch.arange(4)
RULES = ("global", "fan-in", "per-unit")
BATCH = {"inputs": X, "targets": Y, "loss": "cross_entropy"}


def _net() -> nn.Module:
    return ammup.resnet(3, width=6, batchnorm=True).double()


def _decay_and_no_decay(net: nn.Module, **options: float) -> list[dict]:
    """The usual recipe: no weight decay for norms and biases."""
    matrices = [p for p in net.parameters() if p.ndim > 1]
    vectors = [p for p in net.parameters() if p.ndim == 1]
    decay = {"params": matrices, "weight_decay": 0.3, "betas": (0.8, 0.95), **options}
    return [decay, {"params": vectors, "weight_decay": 0.0, **options}]


def _step(net: nn.Module, *optimizers: torch.optim.Optimizer) -> None:
    for optimizer in optimizers:
        optimizer.zero_grad()
    F.cross_entropy(net(X), Y).backward()
    for optimizer in optimizers:
        optimizer.step()


@pytest.mark.parametrize("rule", RULES)
def test_adamw_with_split_groups_trains_like_one_adamw_for_each_parameter(rule: str) -> None:
    net = _net()
    groups = ammup.param_groups(net, 0.02, rule=rule, tuned=rule, groups=_decay_and_no_decay(net), **BATCH)
    expected = copy.deepcopy(net)
    rates = lr_factors(net, ammup.param_groups(net, 0.02, rule=rule, tuned=rule, **BATCH))
    assert lr_factors(net, groups) == rates
    assert len(set(rates.values())) == {"global": 1, "fan-in": 2, "per-unit": 4}[rule]
    alone = [
        torch.optim.AdamW(
            [p], rates[name], weight_decay=0.3 * (p.ndim > 1), betas=(0.8, 0.95) if p.ndim > 1 else (0.9, 0.999)
        )
        for name, p in expected.named_parameters()
    ]
    optimizer = torch.optim.AdamW(groups)
    for _ in range(3):
        _step(net, optimizer)
        _step(expected, *alone)
    for p, q in zip(net.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("rule", RULES)
def test_every_parameter_of_a_group_is_in_its_parts(rule: str) -> None:
    net = _net()
    existing = _decay_and_no_decay(net)
    groups = ammup.param_groups(net, 0.1, rule=rule, tuned=rule, groups=existing, **BATCH)
    for index, before in enumerate(existing):
        parts = [group for group in groups if group["name"].split(":")[0] == str(index)]
        assert {id(p) for part in parts for p in part["params"]} == {id(p) for p in before["params"]}
        assert sum(len(part["params"]) for part in parts) == len(before["params"])
        for part in parts:
            options = {key: value for key, value in part.items() if key not in ("params", "lr", "name")}
            assert options == {key: value for key, value in before.items() if key != "params"}
    assert len({group["name"] for group in groups}) == len(groups)
    assert [set(group) for group in existing] == [{"params", "weight_decay", "betas"}, {"params", "weight_decay"}]
    if rule == "global":
        assert [group["name"] for group in groups] == ["0", "1"]


def test_the_learning_rates_of_existing_groups_keep_their_ratios() -> None:
    net = _net()
    existing = _decay_and_no_decay(net, lr=0.4)
    existing[1]["lr"] = 0.1
    existing[1]["name"] = "norms"
    optimizer = torch.optim.SGD(existing, momentum=0.9)
    for given in (existing, optimizer, optimizer.param_groups, iter(existing)):
        groups = ammup.param_groups(net, 0.9, rule="fan-in", tuned="fan-in", groups=given)
        found = [(group["name"], group["lr"], group["weight_decay"]) for group in groups]
        assert found == [
            ("0: k=9", pytest.approx(0.1), 0.3),
            ("0: k=1", pytest.approx(0.9), 0.3),
            ("norms: k=1", pytest.approx(0.9 / 4), 0.0),
        ]
    assert all(group["momentum"] == 0.9 for group in ammup.param_groups(net, 0.9, groups=optimizer))


def test_one_step_of_sgd_with_split_groups_is_s_at_their_learning_rates() -> None:
    net = _net()
    existing = _decay_and_no_decay(net, lr=0.4)
    existing[1]["lr"] = 0.1
    for group in existing:
        group["weight_decay"] = 0.0
        group.pop("betas", None)
    groups = ammup.param_groups(net, 1e-7, rule="fan-in", tuned="fan-in", groups=existing)
    S = ammup.measure_updates(net, X, Y, loss="cross_entropy", lr_factors=lr_factors(net, groups)).S
    before = _pre_activations(net)
    _step(net, torch.optim.SGD(groups))
    after = _pre_activations(net)
    np.testing.assert_allclose(
        S, [float((a - b).square().mean()) for a, b in zip(after, before, strict=True)], rtol=1e-4
    )


def test_a_learning_rate_tuned_by_another_rule_is_converted_for_existing_groups() -> None:
    net = _net()
    existing = _decay_and_no_decay(net, lr=0.4)
    existing[1]["lr"] = 0.1

    def S_bar(groups: list[dict]) -> float:
        return ammup.measure_updates(net, X, Y, loss="cross_entropy", lr_factors=lr_factors(net, groups)).S_bar

    before = ammup.param_groups(net, 0.2, groups=existing)
    for given in (existing, iter(existing)):
        after = ammup.param_groups(net, 0.2, rule="fan-in", tuned="global", groups=given, **BATCH)
        assert S_bar(after) == pytest.approx(S_bar(before), rel=1e-6)
        assert [group["lr"] / after[1]["lr"] for group in after] == pytest.approx([1 / 9, 1, 1 / 4])


def _pre_activations(net: nn.Module) -> list[Tensor]:
    twin, found = copy.deepcopy(net), []
    for unit in ammup.depth_units(net):
        twin.get_submodule(unit).register_forward_hook(lambda m, a, z: found.append(z.detach()))
    twin(X)
    return found


def test_what_schedulers_store_is_scaled_with_the_learning_rate() -> None:
    net = _net()
    optimizer = torch.optim.SGD(_decay_and_no_decay(net, lr=0.4))
    torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=[0.8, 0.2], total_steps=10)
    groups = ammup.param_groups(net, 0.1, rule="fan-in", tuned="fan-in", groups=optimizer)
    for group in groups:
        before = optimizer.param_groups[int(group["name"][0])]
        for key in ("initial_lr", "max_lr", "min_lr"):
            assert group[key] / before[key] == pytest.approx(group["lr"] / before["lr"])
        assert group["max_momentum"] == before["max_momentum"]
    first = ammup.param_groups(net, 0.1, groups=_decay_and_no_decay(net, lr=0.4, initial_lr=0.8))[0]
    schedule = torch.optim.lr_scheduler.LambdaLR(torch.optim.SGD([first]), lambda step: 1.0)
    assert schedule.base_lrs == pytest.approx([0.2])


def test_names_that_an_optimizer_stored_stay_with_their_parameters() -> None:
    net = _net()
    named = [item for item in net.named_parameters() if item[1].ndim > 1]
    for given in ([{"params": named}], torch.optim.AdamW(named)):
        groups = ammup.param_groups(net, 0.1, rule="fan-in", tuned="fan-in", groups=given)
        assert len(groups) == 2
        found = [item for group in groups for item in zip(group["param_names"], group["params"], strict=True)]
        assert sorted(name for name, _ in found) == sorted(name for name, _ in named)
        assert all(net.get_parameter(name) is p for name, p in found)
        torch.optim.AdamW([{**group, "params": list(group["params"])} for group in groups])


def _stream(net: nn.Module) -> Iterator[nn.Parameter]:
    yield from net.parameters()


@pytest.mark.parametrize("rule", RULES)
def test_frozen_parameters_stay_in_their_group_and_others_stay_out(rule: str) -> None:
    net = _net()
    frozen, outside = net.blocks[0], net.readout
    for p in frozen.parameters():
        p.requires_grad_(False)
    left_out = {id(p) for p in outside.parameters()}
    members = [p for p in net.parameters() if id(p) not in left_out]
    groups = ammup.param_groups(net, 0.1, rule=rule, tuned=rule, groups=[{"params": (p for p in members)}], **BATCH)
    assert sorted(id(p) for group in groups for p in group["params"]) == sorted(map(id, members))
    if rule == "per-unit":
        # S̄ of the trained weights alone is that of the common learning rate.
        only = {name: 0.1 * (id(p) not in left_out) for name, p in net.named_parameters() if p.requires_grad}
        S_bar = [
            ammup.measure_updates(net, X, Y, loss="cross_entropy", lr_factors=factors).S_bar
            for factors in (only, lr_factors(net, groups))
        ]
        assert S_bar[1] == pytest.approx(S_bar[0], rel=1e-6)
    whole = ammup.param_groups(net, 0.1, groups=[{"params": _stream(net)}])
    assert len(whole[0]["params"]) == len(list(net.parameters()))


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([], "groups= is empty; give an optimizer"),
        ([{"lr": 0.1}], r"groups\[0\] is a dict; expected a dict with 'params'"),
        ([{"params": ["a"]}], r"groups\[0\]\['params'\] contains a str; expected parameters"),
        ([{"params": nn.Parameter(torch.ones(2))}], r"contains a tensor \(2,\) that is not a parameter of the model"),
        (torch.optim.SGD([nn.Parameter(torch.ones(2))]), r"contains a tensor \(2,\) that is not a parameter"),
    ],
)
def test_groups_that_cannot_be_used_are_rejected(groups: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ammup.param_groups(_net(), 0.1, groups=groups)


def test_learning_rates_without_ratios_are_rejected() -> None:
    net = _net()
    both = _decay_and_no_decay(net)
    for rates, message in (
        ((0.1, None), "group '1' of groups= has no 'lr', but another one has; give it to all or to none"),
        (
            (0.0, 0.1),
            r"the learning rates of groups= are \[0.0, 0.1\]; expected finite ones, the first of them positive",
        ),
        ((0.1, float("nan")), "expected finite ones"),
        ((0.1, -0.1), "expected finite ones"),
    ):
        groups = [{**group, **({} if lr is None else {"lr": lr})} for group, lr in zip(both, rates, strict=True)]
        with pytest.raises(InputError, match=message):
            ammup.param_groups(net, 0.1, groups=groups)
    with pytest.raises(InputError, match=r"parameter 'stem.weight' is in group '0' of groups= and in '2'"):
        ammup.param_groups(net, 0.1, groups=[*both, {"params": net.stem.weight}])
