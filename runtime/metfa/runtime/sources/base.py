"""What every source is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..frame import Frame

_Source = TypeVar("_Source", bound="Source")

Notify = Callable[[str], object]
"""Takes a line that says what happened to a source: lost, back, another size."""


@dataclass(frozen=True, slots=True)
class CaptureFormat:
    """What a camera is asked for, or what raw frames on standard input are; None leaves it to the source.

    Attributes:
        size: width and height in pixels.
        rate: frames per second.
        pixels: ``MJPG`` or ``YUYV`` of a camera; ``gray`` or ``bgr24`` of raw frames.
    """

    size: tuple[int, int] | None = None
    rate: float | None = None
    pixels: str | None = None


class Source(ABC):
    """An open source of frames: iterate over it once, and close it, or use it as a context manager.

    Attributes:
        live: whether frames keep coming whether or not somebody takes them.
        continuous: whether each frame follows the one before it, as in a video; False where each stands for itself.
        rate: frames per second, nominally; > 0.
        description: what was opened, with the format that was negotiated.
    """

    live: bool
    continuous: bool = True
    rate: float
    description: str

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames, numbered from 0.

        Raises:
            SourceError: a frame cannot be read, the source was lost, or it ended before its time.
        """

    def seconds_of(self, frame: Frame) -> float:
        """Return when a frame is shown, in seconds since the first; of a source that is not live."""
        return frame.index / self.rate if frame.time is None else frame.time

    def close(self) -> None:  # noqa: B027  # most sources hold nothing between two frames
        """Let go of it. May be called while another thread waits for a frame."""

    def __enter__(self: _Source) -> _Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
