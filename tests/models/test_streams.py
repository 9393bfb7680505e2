"""Random streams: what they depend on, and what they leave alone."""

import random

import numpy as np
import pytest
import torch

from ammup.models.streams import RandomState, random_stream, seeded

Numbers = tuple[float, float, float]


def _draw() -> Numbers:
    """From each global generator."""
    return torch.rand(()).item(), random.random(), float(np.random.rand())  # noqa: NPY002


def _fail(_numbers: Numbers) -> None:
    raise ZeroDivisionError


def test_a_stream_depends_on_its_whole_key_and_on_nothing_else() -> None:
    keys = [("weights", 1), ("weights", 2), ("weights", "1"), ("weights1",), (1, "weights"), ("weights", 1, 0)]
    first = [torch.rand(4, generator=random_stream(*key)) for key in keys]
    torch.manual_seed(7)
    second = [torch.rand(4, generator=random_stream(*key)) for key in reversed(keys)][::-1]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert len({tuple(numbers.tolist()) for numbers in first}) == len(keys)


def test_streams_do_not_change_between_versions() -> None:
    """Stored figures are reproduced by these numbers."""
    assert random_stream("weights", 1).initial_seed() == 14347692192924729463


def test_seeded_blocks_draw_the_same_and_leave_the_generators_as_they_were() -> None:
    with seeded("outside"):
        expected = [_draw(), _draw()]
    found = []
    with seeded("outside"):
        found.append(_draw())
        with seeded("inside", 1):
            inside = _draw()
        found.append(_draw())
    assert found == expected
    with seeded("inside", 1):
        assert _draw() == inside
    with seeded("inside", 2):
        assert not set(_draw()) & set(inside)


def test_generators_are_restored_after_an_exception() -> None:
    with seeded("outside"):
        expected = _draw()
    with seeded("outside"):
        with pytest.raises(ZeroDivisionError), seeded("inside"):
            _fail(_draw())
        assert _draw() == expected


def test_a_state_continues_where_it_was_left() -> None:
    with seeded("key"):
        expected = [_draw() for _ in range(4)]
    state, found = RandomState("key"), []
    for _ in range(2):
        with state.restored():
            found += [_draw(), _draw()]
        _draw()  # outside: it does not count
    assert found == expected


def test_a_state_left_by_an_exception_continues_from_before() -> None:
    state = RandomState("key")
    with seeded("key"):
        first = _draw()
    with pytest.raises(ZeroDivisionError), state.restored():
        _fail(_draw())
    with state.restored():
        assert _draw() == first


@pytest.mark.parametrize("accelerator", [False, True])
def test_a_stream_of_torch_is_that_of_manual_seed(accelerator: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an accelerator, which may not have started yet, all of torch's generators are seeded."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: accelerator)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(random_stream("key").initial_seed())
        expected = torch.rand(8)
    with seeded("key"):
        assert torch.equal(torch.rand(8), expected)
