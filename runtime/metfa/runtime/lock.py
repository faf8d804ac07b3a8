"""One process at a time writes to a bundle."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .errors import BundleError
from .files import make_directory, remove_empty, writing_to

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def writing_alone(directory: Path) -> Iterator[None]:
    """Make a directory where it is missing, and keep other processes from writing to it until the block ends.

    What is locked is the directory itself, so that no file stays behind, and the system gives the lock back however the
    process ends. Where nothing came to be in a directory that was made, it goes again.

    Raises:
        BundleError: another process writes to it.
        OutputError: it cannot be made.
    """
    with writing_to(directory):
        made = make_directory(directory)
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _lock(descriptor, directory)
        yield
    finally:
        os.close(descriptor)
        remove_empty(made)


def _lock(descriptor: int, directory: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BundleError(
            expected=f"to be the only one who writes to {directory}",
            received="another command of metfa that is writing to it",
            remedy="wait for it, or name another directory with --bundle",
        ) from None
    except OSError:  # network file systems that lock no directories: better without a lock than not at all
        return
