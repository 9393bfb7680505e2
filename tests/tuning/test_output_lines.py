"""Progress in lines of text."""

import math

import pytest

from ammup.errors import InputError
from ammup.tuning.output_lines import LinePatterns, LineReader
from ammup.tuning.progress import Progress


def _read(lines: list[str], **patterns: str) -> list[Progress]:
    reader = LineReader(patterns=LinePatterns(**patterns))
    return [progress for line in lines if (progress := reader.read(line)) is not None]


def test_json_lines_among_others() -> None:
    lines = ["loading", '{"step": 10, "loss": 2.1, "score": 0.3}\n', "{not json}", '{"epoch": 1}', "[1, 2]"]
    assert _read([*lines, '  {"step": 20, "loss": 1, "other": {}}']) == [Progress(10, 2.1, 0.3), Progress(20, 1.0)]


@pytest.mark.parametrize("text", ["NaN", "null", "Infinity"])
def test_json_losses_that_are_not_finite(text: str) -> None:
    (progress,) = _read([f'{{"step": 1, "loss": {text}}}'])
    assert not math.isfinite(progress.loss)


def test_nested_json_is_not_an_error() -> None:
    assert _read(["{" + '"a":{' * 100_000]) == []


def test_patterns_with_steps() -> None:
    lines = ["epoch 3 loss=1.23, acc=45.0%", "epoch 4 loss=nan, acc=10%"]
    first, second = _read(lines, loss=r"epoch (?P<step>\d+) loss=(?P<loss>\S+)", score=r"acc=(?P<score>\S+)")
    assert first == Progress(3, 1.23, 45.0)
    assert second.step == 4
    assert math.isnan(second.loss)


def test_patterns_without_steps_count_the_lines() -> None:
    lines = ["loss 2.0", "validation 0.1", "other", "loss 1.0"]
    read = _read(lines, loss=r"loss (?P<loss>\S+)", score=r"validation (?P<score>\S+)")
    assert read == [Progress(1, 2.0), Progress(1, 2.0, 0.1), Progress(2, 1.0)]


def test_a_score_before_the_first_loss_is_ignored() -> None:
    assert _read(["acc 0.1"], loss="loss (?P<loss>.*)", score="acc (?P<score>.*)") == []


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        ({"loss": "("}, "is not a regular expression"),
        ({"loss": r"loss (\S+)"}, "has no group named loss; write the number as"),
        ({"loss": r"(?P<loss>.)", "score": "(?P<acc>.)"}, "has no group named score"),
        ({"score": "(?P<score>.)"}, "a score pattern needs a loss pattern"),
    ],
)
def test_wrong_patterns(patterns: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LinePatterns(**patterns)


def test_a_match_that_is_not_a_number() -> None:
    with pytest.raises(InputError, match="matched 'high', which is not a number"):
        _read(["loss high"], loss=r"loss (?P<loss>\S+)")
