"""Another model takes the place of the one that serves, while streams go on."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from weakref import WeakSet

import numpy as np

from ..errors import ContractError

if TYPE_CHECKING:
    from ..bundle.contract import ModelContract
    from ..classifier import PlaneClassifier


class ExchangeableClassifier:
    """A classifier that another one can replace while streams use it.

    A stream asks which classifier is the current one before each frame. So each frame is prepared, classified and
    decided by one model, and none is left out.

    Args:
        classifier: serves until the first exchange.

    Attributes:
        current: the classifier that serves.
    """

    def __init__(self, classifier: PlaneClassifier) -> None:
        self.current = classifier
        self._shared: WeakSet[ExchangeableClassifier] = WeakSet()
        self._exchanging = threading.Lock()

    def exchange(self, successor: PlaneClassifier) -> None:
        """Let another classifier serve from the next frame on, of every source that shares this one.

        May be called by any thread; streams do not wait for it. The memory of the last model is given back as soon as
        no frame is in it any more, unless the caller refers to it.

        Args:
            successor: a model of the same classes; input, region and decision may be others.

        Raises:
            ContractError: its classes are others, or in another order.
            BackendError: it fails, or returns numbers that are not finite; as above, the last model goes on serving.
        """
        _require_same_labels(self.current.contract, successor.contract)
        _try_out(successor)
        with self._exchanging:
            sharing = list(self._shared)
            for each, own in zip(sharing, successor.shared(len(sharing)), strict=True):
                each._replace(own)
            self._replace(successor)

    def shared(self, number: int) -> list[ExchangeableClassifier]:
        """Return classifiers for so many sources at once, which are exchanged with this one.

        They share a model as those of :meth:`~metfa.runtime.classifier.PlaneClassifier.shared` do.
        """
        with self._exchanging:
            shared = [ExchangeableClassifier(own) for own in self.current.shared(number)]
            self._shared.update(shared)
        return shared

    def _replace(self, successor: PlaneClassifier) -> None:
        successor.succeed(self.current)
        self.current = successor


def _require_same_labels(serving: ModelContract, successor: ModelContract) -> None:
    """Make sure that whatever was made for the labels of a model, such as files, can go on with those of another."""
    if successor.labels != serving.labels:
        raise ContractError(
            expected=f"the classes of the model that serves, {', '.join(serving.labels)}",
            received=", ".join(successor.labels),
            remedy="restart the stream to change its classes",
        )


def _try_out(classifier: PlaneClassifier) -> None:
    """Run the model once on noise, which unlike a black picture has contrast for whatever divides by it."""
    size = classifier.contract.input
    classifier.classify(np.random.default_rng(0).integers(0, 256, (size.height, size.width), np.uint8))
