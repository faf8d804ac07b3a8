"""Observations as a line on the terminal that is rewritten in place."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TYPE_CHECKING

from ..text import printable
from .base import Sink

if TYPE_CHECKING:
    from ..frame import Observation

_INTERVAL_SECONDS = 0.2


class StatusLineSink(Sink):
    """What is decided, and frames per second, on stderr, five times a second."""

    name = "status line"

    def __init__(self) -> None:
        self._shown_at = time.monotonic()
        self._frames = 0

    def write(self, observation: Observation) -> None:
        """Show the observation, if it is time."""
        self._frames += 1
        seconds = observation.decided_at - self._shown_at
        if seconds < _INTERVAL_SECONDS:
            return
        line = f"{observation.decision}, {self._frames / seconds:.1f} frames/s"
        self._show(printable(line)[: shutil.get_terminal_size().columns - 1])
        self._shown_at = observation.decided_at
        self._frames = 0

    def close(self) -> None:
        """Take the line away."""
        self._show("")

    @staticmethod
    def _show(line: str) -> None:
        sys.stderr.write(f"\r\033[K{line}")
        sys.stderr.flush()
