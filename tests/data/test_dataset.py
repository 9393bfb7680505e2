"""`load_data` and `Data`: splits, batches, digests."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from images import same_images, write_images

import ammup
from ammup import InputError
from ammup.data.dataset import Selection


def test_folder_is_loaded_with_all_pixels_and_labels(tmp_path: Path) -> None:
    expected = write_images(tmp_path / "data")
    data = ammup.load_data(tmp_path / "data", validation=4)
    assert data.classes == ("cat", "dog")
    together = np.concatenate([data.train_images, data.val_images])
    assert same_images(together, np.concatenate([data.train_labels, data.val_labels]), expected["train"])
    assert same_images(data.test_images, data.test_labels, expected["test"])
    assert (len(data.train_images), len(data.val_images)) == (8, 4)


def test_validation_split_of_a_folder_is_used(tmp_path: Path) -> None:
    expected = write_images(tmp_path, ("train", "val"))
    data = ammup.load_data(tmp_path)
    assert same_images(data.train_images, data.train_labels, expected["train"])
    assert same_images(data.val_images, data.val_labels, expected["val"])
    assert data.test_images.shape == (0, 8, 8, 3)


def test_batch_is_standardized_and_seeded() -> None:
    data = ammup.load_data("synthetic", image_size=8, train=4000)
    x, _ = data.batch(4000)
    assert x.shape == (4000, 3, 8, 8)
    assert float(x.mean()) == pytest.approx(0, abs=1e-4)
    assert float(x.std()) == pytest.approx(1, abs=1e-3)
    again, labels = data.batch(64, seed=1), data.batch(64, seed=1)[1]
    assert torch.equal(again[1], labels)
    assert not torch.equal(data.batch(64, seed=2)[0], again[0])
    with pytest.raises(InputError, match=r"5000.*4000"):
        data.batch(5000)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train": 10_000}, "train=10000.*9000"),
        ({"train": 0}, "train=0"),
        ({"validation": 10_000}, "validation=10000"),
        ({"validation": -1}, "validation=-1"),
        ({"image_size": 0}, "image_size=0"),
    ],
)
def test_numbers_of_images_out_of_range_are_rejected(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ammup.load_data("synthetic", **{"image_size": 4, **arguments})


def test_indexing_a_selection_reads_the_rows_of_the_array() -> None:
    source = np.arange(5 * 2 * 2 * 3, dtype=np.uint8).reshape(5, 2, 2, 3)
    selection = Selection(source, np.array([4, 0, 2]))
    assert (len(selection), selection.shape, selection.nbytes) == (3, (3, 2, 2, 3), 36)
    np.testing.assert_array_equal(selection[:2], source[[4, 0]])
    np.testing.assert_array_equal(selection[np.array([2, 0])], source[[2, 4]])


def test_different_data_have_different_digests() -> None:
    one, same, other = (ammup.load_data("synthetic", image_size=8, train=50, seed=seed).digest for seed in (0, 0, 1))
    assert one == same
    assert one != other


@pytest.mark.parametrize("name", ["train_images", "train_labels", "val_images", "val_labels"])
def test_digest_depends_on_every_array_used_in_training(name: str) -> None:
    data = ammup.load_data("synthetic", image_size=8, train=50, validation=20)
    changed = getattr(data, name).copy()
    changed[-1] = (changed[-1] + 1) % 10
    assert replace(data, **{name: changed}).digest != data.digest
    assert replace(data, test_labels=(data.test_labels + 1) % 10).digest == data.digest
