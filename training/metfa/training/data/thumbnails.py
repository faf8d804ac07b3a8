"""Thumbnails as vectors of mean 0 and length 1, and which of them are near one another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .decoding import THUMBNAIL

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIMILAR = 0.98
"""Correlation of the thumbnails of two pictures from which on they are near-duplicates.

Neighbouring frames of a recording correlate by 0.99 and more. Of 761 real frames (METFA_DATA, organs, A) no two of
different patients reach it; of 6,000 handwritten digits (MNIST), 0.7 % find another that does."""

RELATIVE = 0.25
"""Near-duplicates are no further apart than this share of what two pictures of the domain are on average (squared).

So pictures that have little but the outline of the sector in them are not taken for one another."""

ROUNDING = 1e-5
"""Of distances in single precision, squared or not, at most."""

_POOL = 4  # pixels of a thumbnail on each side that are one of a coarse thumbnail
_ROWS = np.kron(np.eye(THUMBNAIL // _POOL), np.ones((_POOL, 1)))
_SQUARES = (np.kron(_ROWS, _ROWS) / _POOL).astype(
    np.float32
)  # an orthonormal basis of thumbnails that are even in them
_DIRECTIONS = 16  # of a space that thumbnails which are hard to tell apart are projected onto
_MANY = 1 << 14  # pairs from which on that is worth it
_BLOCK = 512  # thumbnails that are made vectors at a time, so that they stay in the processor's cache


class Thumbnails:
    """Thumbnails, of which only coarse vectors are kept: those of a million are 256 MB, and whole ones 4 GB.

    Args:
        pixels: uint8 [P, 1024], of 32 × 32 pixels each.
        rows: which of them, int64 [N].

    Attributes:
        nearest: squared distance of two vectors up to which they are near.
        varied: which have more than one grey level, bool [N]; a vector of the others has length 0.
    """

    def __init__(self, pixels: NDArray[np.uint8], rows: NDArray[np.int64]) -> None:
        self._pixels = pixels
        self._rows = rows
        self._coarse = np.empty((len(rows), _SQUARES.shape[1] + 2), np.float32)
        self.varied = np.empty(len(rows), np.bool_)
        total = np.zeros(THUMBNAIL**2)
        for block in np.split(np.arange(len(rows)), range(_BLOCK, len(rows), _BLOCK)):
            vectors = self.vectors(block)
            self._coarse[block] = _with_squares(vectors @ _SQUARES)
            self.varied[block] = vectors.any(axis=1)
            total += vectors.sum(axis=0, dtype=np.float64)
        centre = total / max(len(rows), 1)
        self.nearest = min(2 * (1 - SIMILAR), RELATIVE * 2 * max(1 - float(centre @ centre), 0))

    def __len__(self) -> int:
        return len(self._rows)

    def pixels(self, numbers: NDArray[np.int64], dtype: type[np.floating[Any]] = np.float32) -> NDArray[Any]:
        """Return the grey levels of thumbnails, [n, 1024]."""
        return np.asarray(self._pixels[self._rows[numbers]].astype(dtype))

    def vectors(self, numbers: NDArray[np.int64], dtype: type[np.floating[Any]] = np.float32) -> NDArray[Any]:
        """Return thumbnails as vectors of mean 0 and length 1, [n, 1024]."""
        vectors = self.pixels(numbers, dtype)
        vectors -= vectors.mean(axis=1, keepdims=True)
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))[:, None]
        return np.asarray(np.divide(vectors, lengths, out=vectors, where=lengths > 0))

    def links(self, some: NDArray[np.int64], others: NDArray[np.int64], groups: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return which groups pictures link that are near and not of one group, as few pairs as do, int64 [n, 2].

        Vectors are no further apart than what they project onto, so projections tell which need no closer look.

        Args:
            some: numbers of thumbnails, int64 [A].
            others: those that each of them is compared with, int64 [B].
            groups: the group of every thumbnail, int64 [N].
        """
        near = _distances(self._coarse[some], self._coarse[others]) <= self.nearest + ROUNDING
        rows, columns = np.divmod(np.flatnonzero(near), len(others))
        candidates = groups[some[rows]] != groups[others[columns]]
        if not candidates.any():
            return np.empty((0, 2), np.int64)
        some, others = some[_those(rows[candidates], len(some))], others[_those(columns[candidates], len(others))]
        differ = groups[some][:, None] != groups[others]
        one, other = self._both(some, others)
        if differ.size > _MANY:
            near = differ & (_distances(*map(_with_squares, _projected(one, other))) <= self.nearest + ROUNDING)
            rows, columns = near.any(axis=1), near.any(axis=0)
            some, others, one, other = some[rows], others[columns], one[rows], other[columns]
            differ = differ[np.ix_(rows, columns)]
        near = differ & self._near(some, others, 2 * (1 - one @ other.T))
        return _fewest(groups[some], groups[others], near)

    def _both(
        self, some: NDArray[np.int64], others: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the vectors of both; most are among some and others."""
        different, number = np.unique(np.concatenate([some, others]), return_inverse=True)
        vectors = self.vectors(different)
        return vectors[number[: len(some)]], vectors[number[len(some) :]]

    def _near(
        self, some: NDArray[np.int64], others: NDArray[np.int64], distances: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        """Return which squared distances [A, B] are small enough, and compute anew those that rounding decides."""
        near = distances <= self.nearest
        doubtful = np.abs(distances - self.nearest) <= ROUNDING
        rows, columns = np.flatnonzero(doubtful.any(axis=1)), np.flatnonzero(doubtful.any(axis=0))
        exact = 2 * (1 - self.vectors(some[rows], np.float64) @ self.vectors(others[columns], np.float64).T)
        near[np.ix_(rows, columns)] = exact <= self.nearest
        return near


def _those(numbers: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """Return which of ``count`` are among the numbers."""
    found = np.zeros(count, np.bool_)
    found[numbers] = True
    return found


def _projected(one: NDArray[np.float32], other: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Project vectors [A, 1024] and [B, 1024] onto directions in which they differ, [A, 16] and [B, 16]."""
    both = np.concatenate([one, other])
    sample = both[np.linspace(0, len(both) - 1, _DIRECTIONS + 1).astype(np.int64)]
    directions, _ = np.linalg.qr((sample[1:] - sample[0]).T)
    return one @ directions, other @ directions


def _with_squares(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return vectors [N, D] with what their distances are computed from in one product of matrices, [N, D + 2]."""
    return np.column_stack([vectors, (vectors**2).sum(axis=1), np.ones(len(vectors), np.float32)])


def _distances(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the squared distances of vectors with squares, [A, D + 2] and [B, D + 2], as [A, B]."""
    left = np.column_stack([-2 * one[:, :-2], one[:, -1], one[:, -2]])
    return np.asarray(left @ other.T)


def _fewest(some: NDArray[np.int64], others: NDArray[np.int64], linked: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return pairs of groups that join what ``linked`` [A, B] says of ``some`` [A] and ``others`` [B], int64 [n, 2]."""
    rows, columns = np.nonzero(linked)
    if not len(rows):
        return np.empty((0, 2), np.int64)
    names, number = np.unique(np.concatenate([some, others]), return_inverse=True)
    links = (np.ones(len(rows), np.bool_), (number[rows], number[len(some) + columns]))
    _, joined = connected_components(coo_array(links, shape=(len(names), len(names))), directed=False)
    _, first = np.unique(joined, return_index=True)
    pairs = np.stack([names, names[first[joined]]], axis=1)
    return np.asarray(pairs[pairs[:, 0] != pairs[:, 1]])
