"""The cache of decoded images: keys by content, atomic writes, and checks on reading."""

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from images import write_images
from PIL import Image
from platformdirs import user_cache_path

import ammup
from ammup import InputError
from ammup.data import cache, readers
from ammup.data.cache import cache_folder, content_key, load_or_decode


def _reader(*splits: str, calls: list[Path] | None = None) -> Callable[[Path], tuple[str, ...]]:
    """A reader that writes two constant images for each split, whose pixels are the index of the split."""

    def read(folder: Path) -> tuple[str, ...]:
        if calls is not None:
            calls.append(folder)
        for index, split in enumerate(splits):
            np.save(folder / f"{split}_images.npy", np.full((2, 3, 3, 1), index, np.uint8))
            np.save(folder / f"{split}_labels.npy", np.array([0, 1]))
        return ("cat", "dog")

    return read


def test_arrays_are_decoded_once_for_each_content_and_image_size() -> None:
    calls: list[Path] = []
    for _ in range(2):
        splits = load_or_decode("content", None, _reader("train", "test", calls=calls))
        assert (splits.classes, set(splits.arrays)) == (("cat", "dog"), {"train", "test"})
        images, labels = splits.arrays["test"]
        assert np.array_equal(images, np.ones((2, 3, 3, 1)))
        assert labels.tolist() == [0, 1]
    assert len(calls) == 1
    load_or_decode("content", 8, _reader("train", calls=calls))
    load_or_decode("other content", None, _reader("train", calls=calls))
    assert len(calls) == 3


def test_a_reader_that_fails_leaves_no_cache_entry() -> None:
    def read(folder: Path) -> tuple[str, ...]:
        (folder / "train_images.npy").write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_or_decode("content", None, read)
    assert [path for path in (cache_folder() / "decoded").iterdir() if path.is_dir()] == []
    assert set(load_or_decode("content", None, _reader("train")).arrays) == {"train"}


def test_only_file_sizes_of_a_large_entry_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "CHECKED_BYTES", 10)
    load_or_decode("content", None, _reader("train"))
    (folder,) = (path for path in (cache_folder() / "decoded").iterdir() if path.is_dir())
    labels = folder / "train_labels.npy"
    content = labels.read_bytes()
    labels.write_bytes(content[:-1] + b"\x01")
    load_or_decode("content", None, _reader("train"))
    labels.write_bytes(content[:-1])
    with pytest.raises(InputError, match=r"train_labels\.npy"):
        load_or_decode("content", None, _reader("train"))


def test_key_depends_on_names_and_bytes_and_not_on_times_or_the_root(tmp_path: Path) -> None:
    def key(root: str, *files: tuple[str, bytes]) -> str:
        paths = [tmp_path / root / name for name, _ in files]
        for path, (_, content) in zip(paths, files, strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return content_key(paths, tmp_path / root)

    first = key("one", ("a", b"12"), ("b", b"3"))
    assert key("two", ("a", b"12"), ("b", b"3")) == first
    others = [
        key("three", ("a", b"1"), ("b", b"23")),  # the same bytes, divided differently between the files
        key("four", ("b", b"12"), ("a", b"3")),
        key("five", ("a", b"12"), ("c/b", b"3")),
        key("six", ("a", b"12")),
        key("one", ("a", b"21"), ("b", b"3")),  # the same path and size as `first`, with other bytes
    ]
    assert len({first, *others}) == 6
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="folder"):
        content_key([tmp_path / "folder"], tmp_path)


def test_environment_variable_sets_the_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMMUP_CACHE", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"
    monkeypatch.setenv("AMMUP_CACHE", "")
    assert cache_folder() == user_cache_path("ammup")


def test_second_load_does_not_decode(tmp_path: Path, monkeypatch) -> None:
    write_images(tmp_path)
    first = ammup.load_data(tmp_path)
    monkeypatch.setattr(readers, "_decode", None)
    second = ammup.load_data(tmp_path)
    assert np.array_equal(first.train_images, second.train_images)


def test_changed_file_is_decoded_again_and_touched_file_is_not(tmp_path: Path) -> None:
    write_images(tmp_path)
    before = ammup.load_data(tmp_path, validation=0)
    changed = tmp_path / "train" / "cat" / "0.png"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(changed)
    after = ammup.load_data(tmp_path, validation=0)
    assert not np.array_equal(before.train_images, after.train_images)
    assert (after.train_images == 0).all(axis=(1, 2, 3)).sum() == 1
    decoded = cache.cache_folder() / "decoded"
    folders = {p.name for p in decoded.iterdir() if p.is_dir()}
    os.utime(changed)
    ammup.load_data(tmp_path)
    assert {p.name for p in decoded.iterdir() if p.is_dir()} == folders


def _load(path: Path, out) -> None:
    out.put(ammup.load_data(path).train_images.tobytes())


@pytest.mark.slow
def test_several_processes_may_build_the_same_entry_simultaneously(tmp_path: Path) -> None:
    write_images(tmp_path)
    spawn = multiprocessing.get_context("spawn")
    out = spawn.Queue()
    workers = [spawn.Process(target=_load, args=(tmp_path, out)) for _ in range(3)]
    for worker in workers:
        worker.start()
    results = {out.get(timeout=120) for _ in workers}
    for worker in workers:
        worker.join(timeout=60)
    assert results == {ammup.load_data(tmp_path).train_images.tobytes()}


def test_partial_entry_of_a_killed_process_is_built_again(tmp_path: Path) -> None:
    write_images(tmp_path)
    expected = ammup.load_data(tmp_path).train_images
    (folder,) = (p for p in (cache.cache_folder() / "decoded").iterdir() if p.is_dir())
    folder.rename(folder.with_name(f"{folder.name}.partial"))
    assert np.array_equal(ammup.load_data(tmp_path).train_images, expected)


def test_error_names_the_folder_of_a_damaged_entry(tmp_path: Path) -> None:
    write_images(tmp_path)
    ammup.load_data(tmp_path)
    (folder,) = (p for p in (cache.cache_folder() / "decoded").iterdir() if p.is_dir())
    images = folder / "train_images.npy"
    images.write_bytes(images.read_bytes()[:200])
    with pytest.raises(InputError, match=rf"{folder}.*delete that folder"):
        ammup.load_data(tmp_path)


def test_flipped_bit_in_the_cache_is_detected(tmp_path: Path) -> None:
    write_images(tmp_path)
    ammup.load_data(tmp_path)
    (folder,) = (p for p in (cache.cache_folder() / "decoded").iterdir() if p.is_dir())
    for name in ("train_images.npy", "train_labels.npy"):
        content = bytearray((folder / name).read_bytes())
        content[-1] ^= 1
        (folder / name).write_bytes(content)
        with pytest.raises(InputError, match=rf"{folder}.*{name}.*delete that folder"):
            ammup.load_data(tmp_path)
        content[-1] ^= 1
        (folder / name).write_bytes(content)
    ammup.load_data(tmp_path)
