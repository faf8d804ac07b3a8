"""Observations as an annotated video."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..errors import OutputError
from ..files import make_directory, remove_empty, writing_to
from ..streaming.annotate import annotate
from .base import Sink

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ..frame import Observation
    from .mp4 import Mp4Writer


class VideoSink(Sink):
    """An MP4 of the annotated frames. What was written can be played while it grows, and whatever ends it.

    All pictures have the size of the first; frames of other sizes are fitted into it. Each stays until the next,
    as it did in the stream; only the time for which a live source was lost is left out.

    What the file held before is there until the first frame: a stream that never begins loses nothing, and leaves no
    empty file behind.

    Args:
        path: the file, ``….mp4``.
        rate: frames per second, nominally.
        labels: the class names, in the order of the probabilities.

    Raises:
        OutputError: the file cannot be written, or is not to be an MP4.
    """

    name = "video"
    kind = "pictures"
    required = True

    def __init__(self, path: Path, rate: float, labels: Sequence[str]) -> None:
        if path.suffix.lower() != ".mp4":
            raise OutputError(
                expected="a video file that ends in .mp4", received=str(path), remedy="choose another name for it"
            )
        self._path = path
        self._rate = rate
        self._labels = labels
        with writing_to(path):
            if path.exists() and not path.is_file() and not path.is_dir():
                raise OSError("a pipe or a device")  # which cannot be gone back in
            self._made = make_directory(path.parent)
            self._is_new = not os.path.lexists(path)
            self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o666), "wb", buffering=0)
        self._writer: Mp4Writer | None = None
        self._size = (0, 0)  # width and height of the frames
        self._session = 0
        self._time = 0.0  # of the last frame, in the stream
        self._shown_at = 0.0  # the same in the video

    def write(self, observation: Observation) -> None:
        """Append the annotated frame."""
        frame = observation.frame
        if self._writer is None:
            self._size = (frame.pixels.shape[1], frame.pixels.shape[0])
            self._session, self._time = frame.session, observation.time
        picture = annotate(observation, self._labels, self._size)
        if self._writer is None:
            self._writer = self._open(picture.shape[1], picture.shape[0])
        self._shown_at += observation.time - self._time if frame.session == self._session else 1 / self._rate
        self._session, self._time = frame.session, observation.time
        with writing_to(self._path):
            self._writer.write(picture, self._shown_at)

    def close(self) -> None:
        """Complete the file."""
        with writing_to(self._path):
            if self._writer is not None:
                self._writer.close()
            elif not self._file.closed:
                self._file.close()
                if self._is_new:
                    self._path.unlink(missing_ok=True)
                    remove_empty(self._made)

    def _open(self, width: int, height: int) -> Mp4Writer:
        from .mp4 import Mp4Writer  # encoders are loaded when there is something to encode

        with writing_to(self._path):
            self._file.truncate()  # what was there before
        return Mp4Writer(self._file, width, height, self._rate)
