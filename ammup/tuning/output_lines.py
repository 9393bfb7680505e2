"""Progress in the output of a command: JSON lines, or the lines that regular expressions match."""

import re
from dataclasses import dataclass, field

from ammup.errors import InputError
from ammup.parsing import parse_json
from ammup.tuning.progress import Progress


@dataclass(frozen=True, kw_only=True)
class LinePatterns:
    r"""Regular expressions with named groups; None reads JSON lines.

    Attributes:
        loss: has a group ``loss`` and optionally ``step``, such as ``epoch (?P<step>\d+) loss=(?P<loss>\S+)``.
            Without ``step``, the lines that match are counted.
        score: has a group ``score`` and optionally ``step``. The score belongs to the last step if there is no group.

    Raises:
        InputError: an expression is invalid or lacks its group, or only ``score`` is given.
    """

    loss: str | None = None
    score: str | None = None

    def __post_init__(self) -> None:
        for name in ("loss", "score"):
            pattern = getattr(self, name)
            if pattern is None:
                continue
            try:
                groups = re.compile(pattern).groupindex
            except re.error as error:
                raise InputError(f"{name} pattern {pattern!r} is not a regular expression: {error}") from error
            if name not in groups:
                raise InputError(
                    f"{name} pattern {pattern!r} has no group named {name}; write the number as (?P<{name}>\\S+)"
                )
        if self.score is not None and self.loss is None:
            raise InputError("a score pattern needs a loss pattern; give both")


@dataclass(kw_only=True)
class LineReader:
    """Turns the lines of one run into progress.

    Attributes:
        patterns: how lines are read.
        step: last step.
        loss: last loss; None before the first.
    """

    patterns: LinePatterns
    step: int = 0
    loss: float | None = None
    _compiled: dict[str, re.Pattern[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        given = {"loss": self.patterns.loss, "score": self.patterns.score}
        self._compiled = {name: re.compile(pattern) for name, pattern in given.items() if pattern is not None}

    def read(self, line: str) -> Progress | None:
        """The progress that the line reports, or None for another line.

        Raises:
            InputError: the line matches, but a value is not a number.
        """
        return self._matched(line) if self._compiled else self._json(line)

    def _json(self, line: str) -> Progress | None:
        text = line.strip()
        if not text.startswith("{"):
            return None
        try:
            values = parse_json(text, infinite=True)
        except ValueError:
            return None
        if not isinstance(values, dict) or not {"step", "loss"} <= values.keys():
            return None
        loss = float("nan") if values["loss"] is None else values["loss"]  # some encoders write null for NaN
        return Progress(values["step"], loss, values.get("score"))

    def _matched(self, line: str) -> Progress | None:
        found = {name: match for name, pattern in self._compiled.items() if (match := pattern.search(line))}
        if not found:
            return None
        steps = [match["step"] for match in found.values() if match.re.groupindex.get("step") and match["step"]]
        if steps:
            self.step = int(_number("step", steps[0]))
        elif "loss" in found:
            self.step += 1
        if "loss" in found:
            self.loss = _number("loss", found["loss"]["loss"])
        if self.loss is None:  # a score before the first loss, such as that of the untrained net
            return None
        score = _number("score", found["score"]["score"]) if "score" in found else None
        return Progress(self.step, self.loss, score)


def _number(name: str, text: str | None) -> float:
    """The number, also with a percent sign, a comma or a bracket behind it."""
    try:
        return float((text or "").strip().rstrip("%,;)]"))
    except ValueError:
        raise InputError(f"the {name} pattern matched {text!r}, which is not a number; narrow the group") from None
