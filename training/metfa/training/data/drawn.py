"""A source whose images are not here: embeddings are drawn in their place, from what a bundle tells of its classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .listing import SPLITS
from .store import FrameStore

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from metfa.runtime.decisions.scanner_check import ScannerReference

    from ..class_embeddings import ClassEmbeddings
    from .listing import Split

DRAWN: Mapping[Split, int] = {"train": 100, "val": 50, "test": 0}
"""Embeddings of each class that stand for a split. Training steps draw others, each time anew."""


class DrawnEmbeddings:
    """Mean embeddings in place of frames; acts like an array of them, float32 [N, D].

    Args:
        classes: what they are drawn from.
        labels: int64 [N].
        seed: of the draw.
    """

    def __init__(self, classes: ClassEmbeddings, labels: NDArray[np.int64], seed: int) -> None:
        self.classes, self.labels = classes, labels
        self._drawn = classes.draw_means(labels, seed)

    def __len__(self) -> int:
        return len(self._drawn)

    def __getitem__(self, index: slice | NDArray[np.int64], /) -> NDArray[np.float32]:
        """Return the embeddings at ``index``, float32 [n, D]."""
        return self._drawn[index]


class DrawnSource:
    """A labelled domain of which there are no images.

    Args:
        name: what the bundle calls it.
        classes: the class names, in the order of their indices.
        embeddings: of each class.
        scanner: what its images look like, for the scanner check; None where the bundle does not say.
    """

    def __init__(
        self, name: str, classes: tuple[str, ...], embeddings: ClassEmbeddings, scanner: ScannerReference | None
    ) -> None:
        self.name, self.classes, self.embeddings, self.scanner = name, classes, embeddings, scanner

    def store(self, part: Split) -> FrameStore:
        """Return embeddings that stand for a split; there are none to test on."""
        labels = np.arange(len(self.classes)).repeat(DRAWN[part])
        return FrameStore(DrawnEmbeddings(self.embeddings, labels, seed=SPLITS.index(part)), labels)
