"""Which frames to label first: few alike, those of classes that still lack labels, the uncertain and the novel."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..decisions.uncertainty import uncertainty

if TYPE_CHECKING:
    from numpy.typing import NDArray

OPEN, SKIPPED = -2, -1
"""Answers about frames that are not the index of a class."""

CLUSTERS = 28
"""Four for each of seven classes; twice and half as many need as many answers."""

_PRIOR = 0.3  # weight of the model's prediction beside that of a labelled frame of no distance
_TURN, _WORTH = 0.001, 0.01  # what decides where frames are equally likely to be of use
_SAMPLE = 2048  # frames that others are compared with to find out how novel they are


class Order:
    """The frames of a folder, by how much their labels would help.

    A frame helps as far as it is likely to be of a class that lacks labels. How likely that is, the model says, and
    labelled frames nearby. Where frames are alike in that, clusters take turns, and in a cluster the frame comes first
    that is worth most: the mean of its uncertainty (the entropy of the model's probabilities over its maximum) and its
    novelty (the distance to the nearest frame over the greatest such distance).

    The clusters are those of farthest-first traversal (Gonzalez, *Clustering to minimize the maximum intercluster
    distance*, 1985).

    Args:
        vectors: what frames are compared by, [N, D].
        probabilities: of the classes, [N, M]; all equal where there is no model.
    """

    def __init__(self, vectors: NDArray[np.float32], probabilities: NDArray[np.float32]) -> None:
        self._vectors = _normalised(vectors)
        self._probabilities = probabilities.astype(np.float64)
        self._clusters = farthest_first(self._vectors, CLUSTERS)
        novelty = _nearest(self._vectors)
        self._scale = max(float(np.median(novelty)), 1e-9)
        self._worth = (uncertainty(self._probabilities) + novelty / max(float(novelty.max()), 1e-9)) / 2

    def first(self, number: int, answers: NDArray[np.int64], wanted: int) -> list[int]:
        """Return which frames to show next, the first of them first; fewer where fewer are open.

        Every frame after the first is chosen as if those before it were of the classes that they are likely to be.

        Args:
            number: of frames.
            answers: about each frame, [N]: the index of a class, ``SKIPPED`` or ``OPEN``.
            wanted: labels of each class.
        """
        likely = self._likely(answers)
        counts = np.bincount(answers[answers >= 0], minlength=likely.shape[1]).astype(np.float64)
        turns = np.bincount(self._clusters[answers != OPEN], minlength=CLUSTERS).astype(np.float64)
        is_open = answers == OPEN
        chosen: list[int] = []
        for _ in range(min(number, int(is_open.sum()))):
            # The second term goes on where no class lacks labels any more.
            need = np.maximum(wanted - counts, 0) / wanted + 0.01 / (1 + counts)
            help_ = likely @ need - _TURN * turns[self._clusters] + _WORTH * self._worth
            best = int(np.where(is_open, help_, -math.inf).argmax())
            chosen.append(best)
            is_open[best] = False
            counts += likely[best]
            turns[self._clusters[best]] += 1
        return chosen

    def _likely(self, answers: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return how likely each frame is of each class, [N, M]."""
        votes = _PRIOR * self._probabilities
        for label in np.unique(answers[answers >= 0]):
            near = _squared_distances(self._vectors, self._vectors[answers == label])
            votes[:, label] += np.exp(-near / self._scale).sum(axis=1)
        return np.asarray(votes / votes.sum(axis=1, keepdims=True))


def farthest_first(vectors: NDArray[np.float64], number: int) -> NDArray[np.int64]:
    """Return the cluster of each vector, [N]; at most ``number`` of them.

    The first centre is the vector farthest from the mean, each other the one farthest from the centres before it. A
    vector belongs to the nearest centre.
    """
    clusters = np.zeros(len(vectors), np.int64)
    nearest = np.full(len(vectors), math.inf)
    centre = int(_squared_distances(vectors, vectors.mean(axis=0, keepdims=True)).argmax())
    for cluster in range(number):
        distances = _squared_distances(vectors, vectors[[centre]])[:, 0]
        clusters[distances < nearest] = cluster
        nearest = np.minimum(nearest, distances)
        centre = int(nearest.argmax())
        if nearest[centre] <= 0:
            break
    return clusters


def _normalised(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the vectors without what all share, of length 1."""
    centred = vectors.astype(np.float64) - vectors.mean(axis=0)
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9))


def _nearest(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the squared distance of each vector to the nearest other of an evenly spread sample, [N]."""
    sample = np.unique(np.linspace(0, len(vectors) - 1, _SAMPLE).astype(np.int64))
    distances = _squared_distances(vectors, vectors[sample])
    distances[sample, np.arange(len(sample))] = math.inf
    nearest = distances.min(axis=1)
    return np.where(np.isfinite(nearest), nearest, 0)


def _squared_distances(vectors: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return [N, O]."""
    squares = (vectors**2).sum(axis=1)[:, np.newaxis] + (others**2).sum(axis=1)
    return np.asarray(np.maximum(squares - 2 * vectors @ others.T, 0))
