"""Every kind of source, compared with the arrays that were written to it, and the sources that are rejected."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from images import same_images, write_images
from PIL import Image

import ammup
from ammup import InputError
from ammup.data import cache, readers
from ammup.data.readers import physical_memory, read_folder


@pytest.mark.parametrize("suffix", ["png", "jpg", "JPEG"])
def test_pixels_of_image_files_are_those_that_pillow_decodes(suffix: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (5, 8, 8, 3), np.uint8)
    (tmp_path / "train" / "only").mkdir(parents=True)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "train" / "only" / f"{i}.{suffix}")
    (tmp_path / "train" / "only" / "notes.txt").write_text("not an image")
    splits = read_folder(tmp_path, None, False)
    images, labels = splits.arrays["train"]
    for i, image in enumerate(images):
        with Image.open(tmp_path / "train" / "only" / f"{i}.{suffix}") as opened:
            assert np.array_equal(image, np.asarray(opened.convert("RGB")))
    assert (labels.tolist(), splits.classes) == ([0] * 5, ("only",))


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "I;16"])
def test_images_of_other_modes_are_converted_to_rgb(mode: str, tmp_path: Path) -> None:
    (tmp_path / "train" / "only").mkdir(parents=True)
    Image.new(mode, (4, 4), 1).save(tmp_path / "train" / "only" / "0.png")
    images, _ = read_folder(tmp_path, None, False).arrays["train"]
    with Image.open(tmp_path / "train" / "only" / "0.png") as opened:
        assert np.array_equal(images[0], np.asarray(opened.convert("RGB")))


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_validation_folder_may_have_three_names(name: str, tmp_path: Path) -> None:
    expected = write_images(tmp_path, ("train", name))
    splits = read_folder(tmp_path, None, False)
    assert set(splits.arrays) == {"train", "val"}
    assert same_images(*splits.arrays["val"], expected[name])


def test_physical_memory_is_the_total_in_proc_meminfo() -> None:
    if not hasattr(os, "sysconf"):
        assert physical_memory() == float("inf")
        return
    (total,) = (line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal:"))
    assert physical_memory() == 1024 * float(total.split()[1])


def test_npz_with_medmnist_keys(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        f"{split}_{kind}": values
        for split, n in (("train", 12), ("val", 5), ("test", 7))
        for kind, values in (
            ("images", rng.integers(0, 256, (n, 6, 6), dtype=np.uint8)),
            ("labels", rng.integers(0, 3, (n, 1))),
        )
    }
    path = tmp_path / "mnist.npz"
    np.savez(path, **arrays)
    data = ammup.load_data(path)
    assert data.image_shape == (6, 6, 1)
    assert np.array_equal(data.test_images[..., 0], arrays["test_images"])
    assert np.array_equal(data.test_labels, arrays["test_labels"][:, 0])
    assert len(data.val_images) == 5
    small = ammup.load_data(path, image_size=3)
    mean = arrays["test_images"].reshape(7, 3, 2, 3, 2).mean(axis=(2, 4))
    assert np.abs(small.test_images[..., 0] - mean).max() <= 0.5 + 1e-6


def test_resize_is_the_area_average_of_the_centre_square(tmp_path: Path) -> None:
    expected = write_images(tmp_path, size=(8, 12))
    data = ammup.load_data(tmp_path, image_size=4, validation=0)
    blocks = [(x[:, 2:10].reshape(4, 2, 4, 2, 3).mean(axis=(1, 3)), y) for x, y in expected["test"]]
    for image, label, (mean, y) in zip(data.test_images, data.test_labels, blocks, strict=True):
        assert label == y
        assert np.abs(image - mean).max() <= 0.5 + 1e-6


def test_archive_that_unpacks_to_more_than_the_memory_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.zeros((1000, 32, 32, 3), np.uint8)
    np.savez_compressed(tmp_path / "bomb.npz", train_images=images, train_labels=np.zeros(1000, int))
    assert (tmp_path / "bomb.npz").stat().st_size < 20_000
    monkeypatch.setattr(readers, "physical_memory", lambda: 2.0e6)
    with pytest.raises(InputError, match=r"bomb\.npz.* 0 GiB"):
        ammup.load_data(tmp_path / "bomb.npz")


def test_array_header_with_an_impossible_shape_is_rejected(tmp_path: Path) -> None:
    """The shape in the header would need more than a petabyte."""
    np.savez(tmp_path / "hollow.npz", train_images=np.zeros((4, 2, 2), np.uint8), train_labels=np.zeros(4, int))
    whole = (tmp_path / "hollow.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "hollow.npz") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    short, long = b"(4, 2, 2), }" + b" " * 15, b"(4" + b"0" * 15 + b", 2, 2), }"
    members["train_images.npy"] = members["train_images.npy"].replace(short, long)
    assert members["train_images.npy"] not in whole
    with zipfile.ZipFile(tmp_path / "hollow.npz", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(InputError, match=r"hollow\.npz.*train_images"):
        ammup.load_data(tmp_path / "hollow.npz")


def _truncated(root: Path) -> Path:
    write_images(root)
    image = root / "train" / "dog" / "3.png"
    image.write_bytes(image.read_bytes()[:60])
    return root


def _two_sizes(root: Path) -> Path:
    write_images(root)
    Image.fromarray(np.zeros((9, 8, 3), np.uint8)).save(root / "train" / "dog" / "3.png")
    return root


def _bomb(root: Path) -> Path:
    write_images(root)
    Image.new("1", (20_000, 20_000)).save(root / "train" / "cat" / "0.png")
    return root


def _extra_class(root: Path) -> Path:
    write_images(root)
    (root / "test" / "emu").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(root / "test" / "emu" / "0.png")
    return root


def _npz(**arrays):
    def make(root: Path) -> Path:
        root.mkdir()
        np.savez(root / "a.npz", **arrays)
        return root / "a.npz"

    return make


def _text(root: Path) -> Path:
    root.mkdir()
    (root / "a.npz").write_text("not a zip file")
    return root / "a.npz"


def _empty(root: Path) -> Path:
    root.mkdir()
    return root


_IMAGES = np.zeros((3, 4, 4), np.uint8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: "cifar11", "'cifar11'.*synthetic, cifar10, cifar100"),
        (lambda root: root / "missing", "/missing'"),
        (_empty, "/train/<class>/"),
        (_truncated, r"dog/3\.png"),
        (_bomb, r"cat/0\.png.*400000000 pixels"),
        (_two_sizes, r"3\.png.*9×8 and 8×8.*image_size="),
        (_extra_class, r"\['emu'\]"),
        (_text, r"a\.npz"),
        (_npz(images=_IMAGES), "keys train_images"),
        (_npz(train_images=_IMAGES, train_labels=np.array([0, 1])), r"labels are int64 \(2,\)"),
        (_npz(train_images=_IMAGES / np.nan, train_labels=np.array([0, 1, 0])), "float64.*uint8 N×H×W"),
        (_npz(train_images=_IMAGES, train_labels=np.array([0, 1, -1])), "-1.* 0"),
        (_npz(train_images=_IMAGES, train_labels=np.array([{}, {}, {}])), r"a\.npz"),
        (_npz(train_images=np.zeros((3, 4, 4, 4), np.uint8), train_labels=np.zeros(3, int)), "N×H×W×3"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_invalid_sources_are_rejected(make, message: str, tmp_path: Path) -> None:
    source = make(tmp_path / "data")
    with pytest.raises(InputError, match=message):
        ammup.load_data(source)
    decoded = cache.cache_folder() / "decoded"
    assert not decoded.exists() or not [p for p in decoded.iterdir() if p.is_dir()]


def test_failed_download_names_the_cause_and_the_alternative(monkeypatch) -> None:
    from urllib.error import URLError

    def no_network(*_args: object, **_kwargs: object) -> None:
        raise URLError("Temporary failure in name resolution")

    monkeypatch.setattr("urllib.request.urlopen", no_network)  # torchvision first follows redirects, then downloads
    with pytest.raises(InputError, match=r"cifar100.*Temporary failure in name resolution.*image folder"):
        ammup.load_data("cifar100")
