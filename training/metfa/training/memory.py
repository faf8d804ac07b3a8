"""How a process that trains holds its memory."""

from __future__ import annotations

import ctypes
import platform

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of mallopt(3)


def keep_freed_memory() -> None:
    """Let this process keep what it frees, for the next step needs it again.

    By default glibc gives tensors of megabytes back to the kernel, which clears their pages again for the next ones:
    a quarter of the time of a step on a CPU. Where there is no glibc, nothing happens.
    """
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, -1)  # never
