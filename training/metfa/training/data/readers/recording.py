"""Recordings, and every other medium of many frames: a few of them, none that shows what an earlier one did."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from metfa.runtime.files import utf8
from metfa.runtime.imaging.preprocess import to_grey
from metfa.runtime.sources.video import Recording

from .image import file_identity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from metfa.runtime.imaging.coded import Image
    from metfa.runtime.sources import Source

RATE = 2.0
"""Frames a second that are taken unless the user says otherwise; frames in between differ little."""

_CELLS = 32  # on each side; a frame is compared by the means of its cells
_MOVED = 6  # grey levels; compression and noise change the mean of a cell by less
_NEW = 0.02  # of the cells; where no more have changed, as a clock or a cursor does, the frame shows nothing new
_REMEMBERED = 64  # frames; a loop that is longer is taken again
_CLOCK = 0.0005  # seconds; many containers count in milliseconds


@dataclass(frozen=True, slots=True)
class RecordingFile:
    """A video; see :class:`~metfa.training.data.listing.Medium`.

    Attributes:
        path: the file.
        rate: frames per second to take.
    """

    path: Path
    rate: float

    @property
    def name(self) -> str:
        """Its path."""
        return utf8(str(self.path))

    def identity(self) -> str:
        """Return what changes when the pictures do."""
        return f"{file_identity(self.path)} {self.rate}"

    def read(self) -> Iterator[Image]:
        """Yield the frames that show something new."""
        with Recording.from_file(self.path) as source:
            yield from sample(source, self.rate)


def sample(source: Source, rate: float) -> Iterator[Image]:
    """Yield ``rate`` frames of each second of a source, all of them where it has fewer, without near-duplicates.

    Seconds are those of the recording: of one whose rate varies, frames are taken as they were shown.
    A frame is left out where one of the last 64 that were not shows the same: then the picture was frozen, or the
    recording repeats a loop, or nothing moved.

    Raises:
        SourceError: a frame cannot be read.
    """
    shown: deque[NDArray[np.int16]] = deque(maxlen=_REMEMBERED)
    due = 0
    for frame in source:
        ticks = math.floor((source.seconds_of(frame) + _CLOCK) * rate)
        if ticks < due:
            continue
        due = ticks + 1
        cells = _cells(frame.pixels)
        if shown and ((np.abs(np.stack(shown) - cells) > _MOVED).mean(axis=1) <= _NEW).any():
            continue
        shown.append(cells)
        yield frame.pixels


def _cells(image: Image) -> NDArray[np.int16]:
    """Return the mean grey level of each cell, int16 [1024]."""
    return np.asarray(cv2.resize(to_grey(image), (_CELLS, _CELLS), interpolation=cv2.INTER_AREA), np.int16).ravel()
