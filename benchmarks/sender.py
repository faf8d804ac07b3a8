"""A scanner on the network: FFmpeg, which sends a clip again and again in real time."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class Sender:
    """FFmpeg, which repeats a clip until it is closed.

    Args:
        clip: as it is sent, H.264 in MPEG-TS.
        port: of the loopback, over UDP.

    Attributes:
        started_at: seconds on the monotonic clock of the last start.
    """

    def __init__(self, clip: Path, port: int) -> None:
        address = f"udp://127.0.0.1:{port}?pkt_size=1316"
        self._command = ["ffmpeg", "-v", "error", "-re", "-stream_loop", "-1", "-i", str(clip), "-c", "copy"]
        self._command += ["-f", "mpegts", address]
        self._start()

    def restart(self, silence_seconds: float) -> None:
        """Die, and come back after a while."""
        self.close()
        time.sleep(silence_seconds)
        self._start()

    def close(self) -> None:
        """Send no more."""
        self._process.kill()
        self._process.wait()

    def _start(self) -> None:
        self.started_at = time.monotonic()
        self._process = subprocess.Popen(self._command)
