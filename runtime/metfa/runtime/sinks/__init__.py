"""Where observations and events go: files, a window, the terminal, the scanner check.

The dashboard is in a package of its own, as it takes longer to import.
"""

from .base import Sink
from .collection import CollectionLimit, CollectionSink
from .events import JsonLinesSink
from .feeds import Feeds
from .labels import LabelsSink
from .scanner import ScannerSink
from .snapshots import SnapshotSink
from .terminal import StatusLine, StatusLineSink
from .video import VideoSink
from .window import WindowSink

__all__ = [
    "CollectionLimit",
    "CollectionSink",
    "Feeds",
    "JsonLinesSink",
    "LabelsSink",
    "ScannerSink",
    "Sink",
    "SnapshotSink",
    "StatusLine",
    "StatusLineSink",
    "VideoSink",
    "WindowSink",
]
