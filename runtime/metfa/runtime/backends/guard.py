"""What keeps a model that never returns, or that asks for boundless memory, from taking the process with it."""

from __future__ import annotations

import re
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Result = TypeVar("Result")

_TICK = 0.1  # seconds; Windows lets no signal through before a wait ends
_limiting = threading.Lock()  # the limit is the process's: one at a time may change it and put it back


def interruptible(function: Callable[[], Result]) -> Result:
    """Return what ``function``, native code that may never return, returns; in the main thread, a signal ends the wait.

    Python answers signals in the main thread only, and there not before native code has returned. What was waited for
    goes on in a daemon thread: :func:`metfa.runtime.command.run` ends the process all the same.

    Raises:
        Exception: what ``function`` raises.
        KeyboardInterrupt: a signal came first.
    """
    if threading.current_thread() is not threading.main_thread():
        return function()
    results: list[Result] = []
    errors: list[Exception] = []

    def work() -> None:
        try:
            results.append(function())
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=work, name="metfa model", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_TICK)
    if errors:
        raise errors[0]
    return results[0]


@contextmanager
def memory_limit(more: int) -> Iterator[None]:
    """Let the process take no more than ``more`` bytes of memory beyond what it has, while the block runs.

    An allocation beyond it fails, as on a machine that has no more. Where the system tells nothing of memory, there is
    no limit.
    """
    if sys.platform == "win32":
        yield
        return
    import resource

    with _limiting:
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        held = _held()
        limits = [limit for limit in (soft, None if held is None else held + more) if limit not in {None, -1}]
        if limits:
            resource.setrlimit(resource.RLIMIT_DATA, (min(limits), hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _held() -> int | None:
    """Return how many bytes count towards the limit now."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return None
    match = re.search(r"^VmData:\s*(\d+) kB$", status, re.MULTILINE)
    return int(match[1]) * 1024 if match else None
