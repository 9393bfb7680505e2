"""Minibatches: standardized, in the order of their seed, and equal from memory and streamed."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

import ammup
from ammup.data.dataset import Data, Selection
from ammup.data.minibatches import Feed
from ammup.errors import InputError


@pytest.fixture(scope="module")
def data() -> Data:
    return ammup.load_data("synthetic", image_size=8, train=70, validation=30)


def _feed(data: Data, **options: object) -> Feed:
    return Feed(data, **{"batch_size": 16, "device": "cpu", "dtype": torch.float64, **options})


def _concatenated(batches: Iterator[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(labels)


def test_epoch_contains_every_image_once_and_standardized(data: Data) -> None:
    feed = _feed(data)
    batches = list(feed.training_batches(3, 1))
    assert [len(labels) for _, labels in batches] == [16, 16, 16, 16, 6]
    assert feed.steps(1) == 5
    assert feed.steps(2) == 10
    images, labels = _concatenated(iter(batches))
    np.testing.assert_allclose(images.mean((0, 2, 3)), 0, atol=1e-12)
    np.testing.assert_allclose(images.var((0, 2, 3), correction=0), 1, rtol=1e-12)
    assert sorted(labels.tolist()) == sorted(data.train_labels.tolist())
    assert batches[0][0].is_contiguous(memory_format=torch.channels_last)


def test_validation_images_are_standardized_with_the_statistics_of_the_data(data: Data) -> None:
    mean, deviation = data.standardization()
    expected = (data.val_images / 255 - mean) / deviation
    images, labels = _concatenated(_feed(data).validation_batches(7))
    np.testing.assert_allclose(images.permute(0, 2, 3, 1), expected, rtol=1e-12, atol=1e-13)
    np.testing.assert_array_equal(labels, data.val_labels)


def test_order_depends_only_on_seed_and_epoch(data: Data) -> None:
    feed = _feed(data)
    first, again, other = (_concatenated(feed.training_batches(seed, 2))[0] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[:70], first[70:])


@pytest.mark.parametrize("workers", [0, 2])
def test_streamed_batches_equal_those_from_memory(workers: int) -> None:
    in_memory, on_disk = (
        ammup.load_data("synthetic", image_size=8, train=70, validation=30, in_memory=value) for value in (True, False)
    )
    assert isinstance(on_disk.train_images, Selection)
    resident, streamed = _feed(in_memory), _feed(on_disk, loader_workers=workers)
    assert (resident.resident, streamed.resident) == (True, False)
    for from_memory, from_disk in (
        (resident.training_batches(1, 1), streamed.training_batches(1, 1)),
        (resident.validation_batches(8), streamed.validation_batches(8)),
    ):
        for a, b in zip(_concatenated(from_memory), _concatenated(from_disk), strict=True):
            assert torch.equal(a, b)
    assert in_memory.digest == on_disk.digest


def test_streamed_run_equals_the_run_from_memory() -> None:
    runs = [
        ammup.train_replicas(
            lambda depth, seed: ammup.cnn(depth, width=4, seed=seed),
            2,
            lrs=[0.1],
            seeds=[0],
            data=ammup.load_data("synthetic", image_size=8, train=256, validation=64, in_memory=in_memory),
            strategy="loop",
        )[0]
        for in_memory in (True, False)
    ]
    assert runs[0].val_loss == runs[1].val_loss
    assert runs[0].curve == runs[1].curve


def test_invalid_arguments_of_a_feed_are_rejected(data: Data) -> None:
    with pytest.raises(InputError, match="no validation images"):
        _feed(ammup.load_data("synthetic", image_size=8, train=70, validation=0))
    with pytest.raises(InputError, match="batch_size=0"):
        _feed(data, batch_size=0)
