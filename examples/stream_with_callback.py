"""Call a function for each plane that a stream shows.

python examples/stream_with_callback.py runs/B /dev/video0
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable

from metfa.runtime import PlaneClassifier, PlaneEvent, open_source, stream


def main(bundle: str, device: str, on_event: Callable[[PlaneEvent], None], seconds: float = math.inf) -> None:
    """Stream until the source ends, or for some seconds."""
    classifier = PlaneClassifier.load(bundle)
    end = time.monotonic() + seconds
    with open_source(device) as source:
        for item in stream(source, classifier, stop=lambda: time.monotonic() > end):
            if isinstance(item, PlaneEvent):
                on_event(item)


def show(event: PlaneEvent) -> None:
    """Print an event."""
    print(f"{event.plane} from {event.start:.1f} s to {event.end:.1f} s, confidence {event.confidence:.0%}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], on_event=show)
