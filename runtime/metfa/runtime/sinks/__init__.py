"""Where observations go: an annotated video, JSON Lines, a window, the terminal."""

from .base import Sink
from .events import JsonLinesSink
from .terminal import StatusLineSink
from .video import VideoSink
from .window import WindowSink

__all__ = ["JsonLinesSink", "Sink", "StatusLineSink", "VideoSink", "WindowSink"]
