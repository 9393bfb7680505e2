"""Training by a command line: a script in any language, whose output lines are read."""

import contextlib
import os
import queue
import shlex
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ammup.errors import InputError
from ammup.tuning import guard
from ammup.tuning.output_lines import LinePatterns, LineReader
from ammup.tuning.progress import Progress, RunRequest
from ammup.tuning.session import GRACE, Session, TrainingFailedError, TrainingHungError

NEEDED, OPTIONAL = ("depth", "lr"), ("seed", "budget", "state")
SHOWN_LINES = 3
GUARD = (sys.executable, "-I", "-S", str(Path(guard.__file__)))


@dataclass(frozen=True, kw_only=True)
class CommandTrainer:
    """A command with placeholders.

    Attributes:
        words: the command as separate words. ``{depth}`` and ``{lr}`` are required; ``{seed}``, ``{budget}`` (steps of
            a complete run) and ``{state}`` (a folder of the run, from which it may resume) are optional.
        patterns: how its output lines are read.

    Raises:
        InputError: there is no command, or a required placeholder is missing.
    """

    words: tuple[str, ...]
    patterns: LinePatterns = LinePatterns()  # noqa: RUF009  (frozen)

    def __post_init__(self) -> None:
        if not self.words:
            raise InputError("no command was given; write it after --, such as -- python train.py --depth {depth}")
        missing = [name for name in NEEDED if not self.has(name)]
        if missing:
            raise InputError(
                f"the command {self.name!r} has no placeholder {{{missing[0]}}}; it needs {{depth}} and {{lr}}, and "
                "may have {seed}, {budget} and {state}"
            )

    def has(self, placeholder: str) -> bool:
        """Whether the command contains a placeholder."""
        return any(f"{{{placeholder}}}" in word for word in self.words)

    @property
    def name(self) -> str:
        """The command line."""
        return shlex.join(self.words)

    @property
    def identity(self) -> str:
        """The command line and the patterns."""
        return f"command {self.words} {self.patterns.loss} {self.patterns.score}"

    def command(self, request: RunRequest) -> list[str]:
        """The words with the values of a run in the places of the placeholders; other braces are not changed."""
        values = {name: str(getattr(request, name)) for name in ("depth", "seed", "budget", "state")}
        values["lr"] = repr(request.lr)
        return [_filled(word, values) for word in self.words]

    def start(self, request: RunRequest) -> Session:
        """Start the command in a process group of its own."""
        if request.state is not None:
            request.state.mkdir(parents=True, exist_ok=True)
        return _CommandSession(self.command(request), LineReader(patterns=self.patterns), until=request.until)


def _filled(word: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        word = word.replace(f"{{{name}}}", value)
    return word


class _CommandSession:
    """A running command. Two threads read its output and its error output into a queue."""

    def __init__(self, words: Sequence[str], reader: LineReader, *, until: int) -> None:
        self.reader, self.until, self.words = reader, until, words
        self.lines: queue.Queue[tuple[str, str | None]] = queue.Queue()
        self.last: deque[str] = deque(maxlen=SHOWN_LINES)
        self.ended = 0
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}  # otherwise lines arrive only when a buffer is full
        # Ctrl-C reaches every process of the group of this process, but only this process handles it.
        self.process = subprocess.Popen(
            [*GUARD, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            errors="replace", bufsize=1, env=environment, start_new_session=True,
        )  # fmt: skip
        for name in ("stdout", "stderr"):
            threading.Thread(target=self._read, args=(name,), daemon=True).start()

    def _read(self, name: str) -> None:
        """Put each line into the queue; progress bars end lines with carriage returns, which text mode translates."""
        pipe = self.process.stdout if name == "stdout" else self.process.stderr
        assert pipe is not None  # both are pipes
        with contextlib.suppress(ValueError, OSError), pipe:
            for line in pipe:
                self.lines.put((name, line))
        self.lines.put((name, None))

    def report(self, timeout: float) -> Progress | None:
        """The next report; see :class:`ammup.tuning.session.Session`."""
        deadline = time.monotonic() + timeout
        while self.ended < 2:
            try:
                name, line = self.lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise TrainingHungError(f"no report within {timeout:g} s; {self._last_lines()}") from None
            if line is None:
                self.ended += 1
                continue
            progress = self._progress(name, line)
            if progress is not None:
                return progress
        self._end(deadline)
        return None

    def _progress(self, name: str, line: str) -> Progress | None:
        if line.strip():
            self.last.append(line.strip())
        if name == "stderr" and self.reader.patterns.loss is None:
            return None  # JSON lines are read from the standard output only
        try:
            return self.reader.read(line)
        except InputError as error:
            raise TrainingFailedError(str(error)) from error

    def _end(self, deadline: float) -> None:
        try:
            code = self.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise TrainingHungError(f"the command closed its output but did not end; {self._last_lines()}") from None
        if code == guard.NOT_STARTED and self.last and "cannot be started" in self.last[-1]:
            raise TrainingFailedError(self.last[-1])
        if code:
            ended = f"ended by signal {-code}" if code < 0 else f"exited with code {code}"
            raise TrainingFailedError(f"{ended}; {self._last_lines()}")

    def _last_lines(self) -> str:
        return f"its last lines: {' | '.join(self.last)}" if self.last else "it printed nothing"

    def stop(self) -> None:
        """Ask the process group to end (SIGTERM), and kill it after the grace period."""
        if self.process.poll() is None and self.process.stdin is not None:
            with contextlib.suppress(OSError, ValueError, subprocess.TimeoutExpired):
                self.process.stdin.write("t")
                self.process.stdin.flush()
                self.process.wait(GRACE)
        self.kill()

    def kill(self) -> None:
        """Kill the process group: its guard does so at the end of its input."""
        with contextlib.suppress(OSError, ValueError):
            if self.process.stdin is not None:
                self.process.stdin.close()
        try:
            self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
