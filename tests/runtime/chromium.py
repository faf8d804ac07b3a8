"""Chromium without a window, driven over a pipe (Chrome DevTools Protocol) with the standard library alone."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EXECUTABLE = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"))), None
)
# The browser reads commands from descriptor 3 and writes answers to 4.
_WITH_PIPES = """
import fcntl, os, sys
commands, answers, *browser = sys.argv[1:]
commands, answers = (fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in (commands, answers))
os.dup2(commands, 3)
os.dup2(answers, 4)
os.execv(browser[0], browser)
"""
_COMPLAINTS = {"Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"}


class Page:
    """A page in a browser of its own; use as a context manager.

    Attributes:
        complaints: what the page wrote to its console, and what the browser had to say of it.
    """

    def __init__(self, profile: Path, *, width: int = 1280, height: int = 900) -> None:
        self.complaints: list[dict[str, Any]] = []
        self._size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._last = 0
        self._unread = b""
        self._session: str | None = None  # commands go to the browser until they can go to its page
        read_commands, self._commands = os.pipe()
        self._answers, write_answers = os.pipe()
        assert EXECUTABLE is not None
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-c", _WITH_PIPES, str(read_commands), str(write_answers)),
                *(EXECUTABLE, "--headless=new", "--remote-debugging-pipe", f"--user-data-dir={profile}"),
                *("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),  # as root, in containers
                *("--no-first-run", "--disable-background-networking", "about:blank"),
            ],
            pass_fds=(read_commands, write_answers),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read_commands)
        os.close(write_answers)

    def __enter__(self) -> Page:
        try:
            targets = self.call("Target.getTargets")["targetInfos"]
            page = next(target["targetId"] for target in targets if target["type"] == "page")
            self._session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log"):
                self.call(f"{domain}.enable")
            self.call("Emulation.setDeviceMetricsOverride", **self._size)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the browser."""
        os.close(self._commands)
        os.close(self._answers)
        self._process.terminate()
        self._process.wait()

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Return the browser's answer to a command."""
        self._last += 1
        command: dict[str, object] = {"id": self._last, "method": method, "params": parameters}
        if self._session is not None:
            command["sessionId"] = self._session
        os.write(self._commands, json.dumps(command).encode() + b"\0")
        while (message := self._read()).get("id") != self._last:
            if message.get("method") in _COMPLAINTS:
                self.complaints.append(message["params"])
        assert "error" not in message, message
        result: dict[str, Any] = message["result"]
        return result

    def open(self, url: str) -> None:
        """Go to ``url``."""
        self.call("Page.navigate", url=url)

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def text(self, selector: str) -> str | None:
        """Return the text of the first element that ``selector`` finds, if there is one."""
        text: str | None = self.evaluate(f"document.querySelector({json.dumps(selector)})?.textContent")
        return text

    def wait_for(self, condition: Callable[[], bool], seconds: float = 30) -> None:
        """Wait until ``condition`` holds.

        Raises:
            AssertionError: it never did.
        """
        give_up_at = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < give_up_at, self.evaluate("document.body?.innerText")
            time.sleep(0.02)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            answered, _, _ = select.select([self._answers], [], [], 60)
            assert answered, "the browser does not answer"
            received = os.read(self._answers, 1 << 20)
            assert received, "the browser ended"
            self._unread += received
        message, _, self._unread = self._unread.partition(b"\0")
        parsed: dict[str, Any] = json.loads(message)
        return parsed
