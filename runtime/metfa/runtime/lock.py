"""Directories that belong to one process; the system gives their locks back however it ends.

Linux and macOS lock the directory itself. Windows locks no directories: there a file beside it, which the system
removes with the process that made it, is the lock.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import BundleError
from .files import make_directory, remove_empty, writing_to

if TYPE_CHECKING:
    from collections.abc import Iterator

if sys.platform == "win32":
    _REMOVAL_SECONDS = 1.0  # that Windows may refuse the name of a file that it removes
    _POLL_SECONDS = 0.01

    def _take(directory: Path, *, wait: bool) -> int:
        """Make the file that is the lock of a directory, and return its descriptor."""
        made_alone = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_TEMPORARY | os.O_NOINHERIT
        give_up_at = time.monotonic() + _REMOVAL_SECONDS
        while True:
            try:
                return os.open(f"{directory.absolute()}.lock", made_alone)
            except FileExistsError:
                if not wait:
                    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from None
                give_up_at = time.monotonic() + _REMOVAL_SECONDS
            except PermissionError:
                if time.monotonic() > give_up_at:
                    raise
            time.sleep(_POLL_SECONDS)

    def _is_still(directory: Path, descriptor: int) -> bool:
        return directory.is_dir()

else:
    import fcntl

    def _take(directory: Path, *, wait: bool) -> int:
        """Lock what has the name now, and return its descriptor."""
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def _is_still(directory: Path, descriptor: int) -> bool:
        with suppress(FileNotFoundError):
            return directory.stat().st_ino == os.fstat(descriptor).st_ino
        return False


@contextmanager
def writing_alone(directory: Path, *, wait: bool = False) -> Iterator[None]:
    """Make a directory where it is missing, and keep other processes from writing to it until the block ends.

    No file of the lock stays behind. Where nothing came to be in a directory that was made, it goes again.

    Args:
        directory: what is written to.
        wait: until another process has done so, in place of an error.

    Raises:
        BundleError: another process writes to it.
        OutputError: it cannot be made.
    """
    with writing_to(directory):
        made = make_directory(directory)
    try:
        with ExitStack() as held:
            _enter(held, directory, wait=wait)
            yield
    finally:
        remove_empty(made)


def _enter(held: ExitStack, directory: Path, *, wait: bool) -> None:
    try:
        held.enter_context(alone_in(directory, wait=wait))
    except BlockingIOError:
        raise BundleError(
            expected=f"to be the only one who writes to {directory}",
            received="another command of metfa that is writing to it",
            remedy="wait for it, or name another directory with --bundle",
        ) from None


@contextmanager
def alone_in(directory: Path, *, wait: bool) -> Iterator[None]:
    """Keep other processes, and other threads, out of blocks like this one of the same directory.

    Args:
        directory: it is there; a link leads to what is locked.
        wait: until the others have done, in place of an error.

    Raises:
        BlockingIOError: another is in such a block.
        FileNotFoundError: there is no such directory.
    """
    descriptor = None
    try:
        descriptor = lock(directory.resolve(), wait=wait)
    except (BlockingIOError, FileNotFoundError):
        raise
    except OSError:  # a network file system that locks no directories: better without a lock than not at all
        pass
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


@contextmanager
def own_directory(parent: Path, prefix: str) -> Iterator[Path]:
    """Yield a new directory that goes when the block ends, or by :func:`remove_abandoned` if the process is killed.

    The parent is made where it is missing, and goes again where nothing else came to be in it.

    Raises:
        OutputError: it cannot be made.
    """
    with writing_to(parent):
        made = make_directory(parent)
        directory, descriptor = _make_own(parent, prefix)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(descriptor)
        remove_empty(made)


def _make_own(parent: Path, prefix: str) -> tuple[Path, int]:
    while True:
        directory = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        try:
            return directory, lock(directory, wait=False)
        except (FileNotFoundError, BlockingIOError):  # another process took it for an abandoned one
            continue
        except BaseException:  # there are no locks here, or a signal came
            directory.rmdir()
            raise


def remove_abandoned(parent: Path, prefix: str) -> list[Path]:
    """Remove the directories that processes made with :func:`own_directory` before they were killed; return them."""
    removed = []
    for directory in filter(Path.is_dir, parent.glob(f"{prefix}*")):
        with suppress(OSError):  # it is in use
            descriptor = lock(directory, wait=False)
            shutil.rmtree(directory, ignore_errors=True)
            os.close(descriptor)
            removed.append(directory)
    return removed


@contextmanager
def renaming(directory: Path, target: Path) -> Iterator[None]:
    """Rename a directory that this process holds; it holds the new name until the block ends."""
    descriptor = _take(target, wait=True) if sys.platform == "win32" else None  # elsewhere the lock goes with it
    try:
        directory.rename(target)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def lock(directory: Path, *, wait: bool) -> int:
    """Lock a directory that is still there; return the descriptor that holds the lock as long as it is open.

    Raises:
        BlockingIOError: another process holds it, and this one is not to wait.
        FileNotFoundError: the directory is gone.
    """
    descriptor = _take(directory, wait=wait)
    if not _is_still(directory, descriptor):
        os.close(descriptor)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(directory))
    return descriptor
