"""Where observations go: an annotated video, JSON Lines, a window, the terminal, a collection, the device check."""

from .base import Sink
from .collection import CollectionLimit, CollectionSink
from .device import DeviceSink
from .events import JsonLinesSink
from .feeds import Feeds
from .terminal import StatusLineSink
from .video import VideoSink
from .window import WindowSink

__all__ = [
    "CollectionLimit",
    "CollectionSink",
    "DeviceSink",
    "Feeds",
    "JsonLinesSink",
    "Sink",
    "StatusLineSink",
    "VideoSink",
    "WindowSink",
]
