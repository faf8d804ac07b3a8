"""What recordings and network streams share: FFmpeg's demuxers and decoders, through PyAV."""

from __future__ import annotations

import os
import re
import stat
import threading
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange

from ..errors import SourceError
from ..files import WITHOUT_WAITING, reading
from ..imaging.coded import CodedImage

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

    from ..imaging.coded import Image

_DEFAULT_RATE = 30.0  # where the container does not tell
_MAX_PIXELS = 1 << 26  # of a picture: twice those of 8K
_MAX_UNUSED = 1 << 28  # bytes without a picture: in a file of holes, FFmpeg would search for hours
_MAX_HOLES = _MAX_UNUSED >> 16  # 64 KB each
_ENDLESS = {"mpeg", "mpegts"}  # containers without a length: such a file may end anywhere, within a picture too
_OPTIONS = {"fflags": "-genpts"}  # wrong where pictures are stored in another order, and waits for the next
# Titles and the like may be of any encoding; from PyAV 19 on that is nobody's error.
_ANY_TEXT: dict[str, Any] = {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "replace"}
# Formats whose first plane is luma: 8 bits, or more in the lower bits of words.
_WITH_LUMA = re.compile(r"gray|yuvj?4\d\dp|yuva4\d\dp|nv(?:12|16|21|24)|yuva?4\d\dp(?P<bits>9|10|12|14|16)le")
_FULL_RANGE = ("gray", "yuvj")  # what formats begin with that always have it
_TURNS = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, -90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, -180: cv2.ROTATE_180}


FFMPEG_VERSION: str = av.ffmpeg_version_info
"""Of the FFmpeg inside PyAV, such as ``8.1.2``."""


class Picture(NamedTuple):
    """A decoded picture.

    Attributes:
        image: upright; where the video has no luma, uint8 [H, W, 3] (BGR).
        time: when it is shown, in seconds on the clock of its container; None where that has none.
    """

    image: Image
    time: float | None


class Video:
    """The pictures of a recording or a network stream, in the order in which they are shown. Iterate over it once.

    What cannot be decoded is left out.

    Attributes:
        rate: frames per second, nominally; > 0. The pictures have times of their own.
        duration: seconds that the container announces; None where it does not know, as of live streams.
        description: size and rate in words.
        codec: what the decoder calls itself.
        fault: after the last picture, why there are no more; None where the video has simply ended.

    Raises:
        SourceError: there is no video in the container, or nothing here decodes it.
    """

    def __init__(self, container: InputContainer, name: str, file: _File | None = None) -> None:
        self._container = container
        self._file = file
        self._in_use = threading.Lock()
        self._stream = _video_of(container, name)
        context = self._stream.codec_context
        # One thread: with each further one the decoder holds back a picture, and tells later what is damaged.
        context.thread_count = 1
        context.options = {"max_pixels": str(_MAX_PIXELS)}
        rate = self._stream.guessed_rate or self._stream.average_rate or 0
        self.rate = float(rate) if 0 < rate < 1000 else _DEFAULT_RATE
        self.duration = None if container.duration is None else container.duration / av.time_base
        self.description = f"{context.width}x{context.height} pixels, {self.rate:.4g} frames/s"
        self.codec = context.name
        self.fault: str | None = None

    def __iter__(self) -> Generator[Picture, None, None]:
        """Decode picture by picture."""
        clock = self._stream.time_base
        with self._in_use:
            try:
                for frame in self._frames():
                    # AVI and elementary streams tell when to decode a picture: in that order they are shown, too.
                    ticks = frame.dts if frame.pts is None else frame.pts
                    yield Picture(_to_image(frame), None if ticks is None or not clock else float(ticks * clock))
            finally:
                self._release()

    def close(self) -> None:
        """Let go of the file; whoever still iterates does so in the end."""
        if self._in_use.acquire(blocking=False):
            self._release()
            self._in_use.release()

    def _release(self) -> None:
        self._container.close()
        if self._file is not None:
            self._file.close()

    def _packets(self) -> Iterator[Packet[VideoStream]]:
        for _ in range(_MAX_HOLES):
            try:
                yield from self._container.demux(self._stream)
            except av.BlockingIOError:  # a transport stream with a hole: behind it may be more
                continue
            return

    def _frames(self) -> Iterator[VideoFrame]:
        decoder = self._stream.codec_context
        try:
            for packet in self._packets():
                if not packet.size:  # a picture that was dropped while recording, or the end
                    continue
                if self._file is not None:
                    self._file.unused = 0
                self.fault = "its last picture is damaged"  # unless it turns out to be whole, or not to be the last
                if packet.is_corrupt:
                    continue
                try:
                    frames = decoder.decode(packet)
                except av.FFmpegError:
                    continue
                if not any(frame.is_corrupt for frame in frames):
                    self.fault = None
                yield from (frame for frame in frames if not frame.is_corrupt)
            yield from (frame for frame in decoder.decode(None) if not frame.is_corrupt)
            if self._container.format.name in _ENDLESS:
                self.fault = None
            elif self._file is not None and self._file.ends_early():
                self.fault = "its container announces more"
        except av.ExitError:
            self.fault = f"nothing came for {self._container.read_timeout:g} s"
        except av.FFmpegError as error:
            self.fault = _in_words(error)
        if self._file is not None and self._file.error is not None:
            self.fault = _in_words(self._file.error)


def open_recording(file: Path | BinaryIO, name: str | None = None) -> Video:
    """Open a recorded video, whatever its name says of its format.

    FFmpeg gets its bytes and neither its name nor anything else: a playlist cannot lead to other files or hosts.

    Args:
        file: its path, or the open file, such as ``BytesIO`` of what a DICOM file holds. It is closed with the video.
        name: what to call it in messages; by default its path.

    Raises:
        SourceError: it cannot be read, or is no video that can be decoded here.
    """
    name = str(file) if name is None else name
    with reading(name):
        opened = _File(_open(file) if isinstance(file, Path) else file)
        try:
            return _open_recording(opened, name)
        except BaseException:
            opened.close()
            raise


def _open_recording(file: _File, name: str) -> Video:
    if not file.read(1):
        raise _no_video(name, "an empty file")
    file.seek(0)
    try:
        options = {**_OPTIONS, "protocol_whitelist": "none"}
        container = av.open(file, "r", container_options=options, **_ANY_TEXT)
    except av.FFmpegError:
        raise file.error or _no_video(name, "a file that is truncated or no video") from None
    file.unused = 0
    return Video(container, name, file)


def open_stream(url: str, name: str, open_seconds: float, read_seconds: float) -> Video:
    """Open what a URL delivers.

    Args:
        url: of the stream; options of FFmpeg may follow a ``?``.
        name: what to call it in messages.
        open_seconds: how long to wait for an answer, and again for the first pictures.
        read_seconds: how long to wait for each further picture.

    Raises:
        SourceError: no answer came in time, or no video that can be decoded here.
    """
    try:
        timeout = (open_seconds, read_seconds)
        container = av.open(url, "r", container_options=_OPTIONS, timeout=timeout, **_ANY_TEXT)
    except av.FFmpegError as error:
        received = f"none within {open_seconds:g} s" if isinstance(error, av.ExitError) else _in_words(error)
        raise SourceError(
            expected=f"a video stream at {name}",
            received=received,
            remedy="check the address and the network, or try it with ffplay",
        ) from None
    return Video(container, name)


class _File:
    """A file as FFmpeg sees it: without a name, which would be a hint or a pattern, and with an end.

    Nothing is raised through FFmpeg, as PyAV would print what it cannot pass on.

    Attributes:
        unused: bytes that were read since the last picture.
        error: what ended the file before its time.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.unused = 0
        self.error: OSError | None = None
        self.tell, self.close = file.tell, file.close

    def read(self, size: int) -> bytes:
        self.unused += size
        try:
            if self.unused > _MAX_UNUSED:
                raise OSError(f"{_MAX_UNUSED >> 20} MB without a picture")
            return self._file.read(size)
        except OSError as error:
            self.error = error
            return b""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError):  # in front of the beginning
            return -1

    def ends_early(self) -> bool:
        """Return whether a Matroska file is shorter than it says; its demuxer keeps that to itself."""
        length = self._file.seek(0, os.SEEK_END)
        self._file.seek(0)
        head, mark, segment = self._file.read(4096).partition(b"\x18\x53\x80\x67")
        if not mark or not head.startswith(b"\x1a\x45\xdf\xa3"):
            return False
        octets = 9 - segment[0].bit_length()  # of the segment's size: as many as the first has leading zeros, and one
        unknown = (1 << 7 * octets) - 1
        size = int.from_bytes(segment[:octets], "big") & unknown
        return size != unknown and len(head + mark) + octets + size > length


def camera_names(listing: str) -> list[str]:
    """Return what the system calls its cameras; none is opened.

    Args:
        listing: FFmpeg's name for the system's cameras, such as ``dshow``.
    """
    return [each.description for each in av.enumerate_input_devices(listing) if "video" in each.media_types]


def _open(path: Path) -> BinaryIO:
    # By descriptor, as the name is FFmpeg's hint; without waiting, as a pipe has nothing to read yet.
    file = os.fdopen(os.open(path, os.O_RDONLY | WITHOUT_WAITING), "rb", buffering=0)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise _no_video(str(path), "a pipe, a device or a folder")
    return file


def _video_of(container: InputContainer, name: str) -> VideoStream:
    """Return the container's video, or say what is missing."""
    stream = container.streams.best("video")
    if stream is None:
        raise _no_video(name, "a file without one")
    if not isinstance(stream, av.VideoStream) or stream.codec_context is None:
        raise SourceError(
            expected=f"a video in {name} that PyAV {av.__version__} decodes",
            received=f"the codec {_codec_of(container)}",
            remedy="convert it: ffmpeg -i FILE -c:v libx264 NEW.mp4",
        )
    context = stream.codec_context
    if context.width * context.height > _MAX_PIXELS:
        raise _no_video(name, f"pictures of {context.width}x{context.height} pixels")
    return stream


def _codec_of(container: InputContainer) -> str:
    """Return what FFmpeg calls the codec of a video that it cannot decode; PyAV shows it nowhere else."""
    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    try:
        found = re.search(r"Video: (?:none \()?(\w+)", container.dumps_format())  # type: ignore[attr-defined, unused-ignore]
    finally:
        av.logging.set_level(level)
    return found[1] if found else "of an unknown name"


def _to_image(frame: VideoFrame) -> Image:
    name = frame.format.name
    bits = _bits_of_luma(name)
    if bits is None or frame.planes[0].line_size < 0:  # upside down
        return _to_bgr(frame)
    is_limited = not (name.startswith(_FULL_RANGE) or frame.color_range == ColorRange.JPEG)
    return CodedImage(_upright(_luma(frame, bits), frame), partial(_to_bgr, frame), is_limited=is_limited)


def _luma(frame: VideoFrame, bits: int) -> NDArray[np.uint8]:
    """Return the first plane: where it has 8 bits, the decoder's own memory, which is nobody else's to change."""
    plane = memoryview(frame.planes[0]).toreadonly()
    if bits == 8:
        return np.frombuffer(plane, np.uint8).reshape(frame.height, -1)[:, : frame.width]
    words = np.frombuffer(plane, np.uint16).reshape(frame.height, -1)[:, : frame.width]
    return np.asarray(cv2.convertScaleAbs(words, alpha=0.5 ** (bits - 8)), np.uint8)


@lru_cache
def _bits_of_luma(name: str) -> int | None:
    """Return how deep the first plane of a format is, if it is luma; None where there is no such plane."""
    found = _WITH_LUMA.fullmatch(name)
    return None if found is None else int(found["bits"] or 8)


def _to_bgr(frame: VideoFrame) -> NDArray[np.uint8]:
    # As ffmpeg converts: bicubic where colours are halved, limited range to full; threads cost more than they save.
    bgr = frame.to_ndarray(format="bgr24", interpolation="BICUBIC", threads=1)
    return _upright(np.asarray(bgr, np.uint8), frame)


def _upright(image: NDArray[np.uint8], frame: VideoFrame) -> NDArray[np.uint8]:
    turn = _TURNS.get(frame.rotation)
    return image if turn is None else np.asarray(cv2.rotate(image, turn), np.uint8)


def _no_video(name: str, received: str) -> SourceError:
    return SourceError(expected=f"a video in {name}", received=received, remedy="record or copy it again")


def _in_words(error: av.FFmpegError | OSError) -> str:
    return error.strerror or str(error)
