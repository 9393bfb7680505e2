"""Real CIFAR-10: 60,000 image files, unpacked and decoded once for all tests of this file."""

import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import ammup
from ammup.cli import cli

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def _unpacked_cifar10(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder, and a cache that keeps it decoded for both tests."""
    cache = tmp_path_factory.mktemp("cifar10-cache")
    folder = os.environ.get("AMMUP_CIFAR10")
    if folder:
        return Path(folder), cache
    archive = Path(__file__).parents[2] / "shared" / "data" / "cifar10.tar.gz"
    if not archive.is_file():
        pytest.skip("CIFAR-10 as an image folder is not here; set AMMUP_CIFAR10 to it")
    target = tmp_path_factory.mktemp("data")
    with tarfile.open(archive) as tar:
        # Python 3.11.0 to 3.11.3 have no filters; the archive is the project's own.
        tar.extractall(target, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    return target / "cifar10", cache


@pytest.fixture
def cifar10(_unpacked_cifar10: tuple[Path, Path], _cache_of_its_own: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CIFAR-10 as an image folder: $AMMUP_CIFAR10, or the archive beside the checkout."""
    folder, cache = _unpacked_cifar10
    monkeypatch.setenv("AMMUP_CACHE", str(cache))
    return folder


def test_real_cifar10(cifar10: Path) -> None:
    data = ammup.load_data(cifar10, image_size=16)
    assert data.train_images.shape == (45_000, 16, 16, 3)
    assert data.val_images.shape == (5_000, 16, 16, 3)
    assert data.test_images.shape == (10_000, 16, 16, 3)
    assert data.classes[:3] == ("airplane", "automobile", "bird")
    assert np.bincount(data.test_labels).tolist() == [1000] * 10
    np.testing.assert_allclose(data.train_images.mean(axis=(0, 1, 2)) / 255, [0.4914, 0.4822, 0.4465], atol=0.005)


def test_exponent_of_real_images(cifar10: Path) -> None:
    wider = ["--depths", "2,8", "--width", "32", "--seeds", "6", "--batch-size", "8"]
    result = CliRunner().invoke(
        cli, ["exponent", "cnn", "--data", str(cifar10), "--image-size", "16", *wider, "--json"]
    )
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    # A wide bound for few narrow draws; README shows the measurement proper.
    assert -4 < answer["slope"] < 0
    assert answer["curve"][0]["lr_star"] > answer["curve"][1]["lr_star"]
