"""Stream from a source that metfa does not know: here, arrays that some other program hands over.

python examples/own_source.py runs/B
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from metfa.runtime import Frame, Observation, PlaneClassifier, Source, stream


class Arrays(Source):
    """Frames that are arrays, uint8 [H, W] or [H, W, 3], each following the one before it."""

    live = False
    rate = 25.0
    description = "arrays"

    def __init__(self, images: Iterable[NDArray[np.uint8]]) -> None:
        self._images = images

    def __iter__(self) -> Iterator[Frame]:
        """Number the arrays from 0."""
        for index, image in enumerate(self._images):
            yield Frame(image, index, time.monotonic(), "arrays")


if __name__ == "__main__":
    noise = np.random.default_rng(0).integers(0, 256, (10, 480, 640), np.uint8)
    for item in stream(Arrays(noise), PlaneClassifier.load(sys.argv[1])):
        if isinstance(item, Observation):
            print(f"frame {item.frame.index}: {item.decision.status}, {item.prediction.label}")
