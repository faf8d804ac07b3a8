"""Features of frames that an encoder has computed once, beside the prepared frames in the cache.

A folder holds the features of one encoder, made in one way, as records of one size: the digest of a frame, its
features, and a checksum of both. Records are appended, so that a run which ends early loses nothing; one that is cut
off or damaged is as good as not there.
"""

from __future__ import annotations

import os
import zlib
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from metfa.runtime.files import NO_LINK, cache_directory, writing_to

from ..progress import progress
from .cache import alone, open_own

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from .store import FrameSequence

    Compute = Callable[[NDArray[np.uint8], bytes], NDArray[np.float32]]

_FILE = "features.bin"
_DIGEST_BYTES = 16


def cached_features(key: str, frames: FrameSequence, shape: tuple[int, ...], compute: Compute) -> NDArray[np.float32]:
    """Return the features of frames, from the cache where they are there, computed and added to it where they are not.

    Args:
        key: a hash of all that they depend on beside the frame.
        frames: uint8 [N, 1, H, W].
        shape: of the features of a frame.
        compute: makes them of a frame [1, H, W] and its digest.

    Returns:
        float32 [N, *shape].

    Raises:
        OutputError: the cache cannot be written, or another user wrote it.
    """
    path = cache_directory() / key / _FILE
    record = np.dtype([("digest", np.uint8, _DIGEST_BYTES), ("features", "<f4", shape), ("checksum", "<u4")])
    digests = [_digest(frame) for frame in _each(frames)]
    known = _read(path, record)
    missing = {digest: row for row, digest in enumerate(digests) if digest not in known}
    with progress("Encoding frames", total=len(missing), unit="frame", leave=False) as bar:
        for digest, row in missing.items():
            known[digest] = compute(frames[row : row + 1][0], digest)
            _append(path, record, digest, known[digest])
            bar.update()
    return np.array([known[digest] for digest in digests], np.float32).reshape(-1, *shape)


def _each(frames: FrameSequence) -> Iterator[NDArray[np.uint8]]:
    for row in range(len(frames)):
        yield frames[row : row + 1][0]


def _digest(frame: NDArray[np.uint8]) -> bytes:
    return blake2b(frame.tobytes(), digest_size=_DIGEST_BYTES).digest()


def _read(path: Path, record: np.dtype[np.void]) -> dict[bytes, NDArray[np.float32]]:
    """Return the features in a file by the digest of their frame, without those that are damaged.

    Raises:
        OutputError: another user wrote it.
    """
    try:
        with open_own(path) as file:
            content = file.read()
    except OSError:  # it is not there
        return {}
    whole = np.frombuffer(content, record, count=len(content) // record.itemsize)
    return {each["digest"].tobytes(): each["features"] for each in whole if each["checksum"] == _checksum(each)}


def _append(path: Path, record: np.dtype[np.void], digest: bytes, features: NDArray[np.float32]) -> None:
    """Add the features of a frame to the file, which other processes add to as well."""
    made = np.zeros((), record)
    made["digest"], made["features"] = np.frombuffer(digest, np.uint8), features
    made["checksum"] = _checksum(made)
    with alone(path.parent), writing_to(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | NO_LINK, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            whole = os.fstat(descriptor).st_size // record.itemsize * record.itemsize
            file.truncate(whole)  # of a process that was killed in the middle of a record
            file.seek(whole)
            file.write(made.tobytes())


def _checksum(record: NDArray[np.void] | np.void) -> int:
    return zlib.crc32(record["features"].tobytes(), zlib.crc32(record["digest"].tobytes()))
