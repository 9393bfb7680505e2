"""Data sets that are Python objects: arrays, tensors, data sets of torch and Hugging Face, loaders and streams."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler, SequentialSampler, TensorDataset
from torch.utils.data.dataloader import default_collate

from ammup.data.cache import Splits
from ammup.data.datasets import Items, read_stream
from ammup.data.files import SPLITS
from ammup.data.items import Columns, find_columns, input_batch, label_batch
from ammup.data.readers import resized
from ammup.data.selection import Rows
from ammup.errors import InputError
from ammup.models.names import imported

Part = tuple[Rows, NDArray[np.int64] | None]  # inputs and labels of a split; None: the inputs read them
ALLOWED = (
    "expected a name or a path, (inputs, labels) as arrays or tensors, a data set of torch or Hugging Face, a "
    "DataLoader, an iterable of (input, label), or a dict of these with the keys train, val and test"
)


def call_function(name: str, arguments: Mapping[str, Any] | None) -> Any:
    """What the function PACKAGE.MODULE:FUNCTION returns for these arguments.

    Raises:
        InputError: it cannot be imported, or it raises.
    """
    function = imported(name, what="data source")
    try:
        return function(**(arguments or {}))
    except InputError:
        raise
    except Exception as error:  # the user's code may raise anything
        raise InputError(f"data source {name!r} failed: {type(error).__name__}: {error}") from error


def read_object(
    source: Any,
    *,
    columns: Columns,
    image_size: int | None,
    train: int | None,
    validation: int | None,
    progress: bool,
) -> Splits:
    """The splits of a data set in memory, on disk or in a stream; the arguments are those of ``load_data``.

    Raises:
        InputError: it is none of the objects that are allowed, or its items are not inputs with labels.
    """
    parts = _parts(source)
    limits = {"train": train, "val": validation, "test": None}
    if "val" not in parts and train is not None:
        # Validation items are drawn from the same stream, by default a tenth of it.
        limits["train"] = math.ceil(train / 0.9) + 1 if validation is None else train + validation
    arrays = {
        split: _read_part(part, columns, image_size, limits[split], progress=progress) for split, part in parts.items()
    }
    return Splits(arrays=arrays, classes=_class_names(parts["train"], columns))


def _parts(source: Any) -> dict[str, Any]:
    """The parts of the source by split; a source without splits is the training split."""
    if not isinstance(source, Mapping):
        return {"train": source}
    names = {split: next((name for name in known if name in source), None) for split, known in SPLITS.items()}
    if names["train"] is None:
        inputs, labels = find_columns(list(source), None)
        return {"train": (source[inputs], source[labels])}
    return {split: source[name] for split, name in names.items() if name is not None}


def _read_part(part: Any, columns: Columns, image_size: int | None, limit: int | None, *, progress: bool) -> Part:
    """The inputs and labels of one split."""
    if isinstance(part, DataLoader):
        part = part.dataset if _yields_the_dataset(part) else part
    if isinstance(part, TensorDataset) and len(part.tensors) >= 2:
        part = part.tensors[:2]
    if isinstance(part, tuple) and len(part) == 2:
        return _arrays(*part, image_size)
    single = isinstance(part, np.ndarray | Tensor | str | bytes | Mapping)
    if isinstance(part, DataLoader | IterableDataset) or (isinstance(part, Iterable) and not hasattr(part, "__len__")):
        return read_stream(part, columns=columns, image_size=image_size, limit=limit, progress=progress)
    if single or not hasattr(part, "__len__") or not hasattr(part, "__getitem__"):
        raise InputError(f"data source {_short(part)} is a {type(part).__name__}; {ALLOWED}")
    return Items(part, columns=columns, image_size=image_size), None


def _arrays(inputs: Any, labels: Any, image_size: int | None) -> Part:
    """Arrays or tensors of inputs (N, …) and labels (N,)."""
    rows, numbers = input_batch(inputs), label_batch(labels)
    if len(rows) != len(numbers):
        raise InputError(f"there are {len(rows)} inputs and {len(numbers)} labels; give one label for each input")
    if image_size is None:
        return rows, numbers
    if rows.dtype != np.uint8:
        raise InputError(f"image_size={image_size} is for images of uint8; the inputs are {rows.dtype} {rows.shape}")
    return np.stack([resized(row, image_size) for row in rows]), numbers


def _yields_the_dataset(loader: DataLoader[Any]) -> bool:
    """Whether a loader yields every item of its data set once, so that the items can be read in any other order."""
    sampler = loader.sampler
    complete = type(sampler) is SequentialSampler or (
        type(sampler) is RandomSampler and not sampler.replacement and sampler.num_samples == len(sampler.data_source)
    )
    plain = loader.batch_sampler is None or type(loader.batch_sampler) is BatchSampler
    return (
        complete and plain and not isinstance(loader.dataset, IterableDataset) and loader.collate_fn is default_collate
    )


def _class_names(part: Any, columns: Columns) -> tuple[str, ...]:
    """The names of the classes that a data set states; empty if it does not."""
    if hasattr(part, "features") and hasattr(part, "column_names") and part.column_names and part.features:
        feature = part.features[find_columns(part.column_names, columns)[1]]
        return tuple(getattr(feature, "names", ()))
    while part is not None:
        classes = getattr(part, "classes", None)
        if isinstance(classes, list | tuple):
            return tuple(str(name) for name in classes)
        part = getattr(part, "dataset", None)  # of a DataLoader or a Subset
    return ()


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
