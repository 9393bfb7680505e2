"""The repr of every public result is one short line with its key numbers, whatever the size of arrays and tables."""

import inspect
from pathlib import Path

import numpy as np
import pytest
from example_results import OBJECTS

import ammup

LONGEST = 300  # characters


@pytest.mark.parametrize("name", OBJECTS)
def test_a_repr_is_short_and_has_the_key_numbers(name: str) -> None:
    build, expected = OBJECTS[name]
    text = repr(build())
    assert text.startswith(f"{name}(")
    assert "\n" not in text
    assert len(text) <= LONGEST, text
    for words in expected:
        assert words in text, text


def test_every_public_class_is_covered() -> None:
    classes = {name: getattr(ammup, name) for name in ammup.__all__ if inspect.isclass(getattr(ammup, name))}
    assert {name for name, kind in classes.items() if not issubclass(kind, Exception)} <= set(OBJECTS)


def test_the_images_on_disk_are_not_shown(tmp_path: Path) -> None:
    images = np.zeros((30, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "a.npz", train_images=images, train_labels=np.arange(30) % 3)
    data = ammup.load_data(tmp_path / "a.npz", in_memory=False)
    assert repr(data) == "Data(train 27, val 3, test 0 images of 8×8×3, classes=3)"
    assert repr(data.train_images) == "Selection(on disk, shape=(27, 8, 8, 3))"
