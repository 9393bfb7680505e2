"""Fixtures of all tests."""

import os
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import pytest
import torch
from beartype import BeartypeConf, beartype
from jaxtyping import config, install_import_hook

# Check the signatures of the package while it is tested: shapes (jaxtyping) and types, an int passing for a float as in
# Python's own typing rules. The hook takes the name of a checker, so ours needs a module.
_checker = ModuleType("ammup_type_checker")
_checker.check = beartype(conf=BeartypeConf(is_pep484_tower=True))
sys.modules[_checker.__name__] = _checker


def pytest_configure(config: pytest.Config) -> None:
    """Install the checks, but not where thousands of nets are drawn: there they would take most of the time."""
    if config.option.markexpr != "statistical":
        install_import_hook("ammup", "ammup_type_checker.check")


_trace = torch.fx.Tracer.trace


def _trace_unchecked(*args: object, **kwargs: object) -> torch.fx.Graph:
    """A tracer hands proxies to the forwards, and a proxy has no shape to check."""
    config.update("jaxtyping_disable", True)
    try:
        return _trace(*args, **kwargs)
    finally:
        config.update("jaxtyping_disable", False)


torch.fx.Tracer.trace = _trace_unchecked


@pytest.fixture(scope="session", autouse=True)
def _models_are_left_as_they_were(request: pytest.FixtureRequest) -> None:
    """The strict oracle of tests/untouched.py, over every model of every test but the statistical ones."""
    if request.config.option.markexpr == "statistical":
        return
    import untouched

    untouched.install()


# Small tensors: threads cost more than they give, and results do not depend on the machine's number of cores.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMMUP_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def _unpacked_cifar10(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder and a cache that keeps it decoded for the whole session."""
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
