"""The frames that training and evaluation ask for, wherever they lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

UNLABELLED = -1


class FrameSequence(Protocol):
    """Frames that can be asked for, uint8 [N, 1, H, W], or features in their place: an array, or what acts like one."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: slice | NDArray[np.int64], /) -> NDArray[Any]: ...


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


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """What a frozen encoder makes of N frames and of augmented copies of them; acts like the features of the frames.

    Attributes:
        weak: float32 [N, K, ...], augmented as for every method; the first copy is the frame as it is.
        strong: float32 [N, K, ...], augmented strongly; None where nobody asks for them.
    """

    weak: NDArray[np.float32]
    strong: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.weak)

    def __getitem__(self, index: slice | NDArray[np.int64], /) -> NDArray[np.float32]:
        """Return the features of the frames at ``index``, float32 [n, ...]."""
        return self.weak[index, 0]


@dataclass(frozen=True, slots=True)
class FrameStore:
    """The frames of one split of one domain.

    Attributes:
        frames: uint8 [N, 1, H, W]; or what a frozen encoder makes of them, float32 [N, ...].
        labels: int64 [N], the index of the class, or ``UNLABELLED``.
    """

    frames: FrameSequence
    labels: NDArray[np.int64]


def spread(count: int, number: int) -> NDArray[np.int64]:
    """Return up to ``number`` of the rows 0 to ``count`` − 1, evenly spread."""
    return np.linspace(0, count - 1, min(number, count)).round().astype(np.int64)
