"""Which frames a training step sees: a pure function of the seed and the step, so that a resumed run sees the same."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Cycle:
    """Numbers 0 … size − 1 in an endless row of shuffled passes, any part of which can be asked for.

    Args:
        size: how many numbers.
        seed: integers that, together with the number of the pass, seed its shuffle.
    """

    def __init__(self, size: int, *seed: int) -> None:
        self._size = size
        self._seed = seed
        self._shuffled = lru_cache(maxsize=2)(self._shuffle)

    def take(self, start: int, count: int) -> NDArray[np.int64]:
        """Return ``count`` entries of the row from position ``start``, int64 [count]."""
        positions = np.arange(start, start + count)
        return np.array([self._shuffled(position // self._size)[position % self._size] for position in positions])

    def _shuffle(self, number: int) -> NDArray[np.int64]:
        return np.random.default_rng((*self._seed, number)).permutation(self._size)


class BalancedSampler:
    """Batches with the same number of frames of every class, each class in an endless row of shuffled passes.

    Args:
        labels: int64 [N], every class at least once.
        per_class: frames of each class in a batch.
        seed: of the order.
    """

    def __init__(self, labels: NDArray[np.int64], per_class: int, seed: int) -> None:
        self._members = [np.flatnonzero(labels == label) for label in range(labels.max() + 1)]
        self._cycles = [Cycle(len(members), seed, label) for label, members in enumerate(self._members)]
        self._per_class = per_class

    def batch(self, step: int) -> NDArray[np.int64]:
        """Return the indices of the frames of a step, int64 [M · per_class]."""
        return np.concatenate(
            [
                members[cycle.take(step * self._per_class, self._per_class)]
                for members, cycle in zip(self._members, self._cycles, strict=True)
            ]
        )


class PseudoBalancedSampler:
    """Batches with frames of every class that occurs, in turns, each class in an endless row of shuffled passes.

    Args:
        labels: int64 [N], of which some classes may be absent: a model's own.
        batch_size: frames in a batch.
        seed: of the order.
    """

    def __init__(self, labels: NDArray[np.int64], batch_size: int, seed: int) -> None:
        self._members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        self._cycles = [Cycle(len(members), seed, label) for label, members in enumerate(self._members)]
        self._batch_size = batch_size

    def batch(self, step: int) -> NDArray[np.int64]:
        """Return the indices of the frames of a step, int64 [batch_size]."""
        turns = np.arange(step * self._batch_size, (step + 1) * self._batch_size)
        classes, passes = turns % len(self._members), turns // len(self._members)
        return np.array(
            [
                self._members[each][self._cycles[each].take(turn, 1)[0]]
                for each, turn in zip(classes.tolist(), passes.tolist(), strict=True)
            ]
        )


class ShuffledSampler:
    """Batches of ``batch_size`` of ``size`` frames, in an endless row of shuffled passes; knows no labels."""

    def __init__(self, size: int, batch_size: int, seed: int) -> None:
        self._cycle = Cycle(size, seed)
        self._batch_size = batch_size

    def batch(self, step: int) -> NDArray[np.int64]:
        """Return the indices of the frames of a step, int64 [batch_size]."""
        return self._cycle.take(step * self._batch_size, self._batch_size)
