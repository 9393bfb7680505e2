"""An engineer carries a learning rate to a deeper ResNet with batch norm, reads the advice, and trains with it."""

import re
import warnings
from collections.abc import Callable

import pytest
import torch
from command_line import run
from torch.nn import functional as F
from user_resnet import post_activation_resnet

import ammup

WIDTHS, TUNED, STEPS = (8, 16, 32), 0.1, 30
COMMAND = [
    *("transfer", "user_resnet:post_activation_resnet", "--lr", str(TUNED), "--from", "1", "--to", "3,5"),
    *("--image-size", "16", "--batch-size", "8", "--seeds", "2", "--set", "widths=(8, 16, 32)"),
]


@pytest.fixture(scope="module")
def printed() -> str:
    """What the command prints for a user who trains by SGD with momentum and a cosine schedule."""
    result = run(*COMMAND, "--momentum", "0.9", "--schedule", "cosine", "--weight-decay", "0.0005", columns=200)
    assert result.exit_code == 0, result.output
    return result.stdout


def _recommended(printed: str, depth: int) -> tuple[float, str]:
    """The learning rate and the rule of the line that the user reads."""
    ((lr, rule),) = re.findall(rf"^→ recommended at L = {depth}: (\S+) \((\S+?)[;)]", printed, flags=re.MULTILINE)
    return float(lr), rule


def _measured(printed: str) -> float:
    """The learning rate of the measured rule at depth 5: that of its last row."""
    return float(re.findall(r"measured\W+(\d\S*)", printed)[-1])


def test_the_advice_is_not_the_measured_rate_and_has_warnings_beside_it(printed: str) -> None:
    lr, rule = _recommended(printed, 5)
    assert (rule, lr) == ("L^-1/2", pytest.approx(TUNED * 5**-0.5, rel=0.01))
    assert _measured(printed) < lr / 2
    warnings = [line for line in printed.splitlines() if line.startswith("warning: ")]
    assert any("exponentially" in line for line in warnings)
    for part in ("momentum 0.9", "a cosine schedule", "weight decay 0.0005"):
        assert any(part in line for line in warnings), part
    assert re.search(r"^holds for: one learning rate for all parameters", printed, flags=re.MULTILINE)


def _loss_after_training(groups: Callable[[torch.nn.Module], list[dict]], data: ammup.Data) -> float:
    """Mean loss of the last steps of a short training run of the net of depth 5."""
    net = post_activation_resnet(5, widths=WIDTHS, seed=0)
    optimizer = torch.optim.SGD(groups(net))
    losses = []
    for step in range(STEPS):
        images, labels = data.batch(64, seed=step)
        loss = F.cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return sum(losses[-8:]) / 8


def test_the_advice_trains_with_one_rate_and_with_converted_fan_in_groups(printed: str) -> None:
    """The recommended rate trains better than the measured one, and fan-in groups train as well as one rate."""
    data = ammup.load_data("synthetic", image_size=16, train=512, validation=64)
    lr, _ = _recommended(printed, 5)
    images, labels = data.batch(32)
    batch = {"inputs": images, "targets": labels, "loss": "cross_entropy"}

    def one_rate(net: torch.nn.Module) -> list[dict]:
        return ammup.param_groups(net, lr)

    def measured(net: torch.nn.Module) -> list[dict]:
        return ammup.param_groups(net, _measured(printed))

    def fan_in(net: torch.nn.Module) -> list[dict]:
        return ammup.param_groups(net, lr, rule="fan-in", tuned="global", **batch)

    losses = [_loss_after_training(groups, data) for groups in (one_rate, fan_in, measured)]
    assert losses[0] < 0.9 * losses[2]
    assert losses[1] == pytest.approx(losses[0], rel=0.15)


def test_the_advice_cannot_be_passed_to_fan_in_groups_by_mistake(printed: str) -> None:
    lr, _ = _recommended(printed, 5)
    with pytest.raises(ammup.InputError, match=r"divides lr=\S+ by 9 .*tuned='global' and inputs= to convert"):
        ammup.param_groups(post_activation_resnet(5, widths=WIDTHS), lr, rule="fan-in")


def test_transfer_lr_warns_in_python_as_the_command_line_does() -> None:
    images, labels = ammup.load_data("synthetic", image_size=16).batch(8)
    net = lambda depth, seed: post_activation_resnet(depth, widths=WIDTHS, seed=seed)  # noqa: E731
    law = ammup.depth_exponent(net, [1, 3, 5], inputs=images, targets=labels, loss="cross_entropy", seeds=2)
    with warnings.catch_warnings(record=True) as issued:
        warnings.simplefilter("always")
        assert ammup.transfer_lr(TUNED, 1, 5, measured=law) < 0.02
    assert {one.category for one in issued} == {ammup.UnreliableTransfer}
    assert any("exponentially" in str(one.message) for one in issued)
