"""Recordings of every kind, made with PyAV from pictures that survive compression."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_TICK = Fraction(1, 1000)


def scene(number: int, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """A smooth grey picture of its own brightness and texture, uint8 [H, W, 3]."""
    coarse = np.random.default_rng(number).integers(60, 200, (4, 5)).astype(np.uint8)
    grey = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), np.uint8)


class Pipe:
    """What a program writes to that cannot go back."""

    def __init__(self) -> None:
        self.content = b""

    def write(self, data: bytes) -> int:
        self.content += data
        return len(data)


def encode(
    path: Path,
    pictures: Sequence[NDArray[np.uint8]],
    *,
    codec: str = "libx264",
    rate: Fraction | int = 25,
    pixels: str = "yuv420p",
    b_frames: int = 0,
    times: Sequence[float] | None = None,
    start: float = 0.0,
    piped: bool = False,
    options: dict[str, str] | None = None,
) -> Path:
    """Write a recording.

    Args:
        path: its suffix tells the container.
        pictures: uint8 [H, W, 3] (BGR).
        codec: what FFmpeg calls the encoder.
        rate: frames per second.
        pixels: what FFmpeg calls their format.
        b_frames: how many may stand between two others, which are then stored in another order than shown.
        times: seconds at which the pictures are shown; by default as the rate tells.
        start: seconds at which the recording begins to be shown; what comes before is there, and not shown.
        piped: written as if to a pipe: what is known in the end only is missing from the beginning.
        options: of the container.
    """
    height, width = pictures[0].shape[:2]
    pipe = Pipe() if piped else None
    form = {".mkv": "matroska", ".mpg": "vob", ".ts": "mpegts", ".wmv": "asf"}.get(path.suffix, path.suffix[1:])
    target: Any = pipe or str(path)
    trimmed = {"avoid_negative_ts": "disabled"} if start else {}
    container = av.open(target, "w", format=form, container_options={**trimmed, **(options or {})})
    stream: Any = container.add_stream(codec, rate=rate)
    stream.width, stream.height, stream.pix_fmt = width, height, pixels
    stream.codec_context.thread_count = 1
    stream.codec_context.max_b_frames = b_frames
    stream.codec_context.gop_size = 12
    stream.codec_context.bit_rate = 2_000_000
    if times is not None:
        stream.codec_context.time_base = _TICK
    for number, picture in enumerate([*pictures, None]):
        frame = None if picture is None else av.VideoFrame.from_ndarray(picture, "bgr24").reformat(format=pixels)
        if frame is not None:
            frame.time_base = _TICK if times is not None else 1 / Fraction(rate)
            frame.pts = round(times[number] / _TICK) if times is not None else number
        for packet in stream.encode(frame):
            if start:
                shift = round(start / packet.time_base)
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            container.mux(packet)
    container.close()
    if pipe is not None:
        path.write_bytes(pipe.content)
    return path
