"""What flows through the stream: a frame, what the model says of it, and the two together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture as its source delivered it.

    Attributes:
        image: uint8 [H, W] grey or [H, W, 3] in OpenCV's order of colours (blue, green, red).
        index: number of the frame in its source, from 0; frames that were dropped keep their numbers.
        captured_at: seconds on the monotonic clock (``time.monotonic``) when the frame became available.
        source: what the frame came from: a device, a file, the name of an image.
    """

    image: NDArray[np.uint8]
    index: int
    captured_at: float
    source: str


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says of one frame.

    Attributes:
        label: the most probable class.
        confidence: its probability, in [0, 1].
        probabilities: float32 [M], in the order of the contract's labels.
        embedding: float32 [D], the mean μ of the Gaussian embedding.
    """

    label: str
    confidence: float
    probabilities: NDArray[np.float32]
    embedding: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Observation:
    """A frame, its prediction, and when the prediction was there.

    Attributes:
        frame: the classified frame.
        prediction: what the model says of it.
        decided_at: seconds on the same clock as ``frame.captured_at``.
    """

    frame: Frame
    prediction: Prediction
    decided_at: float

    @property
    def latency_ms(self) -> float:
        """Milliseconds from capture to decision."""
        return 1000 * (self.decided_at - self.frame.captured_at)
