"""Where observations and events go: files, a window, the terminal, the device check.

The dashboard is in a package of its own, as it takes longer to import.
"""

from .base import Sink
from .collection import CollectionLimit, CollectionSink
from .device import DeviceSink
from .events import JsonLinesSink
from .feeds import Feeds
from .labels import LabelsSink
from .snapshots import SnapshotSink
from .terminal import StatusLineSink
from .video import VideoSink
from .window import WindowSink

__all__ = [
    "CollectionLimit",
    "CollectionSink",
    "DeviceSink",
    "Feeds",
    "JsonLinesSink",
    "LabelsSink",
    "Sink",
    "SnapshotSink",
    "StatusLineSink",
    "VideoSink",
    "WindowSink",
]
