"""Inference engines, one file each, and the choice of one for this host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Inference:
    """What a model returns for a batch.

    Attributes:
        logits: float32 [N, M].
        embedding: float32 [N, D].
    """

    logits: NDArray[np.float32]
    embedding: NDArray[np.float32]

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """The softmax of the logits, [N, M]."""
        return self.calibrated(1.0)

    def calibrated(self, temperature: float) -> NDArray[np.float64]:
        """Return the softmax of the logits divided by ``temperature``, [N, M]."""
        exponentials = np.exp((self.logits - self.logits.max(axis=1, keepdims=True)).astype(np.float64) / temperature)
        return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


class Backend(Protocol):
    """An inference engine with a model loaded."""

    @property
    def description(self) -> str:
        """Engine, its version, the device that it runs on and the model's file, in a few words."""
        ...

    @property
    def artefact(self) -> str:
        """The name of the model's file in its bundle."""
        ...

    @property
    def concurrency(self) -> int:
        """How many threads may be in :meth:`infer` at once, and are faster together than one, ≥ 1."""
        ...

    def infer(self, frames: NDArray[np.uint8]) -> Inference:
        """Run the model on ``frames``, uint8 [N, 1, H, W] of the contract's size."""
        ...
