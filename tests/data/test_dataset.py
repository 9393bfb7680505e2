"""Every source against arrays that are known, the cache, and what is refused."""

import multiprocessing
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ammup
from ammup import InputError
from ammup.data import cache, readers

RNG = np.random.default_rng(0)


def _folder(root: Path, splits: tuple[str, ...] = ("train", "test"), size: tuple[int, int] = (8, 8)) -> dict:
    """Images as PNG (lossless), by split and class."""
    images: dict = {}
    for split in splits:
        for label, name in enumerate(("cat", "dog")):
            (root / split / name).mkdir(parents=True)
            for i in range(6):
                pixels = RNG.integers(0, 256, (*size, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{i}.png")
                images.setdefault(split, []).append((pixels, label))
    return images


def _same_set(images: np.ndarray, labels: np.ndarray, expected: list) -> bool:
    ours = sorted((int(y), x.tobytes()) for x, y in zip(images, labels, strict=True))
    return ours == sorted((y, x.tobytes()) for x, y in expected)


def test_folder_gives_back_the_pixels(tmp_path: Path) -> None:
    expected = _folder(tmp_path / "data")
    data = ammup.load_data(tmp_path / "data", validation=4)
    assert data.classes == ("cat", "dog")
    together = np.concatenate([data.train_images, data.val_images])
    assert _same_set(together, np.concatenate([data.train_labels, data.val_labels]), expected["train"])
    assert _same_set(data.test_images, data.test_labels, expected["test"])
    assert (len(data.train_images), len(data.val_images)) == (8, 4)


def test_folder_with_a_validation_split_keeps_it(tmp_path: Path) -> None:
    expected = _folder(tmp_path, ("train", "val"))
    data = ammup.load_data(tmp_path)
    assert _same_set(data.train_images, data.train_labels, expected["train"])
    assert _same_set(data.val_images, data.val_labels, expected["val"])
    assert data.test_images.shape == (0, 8, 8, 3)


def test_resize_is_the_area_average_of_the_centre_square(tmp_path: Path) -> None:
    expected = _folder(tmp_path, size=(8, 12))
    data = ammup.load_data(tmp_path, image_size=4, validation=0)
    blocks = [(x[:, 2:10].reshape(4, 2, 4, 2, 3).mean(axis=(1, 3)), y) for x, y in expected["test"]]
    for image, label, (mean, y) in zip(data.test_images, data.test_labels, blocks, strict=True):
        assert label == y
        assert np.abs(image - mean).max() <= 0.5 + 1e-6


def test_npz_of_the_medmnist_convention(tmp_path: Path) -> None:
    arrays = {
        f"{split}_{kind}": values
        for split, n in (("train", 12), ("val", 5), ("test", 7))
        for kind, values in (
            ("images", RNG.integers(0, 256, (n, 6, 6), dtype=np.uint8)),
            ("labels", RNG.integers(0, 3, (n, 1))),
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


def test_second_load_decodes_nothing(tmp_path: Path, monkeypatch) -> None:
    _folder(tmp_path)
    first = ammup.load_data(tmp_path)
    monkeypatch.setattr(readers, "_decode", None)
    second = ammup.load_data(tmp_path)
    assert np.array_equal(first.train_images, second.train_images)


def test_cache_follows_the_content(tmp_path: Path) -> None:
    _folder(tmp_path)
    before = ammup.load_data(tmp_path, validation=0)
    changed = tmp_path / "train" / "cat" / "0.png"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(changed)
    after = ammup.load_data(tmp_path, validation=0)
    assert not np.array_equal(before.train_images, after.train_images)
    assert (after.train_images == 0).all(axis=(1, 2, 3)).sum() == 1
    decoded = cache.cache_folder() / "decoded"
    folders = {p.name for p in decoded.iterdir() if p.is_dir()}
    os.utime(changed)  # touched, but with the same content
    ammup.load_data(tmp_path)
    assert {p.name for p in decoded.iterdir() if p.is_dir()} == folders


def _load(path: Path, out) -> None:
    out.put(ammup.load_data(path).train_images.tobytes())


@pytest.mark.slow
def test_two_processes_may_build_the_cache_at_once(tmp_path: Path) -> None:
    _folder(tmp_path)
    spawn = multiprocessing.get_context("spawn")
    out = spawn.Queue()
    workers = [spawn.Process(target=_load, args=(tmp_path, out)) for _ in range(3)]
    for worker in workers:
        worker.start()
    results = {out.get(timeout=120) for _ in workers}
    for worker in workers:
        worker.join(timeout=60)
    assert results == {ammup.load_data(tmp_path).train_images.tobytes()}


def test_what_a_killed_process_left_is_built_again(tmp_path: Path) -> None:
    _folder(tmp_path)
    expected = ammup.load_data(tmp_path).train_images
    (folder,) = (p for p in (cache.cache_folder() / "decoded").iterdir() if p.is_dir())
    folder.rename(folder.with_name(f"{folder.name}.partial"))
    assert np.array_equal(ammup.load_data(tmp_path).train_images, expected)


def test_a_damaged_cache_is_named(tmp_path: Path) -> None:
    _folder(tmp_path)
    ammup.load_data(tmp_path)
    (folder,) = (p for p in (cache.cache_folder() / "decoded").iterdir() if p.is_dir())
    images = folder / "train_images.npy"
    images.write_bytes(images.read_bytes()[:200])
    with pytest.raises(InputError, match=r"is damaged.*delete that folder"):
        ammup.load_data(tmp_path)


def test_a_bit_that_flipped_in_the_cache_is_noticed(tmp_path: Path) -> None:
    _folder(tmp_path)
    ammup.load_data(tmp_path)
    (folder,) = (p for p in (cache.cache_folder() / "decoded").iterdir() if p.is_dir())
    for name in ("train_images.npy", "train_labels.npy"):
        content = bytearray((folder / name).read_bytes())
        content[-1] ^= 1
        (folder / name).write_bytes(content)
        with pytest.raises(InputError, match=rf"is damaged \({name} is not what was written\); delete that folder"):
            ammup.load_data(tmp_path)
        content[-1] ^= 1
        (folder / name).write_bytes(content)
    ammup.load_data(tmp_path)


def test_what_unpacks_to_more_than_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.zeros((1000, 32, 32, 3), np.uint8)
    np.savez_compressed(tmp_path / "bomb.npz", train_images=images, train_labels=np.zeros(1000, int))
    assert (tmp_path / "bomb.npz").stat().st_size < 20_000
    monkeypatch.setattr(readers, "physical_memory", lambda: 2.0e6)
    with pytest.raises(InputError, match=r"bomb.npz unpacks to 0 GiB, more than this machine's memory"):
        ammup.load_data(tmp_path / "bomb.npz")


def test_a_shape_that_nothing_fills_is_refused(tmp_path: Path) -> None:
    """A header of a hundred bytes that asks numpy for an exabyte."""
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
    with pytest.raises(InputError, match=r"hollow.npz is not an .npz file with keys"):
        ammup.load_data(tmp_path / "hollow.npz")


def test_synthetic_is_seeded_and_has_a_natural_spectrum() -> None:
    a, b, other = (ammup.load_data("synthetic", image_size=16, train=2000, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(a.train_images, b.train_images)
    assert not np.array_equal(a.train_images, other.train_images)
    grey = a.train_images.mean(axis=3) - a.train_images.mean()
    power = (np.abs(np.fft.fft2(grey)) ** 2).mean(axis=0)
    frequency = np.hypot(np.fft.fftfreq(16)[:, None], np.fft.fftfreq(16)[None, :])
    ring = (frequency > 0.1) & (frequency < 0.45)
    slope = np.polyfit(np.log(frequency[ring]), np.log(power[ring]), 1)[0]
    assert -2.2 < slope < -1.6  # amplitude 1/f is power 1/f²; clipping to uint8 adds a little white noise
    r = np.corrcoef(a.train_images.reshape(-1, 3)[::101].T)
    assert 0.5 < r[0, 1] < 0.9


def test_a_small_cnn_learns_the_synthetic_classes_in_one_epoch() -> None:
    data = ammup.load_data("synthetic", image_size=16)
    net = ammup.cnn(3, width=16)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.2)
    mean, deviation = data.channel_statistics

    def batch(images: np.ndarray) -> torch.Tensor:
        return torch.tensor((images / 255 - mean) / deviation, dtype=torch.float32).permute(0, 3, 1, 2)

    for i in range(0, len(data.train_images) - 127, 128):
        loss = torch.nn.functional.cross_entropy(
            net(batch(data.train_images[i : i + 128])), torch.tensor(data.train_labels[i : i + 128])
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        accuracy = (net(batch(data.val_images)).argmax(1).numpy() == data.val_labels).mean()
    assert accuracy > 0.4  # chance is 0.1


def test_batch_is_standardized_and_seeded() -> None:
    data = ammup.load_data("synthetic", image_size=8, train=4000)
    x, _ = data.batch(4000)
    assert x.shape == (4000, 3, 8, 8)
    assert float(x.mean()) == pytest.approx(0, abs=1e-4)
    assert float(x.std()) == pytest.approx(1, abs=1e-3)
    again, labels = data.batch(64, seed=1), data.batch(64, seed=1)[1]
    assert torch.equal(again[1], labels)
    assert not torch.equal(data.batch(64, seed=2)[0], again[0])
    with pytest.raises(InputError, match="a batch of 5000"):
        data.batch(5000)


def _truncated(root: Path) -> Path:
    _folder(root)
    image = root / "train" / "dog" / "3.png"
    image.write_bytes(image.read_bytes()[:60])
    return root


def _two_sizes(root: Path) -> Path:
    _folder(root)
    Image.fromarray(np.zeros((9, 8, 3), np.uint8)).save(root / "train" / "dog" / "3.png")
    return root


def _bomb(root: Path) -> Path:
    _folder(root)
    Image.new("1", (20_000, 20_000)).save(root / "train" / "cat" / "0.png")
    return root


def _extra_class(root: Path) -> Path:
    _folder(root)
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
        (lambda _: "cifar11", "neither a known name .synthetic, cifar10, cifar100. nor an existing"),
        (lambda root: root / "missing", "missing' is neither a known name"),
        (_empty, "holds no training images; expected"),
        (_truncated, r"image .*dog/3.png cannot be read"),
        (_bomb, r"image .*cat/0.png cannot be read.*400000000 pixels"),
        (_two_sizes, r"3.png and the first image differ in size, 9×8 and 8×8"),
        (_extra_class, r"classes \['emu'\] have no training images"),
        (_text, "is not an .npz file"),
        (_npz(images=_IMAGES), "keys train_images"),
        (_npz(train_images=_IMAGES, train_labels=np.array([0, 1])), "one class index for each"),
        (_npz(train_images=_IMAGES / np.nan, train_labels=np.array([0, 1, 0])), "allowed: uint8"),
        (_npz(train_images=_IMAGES, train_labels=np.array([0, 1, -1])), "start at 0"),
        (_npz(train_images=_IMAGES, train_labels=np.array([{}, {}, {}])), "is not an .npz file"),
        (_npz(train_images=np.zeros((3, 4, 4, 4), np.uint8), train_labels=np.zeros(3, int)), "N×H×W×3"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_unusable_sources_are_refused(make, message: str, tmp_path: Path) -> None:
    source = make(tmp_path / "data")
    with pytest.raises(InputError, match=message):
        ammup.load_data(source)
    decoded = cache.cache_folder() / "decoded"
    assert not decoded.exists() or not [p for p in decoded.iterdir() if p.is_dir()]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train": 10_000}, "train=10000 images were asked for; there are 9000"),
        ({"train": 0}, "train=0"),
        ({"validation": 10_000}, "validation=10000"),
        ({"validation": -1}, "validation=-1"),
        ({"image_size": 0}, "image_size=0"),
    ],
)
def test_more_images_than_there_are(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ammup.load_data("synthetic", **{"image_size": 4, **arguments})


def test_no_network_is_a_clear_message(monkeypatch) -> None:
    from urllib.error import URLError

    from torchvision.datasets import utils

    def no_network(*_args: object, **_kwargs: object) -> None:
        raise URLError("Temporary failure in name resolution")

    monkeypatch.setattr(utils, "_urlretrieve", no_network)
    with pytest.raises(InputError, match=r"cifar100 could not be downloaded.*give the path of an image folder"):
        ammup.load_data("cifar100")
