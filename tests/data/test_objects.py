"""`load_data` of Python objects. Oracles: the objects themselves, item by item."""

import itertools
import sys
import types
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
)
from torchvision.transforms import v2

import ammup
from ammup import InputError
from ammup.data import splitting
from ammup.data.datasets import RandomItemsWarning
from ammup.data.minibatches import Feed
from ammup.data.selection import Selection

RNG = np.random.default_rng(3)
IMAGES = RNG.integers(0, 256, (60, 6, 8, 3), np.uint8)
LABELS = np.arange(60) % 5
FLOATS = RNG.standard_normal((60, 7)).astype(np.float32)


class _Pairs(Dataset):
    """A map-style data set in the manner of torchvision."""

    def __init__(self, transform: Any = None, images: np.ndarray = IMAGES, labels: np.ndarray = LABELS) -> None:
        self.images, self.labels_, self.transform = images, labels, transform
        self.reads: list[int] = []

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        self.reads.append(index)
        picture: Any = Image.fromarray(self.images[index])
        return (self.transform(picture) if self.transform else picture), self.labels_[index]


class _Stream(IterableDataset):
    def __iter__(self) -> Iterator[tuple[np.ndarray, int]]:
        return iter(zip(IMAGES, LABELS.tolist(), strict=True))


def _rows(data: ammup.Data) -> dict[bytes, int]:
    """Every training and validation input, as bytes, with its label."""
    pairs = itertools.chain(
        zip(data.train_images[:], data.train_labels, strict=True), zip(data.val_images[:], data.val_labels, strict=True)
    )
    return {np.ascontiguousarray(image).tobytes(): int(label) for image, label in pairs}


EXPECTED = {image.tobytes(): int(label) for image, label in zip(IMAGES, LABELS, strict=True)}
CHANNELS_FIRST = np.moveaxis(IMAGES, 3, 1)
SOURCES: dict[str, Any] = {
    "arrays": (IMAGES, LABELS),
    "arrays, channels first": (CHANNELS_FIRST.copy(), LABELS.astype(np.uint16)),
    "tensors": (torch.tensor(CHANNELS_FIRST.copy()), torch.tensor(LABELS, dtype=torch.int32)),
    "tensors, channels last": (torch.tensor(IMAGES), torch.tensor(LABELS[:, None])),
    "TensorDataset": TensorDataset(torch.tensor(IMAGES), torch.tensor(LABELS)),
    "Dataset of images": _Pairs(),
    "Dataset of tensors": _Pairs(v2.PILToTensor()),
    "Subset": Subset(_Pairs(), range(60)),
    "ConcatDataset": ConcatDataset([Subset(_Pairs(), range(20)), Subset(_Pairs(), range(20, 60))]),
    "list of pairs": list(zip(IMAGES, LABELS, strict=True)),
    "list of dicts": [{"img": image, "target": label} for image, label in zip(IMAGES, LABELS, strict=True)],
    "dict of arrays": {"image": IMAGES, "label": LABELS},
    "DataLoader": DataLoader(_Pairs(v2.PILToTensor()), batch_size=7, shuffle=True),
    "DataLoader, sampler": DataLoader(_Pairs(v2.PILToTensor()), batch_size=7, sampler=SubsetRandomSampler(range(60))),
    "DataLoader, single": DataLoader(_Pairs(v2.PILToTensor()), batch_size=None),
    "DataLoader of a stream": DataLoader(_Stream(), batch_size=8),
    "IterableDataset": _Stream(),
}


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("in_memory", [True, False])
def test_every_item_of_an_object_is_loaded_with_its_label(name: str, in_memory: bool) -> None:
    data = ammup.load_data(SOURCES[name], in_memory=in_memory)
    assert _rows(data) == EXPECTED
    assert (len(data.train_images), len(data.val_images), data.image_shape) == (54, 6, (6, 8, 3))
    assert data.classes == ("0", "1", "2", "3", "4")
    assert isinstance(data.train_images, Selection) != in_memory


def test_a_generator_is_read_once_and_only_as_far_as_needed() -> None:
    numbers = itertools.count()

    def endless() -> Iterator[tuple[np.ndarray, int]]:
        for i in numbers:
            yield IMAGES[i % 60], i % 5

    data = ammup.load_data(endless(), train=30, validation=10)
    assert (len(data.train_images), len(data.val_images)) == (30, 10)
    assert next(numbers) == 40
    data = ammup.load_data(endless(), train=30)
    assert len(data.train_images) == 30


def test_objects_of_equal_content_give_the_same_split_and_digest() -> None:
    loaded = [
        ammup.load_data(SOURCES[name], train=20, validation=8, seed=4) for name in ("arrays", "Dataset of images")
    ]
    loaded.append(ammup.load_data(SOURCES["Dataset of images"], train=20, validation=8, seed=4, in_memory=False))
    for data in loaded[1:]:
        assert data.digest == loaded[0].digest
        np.testing.assert_array_equal(data.train_images[:], loaded[0].train_images[:])
    other = ammup.load_data((255 - IMAGES, LABELS), train=20, validation=8, seed=4)
    assert other.digest != loaded[0].digest


def test_only_the_items_of_a_large_data_set_that_are_used_are_read() -> None:
    dataset = _Pairs()
    ammup.load_data(dataset, train=10, validation=5)
    assert len(set(dataset.reads)) <= 15 + 3  # a few are probed
    dataset.targets = LABELS.tolist()
    dataset.reads.clear()
    data = ammup.load_data(dataset, in_memory=False)
    assert len(set(dataset.reads)) <= 3
    np.testing.assert_array_equal(data.train_images[:4], IMAGES[data.train_images.rows[:4]])
    np.testing.assert_array_equal(data.train_labels, LABELS[data.train_images.rows])


def test_data_sets_that_do_not_fit_in_memory_are_read_batch_by_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splitting, "physical_memory", lambda: 10.0 * IMAGES[0].nbytes)
    streamed = ammup.load_data(SOURCES["Dataset of images"])
    assert isinstance(streamed.train_images, Selection)
    options = {"batch_size": 16, "device": "cpu", "dtype": torch.float32}
    workers = Feed(streamed, loader_workers=2, **options)
    memory = Feed(ammup.load_data(SOURCES["arrays"], in_memory=True), **options)
    assert (workers.resident, memory.resident) == (False, True)
    for one, other in zip(workers.training_batches(1, 2), memory.training_batches(1, 2), strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 4, 6), (1, 2, 3, 4)])
def test_floats_of_any_shape_reach_the_model_unchanged(dtype: type, shape: tuple[int, ...]) -> None:
    floats = RNG.standard_normal((40, *shape)).astype(dtype)
    data = ammup.load_data((floats, np.arange(40) % 3), validation=4)
    feed = Feed(data, batch_size=36, device="cpu", dtype=torch.float64)
    ((inputs, _),) = feed.training_batches(0, 1)
    rows = {row.tobytes() for row in floats.astype(np.float64)}
    assert {row.tobytes() for row in inputs.numpy()} <= rows
    assert inputs.shape == (36, *shape)
    assert data.batch(5)[0].dtype == torch.float32
    assert data.image_shape == (*shape[1:], shape[0])


def test_tokens_stay_integers() -> None:
    tokens = RNG.integers(0, 1000, (20, 9))
    data = ammup.load_data({"input_ids": tokens, "labels": np.arange(20) % 2}, validation=4)
    ((inputs, _),) = Feed(data, batch_size=16, device="cpu", dtype=torch.float32).training_batches(0, 1)
    assert inputs.dtype == torch.int64
    assert {tuple(row) for row in inputs.tolist()} <= {tuple(row) for row in tokens.tolist()}


def test_other_inputs_are_converted() -> None:
    bools = ammup.load_data((RNG.integers(0, 2, (20, 4)).astype(bool), np.arange(20) % 2))
    assert bools.train_images.dtype == np.float32
    vectors = RNG.integers(0, 256, (20, 4), np.uint8)
    scaled = ammup.load_data((vectors, np.arange(20) % 2), validation=0, in_memory=True)
    assert set(np.unique(np.rint(scaled.train_images * 255))) == set(np.unique(vectors))
    halves = ammup.load_data((torch.ones(20, 4, dtype=torch.bfloat16), torch.zeros(20, dtype=torch.bool)))
    assert halves.train_images.dtype == np.float32
    grey = ammup.load_data([(Image.fromarray(image[..., 0]), 0) for image in IMAGES])
    assert grey.image_shape == (6, 8, 1)


def test_images_are_resized_as_those_of_files(tmp_path: Any) -> None:
    np.savez(tmp_path / "images.npz", train_images=IMAGES, train_labels=LABELS)
    file = ammup.load_data(tmp_path / "images.npz", image_size=4)
    for name in ("arrays", "Dataset of images", "IterableDataset", "DataLoader of a stream"):
        assert _rows(ammup.load_data(SOURCES[name], image_size=4)) == _rows(file)
    sizes = [(Image.fromarray(IMAGES[0][: 4 + i % 2]), 0) for i in range(20)]
    assert ammup.load_data(sizes, image_size=4).image_shape == (4, 4, 3)


def test_splits_given_by_name_are_used() -> None:
    for val in ("val", "validation", "valid"):
        parts = {"train": (IMAGES[:40], LABELS[:40]), val: _Pairs(None, IMAGES[40:50], LABELS[40:50])}
        data = ammup.load_data({**parts, "test": _Pairs(None, IMAGES[50:], LABELS[50:])})
        assert [len(x) for x in (data.train_labels, data.val_labels, data.test_labels)] == [40, 10, 10]
        np.testing.assert_array_equal(data.test_images[:], IMAGES[50:])


def test_random_transforms_are_drawn_once_for_each_item_and_warned_of() -> None:
    transform = v2.Compose([v2.RandomCrop(4), v2.PILToTensor()])
    state = torch.get_rng_state()
    with pytest.warns(RandomItemsWarning, match="_Pairs draws random numbers.*`augmentation`"):
        loaded = ammup.load_data(_Pairs(transform), in_memory=True)
    with pytest.warns(RandomItemsWarning):
        lazy = ammup.load_data(_Pairs(transform), in_memory=False)
    assert torch.equal(torch.get_rng_state(), state)
    for _ in range(2):
        np.testing.assert_array_equal(lazy.train_images[:], loaded.train_images)
    assert lazy.digest == loaded.digest
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ammup.load_data(_Pairs(v2.PILToTensor()))


def test_a_function_is_imported_and_called(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("some_module")
    module.load = lambda size=60: (IMAGES[:size], LABELS[:size])  # type: ignore[attr-defined]
    module.path = lambda: "synthetic"  # type: ignore[attr-defined]
    module.broken = lambda: 1 / 0  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "some_module", module)
    assert _rows(ammup.load_data("some_module:load")) == EXPECTED
    assert len(ammup.load_data("some_module:load", arguments={"size": 30}, validation=0).train_images) == 30
    assert ammup.load_data("some_module:path", image_size=4).image_shape == (4, 4, 3)
    for name, message in (
        ("some_module:nothing", "data source 'some_module:nothing' cannot be imported"),
        ("some_module:broken", "data source 'some_module:broken' failed: ZeroDivisionError"),
    ):
        with pytest.raises(InputError, match=message):
            ammup.load_data(name)
    with pytest.raises(InputError, match=r"arguments=\{'size': 3\} are those of a function"):
        ammup.load_data("synthetic", arguments={"size": 3})


class _Failing(_Pairs):
    def __getitem__(self, index: int) -> Any:
        raise OSError("disk failure")


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (3, {}, "data source 3 is a int; expected a name or a path, .*DataLoader"),
        (IMAGES, {}, "is a ndarray; expected"),
        ([], {}, "the data set list is empty"),
        ([1, 2, 3], {}, r"item 0 of list: an item of the data set is a int; expected \(input, label\)"),
        ([(IMAGES[0], 0.5)] * 20, {}, "item 0 of list: the label 0.5 is a float; give a class index"),
        ([(IMAGES[0], "cat")] * 20, {}, "the label 'cat' is a str"),
        ([("text", 0)] * 20, {}, "the inputs are <U4"),
        ([(IMAGES[0], 0), (IMAGES[0, :3], 0)] * 9, {"in_memory": True}, r"expected equal shapes.*image_size="),
        ((IMAGES, LABELS[:-1]), {}, "60 inputs and 59 labels"),
        ((IMAGES, LABELS / 2), {}, "the labels are float64"),
        ((IMAGES, -LABELS), {}, "train_labels are -4 to 0"),
        ((FLOATS, LABELS), {"image_size": 4}, "image_size=4 is for images of uint8"),
        ((IMAGES.astype(int), LABELS), {}, "train_images have dtype int64.*give images as uint8"),
        ({"a": IMAGES, "b": LABELS}, {}, "the items have the columns a, b; name those"),
        ([{"a": IMAGES[0], "b": 0}] * 20, {}, "the items have the columns a, b"),
        ([{"a": IMAGES[0], "b": 0}] * 20, {"columns": ("a", "c")}, "expected two of a, b"),
        (iter(()), {}, "yielded nothing"),
        (iter([(IMAGES[:3], LABELS[:2])]), {}, "item 0 of the stream: 3 inputs and 2 labels"),
        (_Failing(), {}, "item 0 of _Failing cannot be read: OSError: disk failure"),
        ({"train": (IMAGES, LABELS), "val": (FLOATS, LABELS)}, {}, "have images of shapes"),
        ((IMAGES, LABELS), {"train": 61}, "train=61: expected 1 to 54"),
    ],
)  # fmt: skip
def test_objects_that_are_no_data_set_are_rejected(source: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ammup.load_data(source, **options)


def test_named_columns_are_read() -> None:
    items = [{"a": image, "b": int(label)} for image, label in zip(IMAGES, LABELS, strict=True)]
    assert _rows(ammup.load_data(items, columns=("a", "b"))) == EXPECTED


def test_data_sets_of_hugging_face_are_loaded() -> None:
    hf = pytest.importorskip("datasets", reason="the package datasets is not installed")
    names = [f"class {i}" for i in range(5)]
    features = hf.Features({"img": hf.Image(), "label": hf.ClassLabel(names=names)})
    pictures = [Image.fromarray(image) for image in IMAGES]
    dataset = hf.Dataset.from_dict({"img": pictures, "label": LABELS.tolist()}, features=features)
    stream = dataset.to_iterable_dataset()
    for source in (dataset, stream, dataset.with_format("torch"), hf.DatasetDict({"train": dataset})):
        for in_memory in (True, False):
            data = ammup.load_data(source, in_memory=in_memory)
            assert _rows(data) == EXPECTED
            assert data.classes == tuple(names)
    parts = dataset.train_test_split(0.25, seed=0)
    data = ammup.load_data({"train": parts["train"], "validation": parts["test"]})
    assert (len(data.train_labels), len(data.val_labels)) == (45, 15)
    vectors = hf.Dataset.from_dict({"x": FLOATS.tolist(), "y": LABELS.tolist()}).with_format("numpy")
    assert ammup.load_data(vectors).image_shape == (7,)


def test_a_model_is_trained_on_vectors_and_on_an_object_as_on_its_arrays() -> None:
    labels = (FLOATS[:, 0] > 0).astype(np.int8)
    data = ammup.load_data(TensorDataset(torch.tensor(FLOATS), torch.tensor(labels)), validation=20)
    runs = [
        ammup.train_replicas(
            lambda depth, seed: ammup.mlp(depth, width=16, in_features=7, out_features=2, seed=seed),
            2, lrs=[0.01, 0.3], seeds=1, data=data, batch_size=8, epochs=4, strategy=strategy, device="cpu",
        )
        for strategy in ("loop", "stacked")
    ]  # fmt: skip
    for one, other in zip(*runs, strict=True):
        assert one.val_loss == pytest.approx(other.val_loss, rel=1e-5)
    assert runs[0][1].val_loss < runs[0][0].val_loss < 1.0
