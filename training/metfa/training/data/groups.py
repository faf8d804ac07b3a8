"""Which pictures no split may divide: those of one patient, of one recording, or nearly the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import NDArray

SIMILAR = 0.985
"""Correlation of the thumbnails of two pictures from which on they are near-duplicates.

Neighbouring frames of a recording correlate by 0.99 and more. Of 761 real frames (METFA_DATA, organs, A) no two of
different patients reach it; of 3,000 handwritten digits, 1.4 % find another that does."""

_BLOCK = 1024  # pictures compared with all others at a time


def near_duplicates(thumbnails: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Number the groups of pictures that are nearly the same, or are linked by others that are.

    Two pictures are when their thumbnails correlate by :data:`SIMILAR`, whatever their brightness and contrast. Every
    pair is compared: N² / 2 · 256 multiplications. A thumbnail of one grey level is like none but its equals.

    Args:
        thumbnails: uint8 [N, pixels].

    Returns:
        int64 [N], numbered by first appearance.
    """
    different, number = np.unique(thumbnails, axis=0, return_inverse=True)
    vectors = different.astype(np.float32)
    vectors -= vectors.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    groups = np.arange(len(different))
    for start in range(0, len(vectors), _BLOCK):
        rows, columns = np.nonzero(vectors[start : start + _BLOCK] @ vectors[start:].T >= SIMILAR)
        groups = _join(groups, groups[rows + start], groups[columns + start])
    return _renumber(groups[number.reshape(-1)])


def join(*keys: Sequence[Hashable | None]) -> NDArray[np.int64]:
    """Number the groups of pictures that share a key, or are linked by others that do.

    Args:
        keys: for each kind of key, that of each of the N pictures; None where it has none.

    Returns:
        int64 [N], numbered by first appearance.
    """
    groups = np.arange(len(keys[0]))
    for of_kind in keys:
        first: dict[Hashable, int] = {}
        pairs = [(row, first.setdefault(key, row)) for row, key in enumerate(of_kind) if key is not None]
        rows, others = np.array(pairs, np.int64).reshape(-1, 2).T
        groups = _join(groups, groups[rows], groups[others])
    return _renumber(groups)


def _join(groups: NDArray[np.int64], one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the groups after those in ``one`` were joined with their partners in ``other``."""
    count = len(groups)
    links = coo_array((np.ones(len(one), np.bool_), (one, other)), shape=(count, count))
    _, joined = connected_components(links, directed=False)
    return np.asarray(joined[groups], np.int64)


def _renumber(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the groups numbered by first appearance."""
    _, first, number = np.unique(groups, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[number.reshape(-1)]
