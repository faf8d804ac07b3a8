"""Recorded videos."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ..errors import SourceError
from ..frame import Frame
from .base import Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from ..imaging.coded import Image
    from .pyav import Picture, Video

SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".gif"})
"""Of the files in a folder that are taken for recordings."""


class Recording(Source):
    """Every frame of a video that has an end.

    Args:
        name: ``source`` of the frames.
        video: the open video.
        description: what that is; the format is added.
    """

    live = False

    def __init__(self, name: str, video: Video, description: str) -> None:
        self.rate = video.rate
        self.description = f"{description}, {video.description}"
        self._name = name
        self._video = video

    @classmethod
    def from_file(cls, path: Path) -> Recording:
        """Open a video file.

        Raises:
            SourceError: it cannot be read or is no video.
        """
        from .pyav import open_recording  # decoders are loaded when there is something to decode

        return cls(str(path), open_recording(path), f"video {path}")

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames until the video ends. Where their size changes, another session begins."""
        index, seconds, session = -1, 0.0, 0
        shape: tuple[int, ...] | None = None
        for index, (image, seconds) in enumerate(_timed(self._video, self.rate)):
            session += shape is not None and image.shape != shape
            shape = image.shape
            yield Frame(image, index, time.monotonic(), self._name, session, time=seconds)
        if index < 0:
            raise SourceError(
                expected=f"frames in {self._name}",
                received=f"none that can be decoded as {self._video.codec}",
                remedy="record or copy it again",
            )
        if self._video.fault is not None:
            end = f"{seconds + 1 / self.rate:.1f} s ({index + 1} frames)"
            raise SourceError(
                expected=f"a whole video in {self._name}",
                received=f"one that ends after {end}: {self._video.fault}",
                remedy="copy it again; the frames up to there were processed",
            )

    def close(self) -> None:
        """Let go of the file."""
        self._video.close()


def _timed(pictures: Iterable[Picture], rate: float) -> Iterator[tuple[Image, float]]:
    """Yield each picture with its seconds since the first: by its own clock, and by the rate where that has gaps.

    Where the clock is set back, as in recordings that were joined, time goes on.
    """
    seconds, origin = -1 / rate, None
    for image, shown_at in pictures:
        due = seconds + 1 / rate
        if shown_at is not None and (origin is None or shown_at - origin < seconds):
            origin = shown_at - due
        seconds = due if shown_at is None or origin is None else shown_at - origin
        yield image, seconds
