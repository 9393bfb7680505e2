"""Headless Chromium, controlled over its debugging pipe, to test a page that contains no script."""

import base64
import io
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
# The browser reads from file descriptor 3 and writes to 4. The inherited descriptors can already have these numbers.
START = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
os.dup2(ends[0], 3), os.dup2(ends[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
SECONDS = 90.0


def executable() -> str | None:
    """Path of Chromium: $CHROME, or one of the usual names on PATH; None if there is none."""
    if sys.platform == "win32":  # Windows has no numbered pipes
        return None
    return os.environ.get("CHROME") or next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def browser(program: str, profile: Path) -> Iterator["Browser"]:
    """A browser with one tab, which exits at the end of the context."""
    browser_in, test_out = os.pipe()
    test_in, browser_out = os.pipe()
    stub = [sys.executable, "-c", START, str(browser_in), str(browser_out)]
    with (profile / "stderr").open("wb") as log:
        process = subprocess.Popen(
            [*stub, program, *FLAGS, f"--user-data-dir={profile / 'user'}", "about:blank"],
            pass_fds=(browser_in, browser_out),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    os.close(browser_in)
    os.close(browser_out)
    try:
        yield Browser(test_in, test_out, profile / "stderr")
    finally:
        os.close(test_out)  # the browser exits when the pipe is closed
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=30)
        os.close(test_in)


class Browser:
    """One tab.

    Attributes:
        problems: messages since the page was opened: blocked or failed loads, and errors.
        requests: addresses that the page requested, without the content of data addresses.
    """

    def __init__(self, read_from: int, write_to: int, log: Path) -> None:
        self.problems: list[str] = []
        self.requests: list[str] = []
        self._ends = read_from, write_to
        self._log = log
        self._rest = b""
        self._calls = 0
        self._loaded = False
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def open(self, path: Path, *, width: int, height: int = 900, dark: bool = False, media: str = "") -> None:
        """Load a file and wait for its load event."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])
        self.problems, self.requests, self._loaded = [], [], False
        self.call("Page.navigate", url=path.resolve().as_uri())
        deadline = time.monotonic() + SECONDS
        while not self._loaded:
            self._record_event(self._receive(deadline))

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page; the content security policy of the page does not apply."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def screenshot(self) -> Image.Image:
        """An image of the complete page, including the part below the window."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return Image.open(io.BytesIO(base64.b64decode(answer["data"]))).convert("RGB")

    def pdf(self) -> bytes:
        """The printed page."""
        answer = self.call("Page.printToPDF", preferCSSPageSize=True, printBackground=False)
        return base64.b64decode(answer["data"])

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """The answer to a command of the debugging protocol; events in the meantime are recorded."""
        self._calls += 1
        message = {"id": self._calls, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._ends[1], json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + SECONDS
        while (answer := self._receive(deadline)).get("id") != self._calls:
            self._record_event(answer)
        assert "error" not in answer, (method, answer["error"])
        return dict(answer["result"])

    def _record_event(self, event: dict[str, Any]) -> None:
        method, parameters = event.get("method", ""), event.get("params", {})
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"].split(",")[0])
        elif method in {"Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown",
                        "Network.loadingFailed", "Page.javascriptDialogOpening"}:  # fmt: skip
            self.problems.append(f"{method}: {json.dumps(parameters)[:300]}")

    def _receive(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._ends[0]], [], [], max(0.0, deadline - time.monotonic()))
            part = os.read(self._ends[0], 1 << 20) if ready else b""
            assert part, f"no answer from the browser: {self._log.read_text(errors='replace')[-2000:]}"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(message))
