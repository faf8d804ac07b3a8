"""What the commands share."""

import signal
import subprocess
import sys

CRASHING = """
import ctypes
from metfa.runtime.command import Command
Command("crash", callback=lambda: ctypes.string_at(0)).main([])
"""


def test_a_crash_in_native_code_is_not_silent() -> None:
    ended = subprocess.run([sys.executable, "-c", CRASHING], capture_output=True, text=True, check=False)
    assert ended.returncode == -signal.SIGSEGV
    assert "Fatal Python error: Segmentation fault" in ended.stderr
    assert "string_at" in ended.stderr
