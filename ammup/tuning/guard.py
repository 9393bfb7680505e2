"""Run a command in a process group of its own, and kill the group when the process that started this one has ended.

This file is executed as a script, without imports of ammup, so that it starts within milliseconds. Its standard input
is a pipe that only that process has open for writing: the byte "t" asks the command to end (SIGTERM), and the end of
the input, which also comes when that process is killed, kills the command and its children (SIGKILL).

The exit code is that of the command; if a signal ended the command, the same signal ends this process.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading

NOT_STARTED = 127  # exit code of a shell for a missing program


def _signal(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _obey(group: int) -> None:
    """Read the standard input until its end."""
    while os.read(0, 1) == b"t":
        _signal(group, signal.SIGTERM)
    _signal(group, signal.SIGKILL)


def main(words: list[str]) -> None:
    """Run the command and exit like it."""
    try:
        command = subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        print(f"{words[0]} cannot be started: {error.strerror or error}", file=sys.stderr, flush=True)
        sys.exit(NOT_STARTED)
    threading.Thread(target=_obey, args=(command.pid,), daemon=True).start()
    code = command.wait()
    _signal(command.pid, signal.SIGKILL)  # children that outlived the command
    if code < 0:
        with contextlib.suppress(OSError):  # the action of SIGKILL cannot be changed
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
