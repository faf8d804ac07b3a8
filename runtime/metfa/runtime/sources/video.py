"""Recorded videos, through OpenCV."""

from __future__ import annotations

import time
from itertools import count
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ..errors import SourceError
from ..files import reading, utf8_name
from ..frame import Frame
from .base import Source
from .opencv import duration_of, format_of, rate_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".gif"})
"""Of the files in a folder that are taken for recordings."""


class Recording(Source):
    """Every frame of a video that has an end.

    Args:
        name: ``source`` of the frames.
        capture: what OpenCV opened.
        description: what that is; the format is added.
    """

    live = False

    def __init__(self, name: str, capture: cv2.VideoCapture, description: str) -> None:
        self.rate = rate_of(capture)
        self.description = f"{description}, {format_of(capture)}"
        self._name = name
        self._capture = capture

    @classmethod
    def from_file(cls, path: Path) -> Recording:
        """Open a video file.

        Raises:
            SourceError: it cannot be read or is no video.
        """
        with reading(path), path.open("rb") as file:
            is_empty = not file.read(1)
        if is_empty:
            raise _no_video(path, "an empty file")
        with utf8_name(path) as name:
            capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG)
        if not capture.isOpened():
            raise _no_video(path, "a file that is truncated or no video")
        return cls(str(path), capture, f"video {path}")

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames until the video ends."""
        position = 0.0  # of the last frame, in ms
        for index in count():
            received, image = self._capture.read()
            captured_at = time.monotonic()
            if not received:
                break
            position = self._capture.get(cv2.CAP_PROP_POS_MSEC)
            yield Frame(np.asarray(image, np.uint8), index, captured_at, self._name)
        if index == 0:
            raise SourceError(
                expected=f"frames in {self._name}",
                received="none that can be decoded",
                remedy="record or copy it again",
            )
        seconds, duration = (position + 1000 / self.rate) / 1000, duration_of(self._capture)
        if seconds < 0.9 * duration:  # what containers say of their length is often a little off
            raise SourceError(
                expected=f"{duration:.1f} s of video in {self._name}",
                received=f"a file that ends after {seconds:.1f} s ({index} frames)",
                remedy="copy it again; the frames up to there were processed",
            )


def _no_video(path: Path, received: str) -> SourceError:
    return SourceError(expected=f"a video in {path}", received=received, remedy="record or copy it again")
