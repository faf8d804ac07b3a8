"""The phantom as a live source."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ..frame import Frame
from ..phantom import Phantom, load_profile
from .base import Source

if TYPE_CHECKING:
    from collections.abc import Iterator


class SimulatedScanner(Source):
    """An endless scan of the phantom with one scanner, in real time.

    Args:
        profile: name of the scanner's profile.

    Raises:
        ProfileError: there is no such profile.
    """

    live = True
    rate = 30.0

    def __init__(self, profile: str) -> None:
        self._name = f"phantom:{profile}"
        self._phantom = Phantom(load_profile(profile))
        self.description = f"phantom scanned with scanner {profile}, {self.rate:g} frames/s"

    def __iter__(self) -> Iterator[Frame]:
        """Yield a frame every 1/rate s, or as fast as they are drawn where that is slower."""
        due = time.monotonic()
        for index, (image, _) in enumerate(self._phantom.scan(seed=0)):
            now = time.monotonic()
            if now < due:
                time.sleep(due - now)
            yield Frame(image, index, time.monotonic(), self._name)
            due = max(due, now) + 1 / self.rate  # time lost is not made up for
