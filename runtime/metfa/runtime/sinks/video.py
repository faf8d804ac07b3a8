"""Observations as an annotated video."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ..annotate import annotate, as_bgr
from ..errors import OutputError
from ..files import Replacement, utf8_name, writing_to
from .base import Sink

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ..frame import Observation

_CHECK_FRAMES = 15  # after so many, look how much of the disk is left
_RESERVE, _INDEX_ENTRY = 8_000_000, 32  # bytes to leave: what the encoder still holds, and the index, for each frame
_LONGEST_GAP = 5  # frames; filling longer ones would cost the live stream more frames than it saves


class VideoSink(Sink):
    """An MP4 of the annotated frames. It appears under its name, complete, when it is closed; without frames, never.

    All frames have the size of the first, with a band below it; others are fitted into it. Where a live source dropped
    frames, the last one stays for their time (up to five frames), so that the video plays at the pace of life.

    Args:
        path: the file, ``….mp4``.
        rate: frames per second.
        labels: the class names, in the order of the probabilities.

    Raises:
        OutputError: the file cannot be written, or is not to be an MP4.
    """

    name = "video"
    kind = "pictures"
    vital = True

    def __init__(self, path: Path, rate: float, labels: Sequence[str]) -> None:
        if path.suffix.lower() != ".mp4":
            raise OutputError(
                expected="a video file that ends in .mp4", received=str(path), remedy="choose another name for it"
            )
        self._path = path
        self._rate = round(rate, 2)  # MPEG-4 has 16 bits for the denominator
        self._labels = labels
        self._replacement = Replacement(path)
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)  # width and height of the frames
        self._frames = 0
        self._next_index = 0
        self._check_at = 0

    def write(self, observation: Observation) -> None:
        """Append the annotated frame."""
        frame = observation.frame
        if self._writer is None:
            self._size = (frame.image.shape[1], frame.image.shape[0])
            self._next_index = frame.index
        picture = annotate(fit(frame.image, *self._size), observation, self._labels)
        if self._writer is None:
            self._writer = self._open(picture.shape[1], picture.shape[0])
        for _ in range(min(frame.index - self._next_index + 1, _LONGEST_GAP)):
            self._writer.write(picture)
            self._frames += 1
        if self._frames >= self._check_at:
            self._check_at = self._frames + _CHECK_FRAMES
            self._refuse_to_fill_the_disk()
        self._next_index = frame.index + 1

    def close(self) -> None:
        """Complete the file and give it its name."""
        try:
            if self._writer is not None:
                self._writer.release()
                self._writer = None
                self._verify()
                self._replacement.commit()
        finally:
            self._replacement.discard()

    def _open(self, width: int, height: int) -> cv2.VideoWriter:
        codec = cv2.VideoWriter.fourcc(*"mp4v")
        with utf8_name(self._replacement.temporary) as name:
            writer = cv2.VideoWriter(name, cv2.CAP_FFMPEG, codec, self._rate, (width, height))
        if not writer.isOpened():
            raise OutputError(
                expected=f"to be able to encode {self._path}",
                received=f"a refusal of {width}x{height} pixels at {self._rate:g} frames/s",
                remedy="choose another source or leave out --output",
            )
        return writer

    def _refuse_to_fill_the_disk(self) -> None:
        """End while there is room for the index, without which an MP4 cannot be read."""
        with writing_to(self._path):
            free = shutil.disk_usage(self._replacement.temporary.parent).free
        if free < _RESERVE + self._frames * _INDEX_ENTRY:
            raise OutputError(
                expected=f"room for more of {self._path}",
                received=f"a disk with {free / 1e6:.1f} MB left",
                remedy="free space or choose another path; the video up to here is complete",
            )

    def _verify(self) -> None:
        """Make sure that what was written can be read, since OpenCV does not tell when a disk is full."""
        with utf8_name(self._replacement.temporary) as name:
            video = cv2.VideoCapture(name, cv2.CAP_FFMPEG)
        frames = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
        video.release()
        if frames != self._frames:
            raise OutputError(
                expected=f"{self._frames} frames in {self._path}",
                received=f"{frames} after writing it",
                remedy="free space on the disk or choose another path",
            )


def fit(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Return ``image`` as it is where it has that size, otherwise scaled to fit, in the middle of black.

    Args:
        image: uint8 [H, W], [H, W, 1], [H, W, 3] or [H, W, 4].
        width: columns of the result.
        height: rows of the result.

    Returns:
        uint8 [height, width, 3], or ``image`` itself.
    """
    rows, columns = image.shape[:2]
    if (rows, columns) == (height, width):
        return image
    scale = min(width / columns, height / rows)
    size = (max(round(columns * scale), 1), max(round(rows * scale), 1))
    scaled = cv2.resize(as_bgr(image), size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    canvas = np.zeros((height, width, 3), np.uint8)
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    canvas[top : top + size[1], left : left + size[0]] = scaled
    return canvas
