"""Fixtures of all tests."""

import gc
import os
from dataclasses import replace
from functools import lru_cache
from itertools import count
from pathlib import Path

# One thread in each process of the tests and in those that they start: there are as many processes as cores. Read when
# numpy and torch are imported.
os.environ.update({f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")})

import pytest
import torch
from jaxtyping import config


def pytest_configure(config: pytest.Config) -> None:
    """Install the checks, but not where thousands of nets are drawn: there they would take most of the time."""
    if config.option.markexpr != "statistical":
        import type_checks

        type_checks.install()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """File by file, and claims one by one, for most of them are in one file; in the order of tests/schedule.py."""
    import schedule
    from xdist.scheduler import LoadScopeScheduling

    class LongestFirst(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return schedule.scope(nodeid)

    if config.option.dist != "loadscope":
        return None
    config.option.loadscopereorder = False  # in the order of collection
    return LongestFirst(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    import schedule

    place = {nodeid: number for number, nodeid in enumerate(schedule.sort(item.nodeid for item in items))}
    items.sort(key=lambda item: place[item.nodeid])


_trace = torch.fx.Tracer.trace


def _trace_unchecked(*args: object, **kwargs: object) -> torch.fx.Graph:
    """A tracer hands proxies to the forwards, and a proxy has no shape to check."""
    before = config.jaxtyping_disable
    config.update("jaxtyping_disable", True)
    try:
        return _trace(*args, **kwargs)
    finally:
        config.update("jaxtyping_disable", before)


torch.fx.Tracer.trace = _trace_unchecked


@pytest.fixture(scope="session", autouse=True)
def _models_are_left_as_they_were(request: pytest.FixtureRequest) -> None:
    """The strict oracle of tests/untouched.py, over every model of every test but the statistical ones."""
    if request.config.option.markexpr == "statistical":
        return
    import untouched

    untouched.install()


@pytest.fixture(scope="session", autouse=True)
def _synthetic_images_once() -> None:
    """Synthesize the images of each size and seed once in a process, which takes a tenth of a second or more."""
    from ammup.data import dataset

    synthesize = lru_cache(8)(dataset.synthesize)

    def copied(*arguments: int) -> dataset.Splits:
        splits = synthesize(*arguments)
        arrays = {name: (images.copy(), labels.copy()) for name, (images, labels) in splits.arrays.items()}
        return replace(splits, arrays=arrays)

    dataset.synthesize = copied


# Also where another plugin imported torch before; and results do not depend on the machine's number of cores.
torch.set_num_threads(1)


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the run-time type checks, for tests of so many calls that these would take most of the time."""
    monkeypatch.setattr(config, "jaxtyping_disable", True)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Leave the modules and the thousands of tests out of every later garbage collection."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def _caches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("caches")


# pytest finds the next number of a folder by reading the names of all earlier ones: 5 ms a test at the end.
_numbers = count()


@pytest.fixture(autouse=True)
def _cache_of_its_own(_caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = _caches / str(next(_numbers))
    cache.mkdir()
    monkeypatch.setenv("AMMUP_CACHE", str(cache))
