"""The frames that training and evaluation ask for, wherever they lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

UNLABELLED = -1


class FrameSequence(Protocol):
    """Frames that can be asked for, uint8 [N, 1, H, W]: an array, or :class:`Rows` of one."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: slice | NDArray[np.int64], /) -> NDArray[np.uint8]: ...


class Rows:
    """Some of the frames of an array that is mapped to a file, read when they are asked for and not before.

    Args:
        array: uint8 [P, 1, H, W], or rows of one.
        rows: which of them, int64 [N].
    """

    def __init__(self, array: FrameSequence, rows: NDArray[np.int64]) -> None:
        self._array = array
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: slice | NDArray[np.int64], /) -> NDArray[np.uint8]:
        """Return a copy of the frames at ``index``, uint8 [n, 1, H, W]."""
        return np.asarray(self._array[self._rows[index]])


@dataclass(frozen=True, slots=True)
class FrameStore:
    """The frames of one split of one domain.

    Attributes:
        frames: uint8 [N, 1, H, W].
        labels: int64 [N], the index of the class, or ``UNLABELLED``.
    """

    frames: FrameSequence
    labels: NDArray[np.int64]
