"""Memory layout and micro-batches of a model, determined by a trial."""

import pytest
import torch
from naive_training import NETS, feed_of
from torch import nn

import ammup
from ammup.data.dataset import Data
from ammup.training import plan
from ammup.training.plan import Plan, activation_bytes, micro_batches, random_state
from ammup.training.runs import Training


def test_the_layout_is_channels_last_if_the_model_supports_it(data: Data) -> None:
    batch = next(feed_of(data).training_batches(0, 1))
    formats = {
        name: Plan.from_model(NETS[name](3, seed=0).double(), batch, Training()).memory_format
        for name in ("cnn", "user", "resnet, dropout")
    }
    assert formats["cnn"] == torch.channels_last
    assert formats["user"] == torch.contiguous_format  # view()
    assert formats["resnet, dropout"] == torch.channels_last  # the fused forward draws masks in contiguous order
    dropping = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 10)).double()
    before = {name: value.clone() for name, value in dropping.state_dict().items()}
    assert Plan.from_model(dropping, batch, Training()).memory_format == torch.contiguous_format
    for name, value in dropping.state_dict().items():
        assert torch.equal(value, before[name])


def test_activation_bytes_of_a_dense_net() -> None:
    """For one image; the Sequential returns the output of its last module, which counts again."""
    model = nn.Sequential(nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 3)).double()
    images = torch.zeros(4, 12, dtype=torch.float64)
    assert activation_bytes(model, images) == (5 * 8, (5 + 5 + 3 + 3) * 8)


@pytest.mark.parametrize(
    ("limit", "expected"), [(1 << 30, 16), (16 * 6 * 64 * 8, 16), (16 * 6 * 64 * 8 - 1, 8), (1, 1)]
)
def test_a_minibatch_is_halved_until_its_largest_activation_is_within_the_limit(
    limit: int, expected: int, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "MICRO_BATCH_BYTES", {"cpu": limit, "cuda": limit})
    batch = next(feed_of(data).training_batches(0, 1))
    model = ammup.cnn(3, width=6).double()  # its largest activation is 6×8×8 doubles per image
    assert Plan.from_model(model, batch, Training()).micro_batch == expected


def test_half_of_an_odd_batch_is_rounded_up(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """13, 7, 4: no more micro-batches than necessary."""
    monkeypatch.setattr(plan, "MICRO_BATCH_BYTES", {"cpu": 6 * 6 * 64 * 8, "cuda": 0})  # six images
    images, labels = next(feed_of(data).training_batches(0, 1))
    assert Plan.from_model(ammup.cnn(3, width=6).double(), (images[:13], labels[:13]), Training()).micro_batch == 4


def test_micro_batches_are_consecutive_parts() -> None:
    images, labels = torch.arange(5.0), torch.arange(5)
    parts = list(micro_batches(images, labels, 2))
    assert [x.tolist() for x, _ in parts] == [[0, 1], [2, 3], [4]]
    assert all(x.tolist() == y.tolist() for x, y in parts)


def test_the_random_state_changes_with_a_draw_and_a_plan_restores_it(data: Data) -> None:
    batch = next(feed_of(data).training_batches(0, 1))
    before = random_state(torch.device("cpu"))
    Plan.from_model(NETS["resnet, dropout"](2, seed=0).double(), batch, Training())
    assert torch.equal(before, random_state(torch.device("cpu")))
    with torch.random.fork_rng():
        torch.rand(1)
        assert not torch.equal(before, random_state(torch.device("cpu")))
