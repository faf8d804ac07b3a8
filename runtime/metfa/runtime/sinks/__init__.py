"""Where observations go: an annotated video, JSON Lines, a window, the terminal."""

from .base import Sink
from .events import JsonLinesSink
from .feeds import Feeds
from .terminal import StatusLineSink
from .video import VideoSink
from .window import WindowSink

__all__ = ["Feeds", "JsonLinesSink", "Sink", "StatusLineSink", "VideoSink", "WindowSink"]
