"""Files that are either whole or not there: written under a temporary name, then renamed."""

from __future__ import annotations

import errno
import hashlib
import os
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import OutputError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

WITHOUT_WAITING = getattr(os, "O_NONBLOCK", 0)
"""Opens a pipe that nobody writes to, as if it were a file. Windows keeps pipes apart from files."""

NO_LINK = getattr(os, "O_NOFOLLOW", 0)
"""Opens no symbolic link. Windows has administrators alone make such links."""

_READ_SECONDS = 1.0  # that Windows lets a reader keep a file from being replaced
_REMEDY = "free space, correct its permissions, or choose another path"


def sha256(path: Path) -> str:
    """Return the SHA-256 of the file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def writing_to(path: Path, *, remedy: str = _REMEDY) -> Iterator[None]:
    """Turn what the operating system says about ``path`` into an :class:`OutputError`."""
    try:
        yield
    except OSError as cause:
        raise OutputError(
            expected=f"to be able to write {path}",
            received=cause.strerror or str(cause),
            remedy=remedy,
        ) from None


def require_writable(directory: Path) -> None:
    """Make sure, before work is done for it, that files can be made in a directory that may not exist yet.

    Nothing is left behind.

    Raises:
        OutputError: they cannot.
    """
    with writing_to(directory):
        existing = next(each for each in (directory, *directory.absolute().parents) if each.exists())
        tempfile.TemporaryDirectory(prefix=".metfa-", dir=existing).cleanup()


def make_directory(directory: Path) -> list[Path]:
    """Make a directory where it is missing; return what was made, the parents after it, for :func:`remove_empty`."""
    missing = list(takewhile(lambda each: not each.exists(), (directory, *directory.parents)))
    directory.mkdir(parents=True, exist_ok=True)
    return missing


def remove_empty(directories: Iterable[Path]) -> None:
    """Remove directories, one after another, as far as they hold nothing."""
    for directory in directories:
        with suppress(OSError):
            directory.rmdir()


def sync(path: Path) -> None:
    """Wait until a power cut could not take back what a file holds, or which names a directory holds."""
    if sys.platform == "win32" and path.is_dir():
        return  # there no program has to, nor can it
    descriptor = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
        if sys.platform == "darwin":
            import fcntl

            with suppress(OSError):  # a network file system
                fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)  # fsync alone leaves it in the disk's own memory
    except OSError as error:
        if error.errno != errno.EINVAL:  # file systems that cannot do so for a directory
            raise
    finally:
        os.close(descriptor)


@contextmanager
def reading(path: Path | str) -> Iterator[None]:
    """Turn what the operating system says about ``path`` into a :class:`SourceError`."""
    try:
        yield
    except OSError as cause:
        raise SourceError(
            expected=f"to be able to read {path}",
            received=cause.strerror or str(cause),
            remedy="correct its permissions or the path",
        ) from None


def replace(source: Path, target: Path) -> None:
    """Let a file take the place of another, which programs may be reading; Windows has to wait for these.

    Raises:
        OSError: it cannot.
    """
    give_up_at = time.monotonic() + (_READ_SECONDS if sys.platform == "win32" else 0)
    while True:
        try:
            source.replace(target)
            return
        except PermissionError:
            if time.monotonic() >= give_up_at:
                raise
        time.sleep(_READ_SECONDS / 100)


class Replacement:
    """A temporary file beside ``path`` (same suffix) that takes its place when it is committed.

    Missing parent directories are made, and go again where nothing came to be in them.

    Attributes:
        temporary: the path to write to.

    Raises:
        OutputError: the directory cannot be written, or ``path`` is a directory.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with writing_to(path):
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            self._made = make_directory(path.parent)
            descriptor, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
            os.close(descriptor)
        self.temporary = Path(name)

    def commit(self) -> None:
        """Let the temporary file take the place of ``path``.

        Raises:
            OutputError: it cannot.
        """
        with writing_to(self._path):
            self.temporary.chmod(0o666 & ~umask())
            replace(self.temporary, self._path)

    def discard(self) -> None:
        """Remove the temporary file, if it was not committed."""
        self.temporary.unlink(missing_ok=True)
        remove_empty(self._made)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that takes the place of ``path`` if the block succeeds; see :class:`Replacement`.

    A power cut leaves the old file or the whole new one.

    Raises:
        OutputError: the directory or the file cannot be written.
    """
    replacement = Replacement(path)
    try:
        with writing_to(path):
            yield replacement.temporary
            sync(replacement.temporary)
        replacement.commit()
        with writing_to(path):
            sync(path.parent)
    finally:
        replacement.discard()


def utf8(text: str) -> str:
    """Return ``text`` without the surrogates that stand for bytes of no encoding; OpenCV crashes on them."""
    return text.encode("utf-8", "replace").decode()


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def cache_directory() -> Path:
    """Return the folder of what can be made again: ``$XDG_CACHE_HOME/metfa``, by default ``~/.cache/metfa``.

    Raises:
        OutputError: this user has no home.
    """
    return _directory_of_user("XDG_CACHE_HOME", ".cache", "what need not be made twice")


def state_directory() -> Path:
    """Return the folder of what must not be lost: ``$XDG_STATE_HOME/metfa``, by default ``~/.local/state/metfa``.

    Raises:
        OutputError: this user has no home.
    """
    return _directory_of_user("XDG_STATE_HOME", ".local/state", "what must not be lost")


def _directory_of_user(variable: str, usual: str, content: str) -> Path:
    if named := os.environ.get(variable):
        return Path(named, "metfa")
    try:
        return Path.home() / usual / "metfa"
    except RuntimeError:
        raise OutputError(
            expected=f"a home directory, to keep there {content}",
            received="a user without one",
            remedy=f"set HOME, or {variable} to a folder that you may write to",
        ) from None


def umask() -> int:
    """Return the permissions that new files of this process do not get; libraries that write securely ignore it."""
    with suppress(OSError):  # setting it, the only other way to read it, would bare the files of other threads
        for line in Path("/proc/self/status").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
