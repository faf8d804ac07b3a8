"""Which pictures no split may divide: those of one patient, of one recording, or nearly the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .decoding import THUMBNAIL

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import NDArray

SIMILAR = 0.98
"""Correlation of the thumbnails of two pictures from which on they are near-duplicates.

Neighbouring frames of a recording correlate by 0.99 and more. Of 761 real frames (METFA_DATA, organs, A) no two of
different patients reach it; of 6,000 handwritten digits (MNIST), 0.7 % find another that does."""

RELATIVE = 0.25
"""Near-duplicates are no further apart than this share of what two pictures of the domain are on average (squared).

So pictures that have little but the outline of the sector in them are not taken for one another."""

_POOL = 4  # pixels of a thumbnail on each side that are one of a coarse thumbnail, to find candidates with
_ROUNDING = 1e-4  # of squared distances in single precision
_BLOCK = 256  # pictures compared with all others at a time


def near_duplicates(thumbnails: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Number the groups of pictures that are nearly the same, or are linked by others that are.

    Two pictures are when their thumbnails correlate, whatever their brightness and contrast. Every pair is compared.
    Thumbnails of unit length are no further apart than the coarse ones that they project onto, so that these tell which
    pairs need no closer look. A thumbnail of one grey level is like none but its equals.

    Args:
        thumbnails: uint8 [N, 1024], of 32 × 32 pixels.

    Returns:
        int64 [N], numbered by first appearance.
    """
    different, number = np.unique(thumbnails, axis=0, return_inverse=True)
    vectors = different.astype(np.float32)
    vectors -= vectors.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    centre = vectors.mean(axis=0) if len(vectors) else vectors
    nearest = min(2 * (1 - SIMILAR), RELATIVE * 2 * (1 - float((centre**2).sum())))  # |u - v|² = 2 (1 - u · v)
    coarse = _coarse(vectors)
    squares, ones = (coarse**2).sum(axis=1, keepdims=True), np.ones((len(coarse), 1), np.float32)
    left, right = np.hstack([-2 * coarse, squares, ones]), np.hstack([coarse, ones, squares])
    groups = np.arange(len(vectors))
    for start in range(0, len(vectors), _BLOCK):
        block = slice(start, start + _BLOCK)
        apart = left[block] @ right[start:].T
        candidates = start + np.flatnonzero(apart.min(axis=0) <= nearest + _ROUNDING)
        rows, columns = np.nonzero(2 * (1 - vectors[block] @ vectors[candidates].T) <= nearest)
        groups = _join(groups, groups[rows + start], groups[candidates[columns]])
    return _renumber(groups[number.reshape(-1)])


def _coarse(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Project thumbnails onto those that are even in squares of 4 × 4 pixels, in an orthonormal basis, [N, 64]."""
    side = THUMBNAIL // _POOL
    pooled = vectors.reshape(-1, side, _POOL, side, _POOL).sum(axis=(2, 4), dtype=np.float32)
    return np.asarray(pooled.reshape(-1, side**2) / _POOL, np.float32)


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
