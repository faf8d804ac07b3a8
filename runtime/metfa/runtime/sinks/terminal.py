"""Observations as a line on the terminal that is rewritten in place."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from typing import TYPE_CHECKING

from ..text import printable
from .base import Sink

if TYPE_CHECKING:
    from ..frame import Observation

_INTERVAL_SECONDS = 0.2


class StatusLine:
    """A line on stderr that is rewritten in place; each source has its part."""

    def __init__(self) -> None:
        self._parts: dict[str, str] = {}
        self._writing = threading.Lock()

    def show(self, name: str, text: str) -> None:
        """Show what is new of a source; an empty text takes its part away."""
        with self._writing:
            self._parts[name] = f"{name}: {text}" if name and text else text
            line = printable("  |  ".join(filter(None, self._parts.values())))
            sys.stderr.write(f"\r\033[K{line[: shutil.get_terminal_size().columns - 1]}")
            sys.stderr.flush()


class StatusLineSink(Sink):
    """What is decided, and frames per second, on stderr, five times a second.

    Args:
        line: where.
        source: its name, where there are several.
    """

    name = "status line"

    def __init__(self, line: StatusLine, source: str = "") -> None:
        self._line = line
        self._source = source
        self._shown_at = time.monotonic()
        self._frames = 0

    def write(self, observation: Observation) -> None:
        """Show the observation, if it is time."""
        self._frames += 1
        seconds = observation.decided_at - self._shown_at
        if seconds < _INTERVAL_SECONDS:
            return
        self._line.show(self._source, f"{observation.decision}, {self._frames / seconds:.1f} frames/s")
        self._shown_at = observation.decided_at
        self._frames = 0

    def close(self) -> None:
        """Take the line away."""
        self._line.show(self._source, "")
