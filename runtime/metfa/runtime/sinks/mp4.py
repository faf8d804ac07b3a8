"""Pictures → an MP4 that can be played whatever ends it, through PyAV."""

from __future__ import annotations

import os
from fractions import Fraction
from typing import TYPE_CHECKING

import av

from ..errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from io import FileIO

    import numpy as np
    from av.packet import Packet
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

_TICK = Fraction(1, 1000)  # seconds
_FRAGMENT_SECONDS = 1.0  # what an end without warning may cost
_KEYFRAME_SECONDS = 2.0  # what jumping to a time may cost
# Each fragment can be played without what follows; closing the file turns them into a usual MP4, with one index.
_CONTAINER = {
    "movflags": "hybrid_fragmented",
    "frag_duration": str(round(_FRAGMENT_SECONDS * 1e6)),
    "flush_packets": "1",
}
# H.264 is smaller than MPEG-4 at the same quality and cost, and browsers play it. Nothing waits in the encoder.
_QUALITY = {"preset": "superfast", "crf": "23", "tune": "zerolatency"}


class Mp4Writer:
    """An H.264 video in an MP4 file.

    Args:
        file: empty, open for writing, unbuffered; it is closed with the video.
        width: of the pictures, even.
        height: of the pictures, even.
        rate: frames per second, nominally; each picture has a time of its own.

    Raises:
        OutputError: there is no such encoder, or it refuses the size.
    """

    def __init__(self, file: FileIO, width: int, height: int, rate: float) -> None:
        self._file = _Target(file)
        self._last = -1  # in ticks
        try:
            self._container = av.open(self._file, "w", format="mp4", container_options=_CONTAINER)
            nominal = Fraction(rate).limit_denominator(1001)
            self._stream = self._container.add_stream("libx264", rate=nominal, options=_QUALITY)
            context = self._stream.codec_context
            context.width, context.height, context.pix_fmt = width, height, "yuv420p"
            context.time_base = _TICK
            context.gop_size = max(1, round(_KEYFRAME_SECONDS * rate))
            context.thread_count = 1  # the others are for the model
            context.open()
        except av.FFmpegError as error:
            raise OutputError(
                expected=f"an H.264 encoder for {width}x{height} pixels at {rate:g} frames/s",
                received=error.strerror or str(error),
                remedy="choose another source or leave out --output",
            ) from None

    def write(self, picture: NDArray[np.uint8], seconds: float) -> None:
        """Append a picture, uint8 [height, width, 3] (BGR), that is shown from a time on.

        Raises:
            OSError: it cannot be written; what was written before can be played.
        """
        frame = av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(format="yuv420p", threads=1)
        frame.time_base = _TICK
        frame.pts = self._last = max(round(seconds / _TICK), self._last + 1)
        self._mux(self._stream.encode(frame))

    def close(self) -> None:
        """Complete the file.

        Raises:
            OSError: it cannot be completed; what was written before can be played.
        """
        try:
            self._mux(self._stream.encode(None))
            self._container.close()
            self._file.settle()
        finally:
            self._container.close()
            self._file.close()

    def _mux(self, packets: Sequence[Packet[VideoStream]]) -> None:
        for packet in packets:
            self._container.mux(packet)
        self._file.settle()


class _Target:
    """A file as FFmpeg sees it. Once something cannot be written, nothing more is, and FFmpeg does not notice."""

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self._whole = 0  # bytes of whole fragments
        self._error: OSError | None = None
        self.tell, self.seek, self.close = file.tell, file.seek, file.close

    def write(self, data: bytes) -> int:
        try:
            written = 0
            while self._error is None and written < len(data):
                written += self._file.write(data[written:])
        except OSError as error:
            self._error = error
        return len(data)

    def settle(self) -> None:
        """Take note that all fragments so far are whole.

        Raises:
            OSError: they are not; the last is taken back.
        """
        if self._error is not None:
            self._file.truncate(self._whole)
            raise self._error
        self._whole = self._file.seek(0, os.SEEK_END)
