"""Features that an encoder has computed once, beside the prepared frames in the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from metfa.runtime.errors import OutputError
from metfa.runtime.files import cache_directory, replacing

from .cache import alone, open_own

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

_FILE = "features.npz"


def cached_features(key: str, count: int, compute: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the features that ``key`` stands for, from the cache or computed now.

    Args:
        key: a hash of all that they depend on.
        count: N, of how many frames they are.
        compute: returns them, float32 [N, ...].

    Raises:
        OutputError: the cache cannot be written, or another user wrote it.
    """
    folder = cache_directory() / key
    features = _read(folder / _FILE, count)
    if features is None:
        with alone(folder):
            features = _read(folder / _FILE, count)  # another process may have computed them in the meantime
            if features is None:
                features = compute()
                with replacing(folder / _FILE) as temporary:
                    np.savez(temporary, allow_pickle=False, features=features)
    return features


def _read(path: Path, count: int) -> NDArray[np.float32] | None:
    """Return what the file holds; None where it is not there, damaged (a zip has checksums) or of something else.

    Raises:
        OutputError: another user wrote it.
    """
    try:
        with open_own(path) as file, np.load(file, allow_pickle=False) as stored:
            features = stored["features"]
    except OutputError:
        raise
    except Exception:  # NumPy and zipfile raise much where a file is damaged
        return None
    return features if features.dtype == np.float32 and len(features) == count else None
