"""Which pictures are nearly the same, found in nearly linear time.

Few pictures are compared pair by pair. More are divided by random planes through the origin of their vectors, until
those on the same sides are few enough to compare, and divided again by other planes until no link can have been missed.

A plane divides two vectors with a chance of their angle over π, which is 0.064 for two that barely are near-duplicates
(Charikar, *Similarity estimation techniques from rounding algorithms*, STOC 2002).
So what a division has missed is known for every picture, by the number of planes that it took.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from metfa.runtime.cores import available_cores

from ..progress import progress
from .decoding import DIGEST_BYTES, THUMBNAIL
from .groups import join, joined, renumbered
from .store import spread
from .thumbnails import ROUNDING, Thumbnails

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

MISSED = 1e-9
"""The chance that a link of a picture is missed, at most, where there are too many to compare every pair."""

_ALL = 1 << 30  # pairs that are compared without dividing
_FEW = 1 << 18  # pairs that are compared of a part
_SOME, _OTHERS = 256, 4096  # pictures that a thread compares with one another at a time
_BLOCK = 512  # pictures whose sides a thread finds at a time
_PLANES = 16  # whose sides are kept in one number
_DIVISIONS = 8  # whose first planes are drawn together
_MOST_PLANES = 48  # after which a part is compared, however large it is
_PIVOTS = 4  # pictures that all of a crowded part are compared with first


def near_duplicates(thumbnails: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Number the groups of pictures that are nearly the same, or are linked by others that are.

    Two pictures are when their thumbnails correlate, whatever their brightness and contrast. A thumbnail of one grey
    level is like none but its equals. Up to about 30,000 different thumbnails are compared pair by pair; of more, each
    link is found but for a chance of ``MISSED``. The same thumbnails have the same groups on every run.

    Args:
        thumbnails: uint8 [N, 1024], of 32 × 32 pixels.

    Returns:
        int64 [N], numbered by first appearance.
    """
    number = join([blake2b(thumbnail, digest_size=DIGEST_BYTES).digest() for thumbnail in thumbnails])
    _, first = np.unique(number, return_index=True)
    different = Thumbnails(thumbnails, first)
    return renumbered(_Search(different).groups()[number])


class _Part(NamedTuple):
    """Pictures on the same sides of all planes so far.

    Attributes:
        rows: int64 [n].
        sides: of the planes that were drawn last, a bit each, ascending, uint16 [n].
        planes: how many planes there were so far.
    """

    rows: NDArray[np.int64]
    sides: NDArray[np.uint16]
    planes: int


class _Search:
    """Finds the groups of different thumbnails."""

    def __init__(self, thumbnails: Thumbnails) -> None:
        self._thumbnails = thumbnails
        self._groups = np.arange(len(thumbnails))
        self._links: list[NDArray[np.int64]] = []  # pairs of groups that are to be joined
        self._missed = np.where(thumbnails.varied, 0, -np.inf)  # of each picture, the logarithm of the chance
        self._together = 1 - math.acos(1 - thumbnails.nearest / 2) / math.pi  # that a plane leaves two that are linked
        self._random = np.random.default_rng(0)
        self._pool = ThreadPoolExecutor(available_cores(), "metfa near-duplicates")

    def groups(self) -> NDArray[np.int64]:
        """Return the group of each thumbnail, int64 [N]."""
        count, told = len(self._groups), 0
        with (
            threadpool_limits(1, "blas"),  # several threads take longer for small matrices than one
            progress("Finding near-duplicates", total=count, unit="image", leave=False) as bar,
        ):
            try:
                for _ in self._divisions():
                    done = int(count * np.minimum(self._missed / math.log(MISSED), 1).mean())
                    bar.update(done - told)
                    told = done
            finally:
                self._pool.shutdown(cancel_futures=True)  # of which there are many, where Ctrl-C ends the search
        return self._groups

    def _divisions(self) -> Iterator[None]:
        """Divide the pictures until no link can have been missed; yield after each time."""
        while len(rows := np.flatnonzero(self._missed > math.log(MISSED))):
            if self._is_small(rows, _ALL):
                self._compare(iter([(rows, 0)]))
                yield
                continue
            for sides in self._sides(rows, _DIVISIONS).T:
                unfinished = self._missed[rows] > math.log(MISSED)
                if unfinished.any():
                    self._compare(self._divide(rows[unfinished], sides[unfinished]))
                    yield

    def _divide(self, rows: NDArray[np.int64], sides: NDArray[np.uint16]) -> Iterator[tuple[NDArray[np.int64], int]]:
        """Yield the parts that are small enough to be compared, and by how many planes each was divided from others."""
        parts = [_sorted(rows, sides, 0)]
        while parts:
            part = parts.pop()
            if self._is_small(part.rows, _FEW):
                yield part.rows, part.planes
                continue
            if part.planes and part.planes % _PLANES == 0:  # a crowd
                self._join_nearest(part.rows)
                pieces = self._pieces(part.rows)
                if len(pieces) > 1:
                    parts += [part._replace(rows=piece) for piece in pieces]
                    continue
                if part.planes >= _MOST_PLANES:
                    yield part.rows, part.planes
                    continue
                part = _sorted(part.rows, self._sides(part.rows, 1)[:, 0], part.planes)
            side = part.sides & np.uint16(1 << (_PLANES - 1 - part.planes % _PLANES))
            middle = len(side) - np.count_nonzero(side)
            for half in (slice(middle), slice(middle, None)):
                if len(part.rows[half]):
                    parts.append(_Part(part.rows[half], part.sides[half], part.planes + 1))

    def _sides(self, rows: NDArray[np.int64], numbers: int) -> NDArray[np.uint16]:
        """Return on which sides of new planes the pictures are, a bit for each of 16 planes, uint16 [n, numbers]."""
        planes = self._random.standard_normal((THUMBNAIL**2, numbers * _PLANES), np.float32)
        planes -= planes.mean(axis=0)  # so that brightness and contrast of a picture do not move it across

        def of_block(block: NDArray[np.int64]) -> NDArray[np.uint16]:
            return np.packbits(self._thumbnails.pixels(block) @ planes > 0, axis=1).view(np.uint16)

        return np.concatenate(list(self._pool.map(of_block, _blocks(rows, _BLOCK))))

    def _is_small(self, rows: NDArray[np.int64], pairs: int) -> bool:
        return int(np.count_nonzero(self._is_other(rows))) * len(rows) <= pairs

    def _is_other(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which pictures are not of the middle one's group, which in a crowd is likely that of most."""
        groups = self._groups[rows]
        return np.asarray(groups != groups[len(rows) // 2])

    def _join_nearest(self, rows: NDArray[np.int64]) -> None:
        """Join pictures that are near the same, so that nearly equal ones need not be compared with one another."""
        pivots = rows[spread(len(rows), _PIVOTS)]
        for block in _blocks(rows, _OTHERS):
            links = self._thumbnails.links(pivots, block, self._groups)
            for group, other in links.tolist():
                self._groups[block[self._groups[block] == group]] = other
            self._links.append(links)

    def _pieces(self, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Divide pictures, most of which are of two groups, where there is a gap between these that no link spans."""
        other = self._is_other(rows)
        groups = (rows[~other], rows[other][~self._is_other(rows[other])]) if other.any() else (rows,)
        if len(groups) < 2 or sum(map(len, groups)) < len(rows) / 2:
            return [rows]
        samples = [self._thumbnails.vectors(of_group[spread(len(of_group), _SOME)]) for of_group in groups]
        one, two = (sample.mean(axis=0) for sample in samples)
        direction = (one - two) / max(np.linalg.norm(one - two), ROUNDING)
        blocks = _blocks(rows, _BLOCK)
        along = np.concatenate(list(self._pool.map(lambda block: self._thumbnails.vectors(block) @ direction, blocks)))
        order = np.argsort(along)
        gaps = np.flatnonzero(np.diff(along[order]) > math.sqrt(self._thumbnails.nearest) + ROUNDING)
        return np.split(rows[order], gaps + 1)

    def _compare(self, parts: Iterator[tuple[NDArray[np.int64], int]]) -> None:
        """Join what is linked within parts of rows that so many planes divided from others."""
        divided = []

        def pairs() -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
            for rows, planes in parts:  # while others are compared
                divided.append((rows, planes))
                yield from self._pairs(rows)

        def links(pair: tuple[NDArray[np.int64], NDArray[np.int64]]) -> NDArray[np.int64]:
            return self._thumbnails.links(*pair, self._groups)

        found = list(self._pool.map(links, pairs()))
        self._groups = joined(self._groups, *np.concatenate([np.empty((0, 2), np.int64), *self._links, *found]).T)
        self._links.clear()
        for rows, planes in divided:
            self._missed[rows] += math.log1p(-(self._together**planes)) if planes else -math.inf

    def _pairs(self, rows: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Yield blocks of rows to compare with one another, without most of what is of one group."""
        other = self._is_other(rows)
        count, ordered = np.count_nonzero(other), np.concatenate([rows[other], rows[~other]])
        for start in range(0, count, _SOME):
            some = ordered[start : min(start + _SOME, count)]
            for others in _blocks(ordered[start:], _OTHERS):
                yield some, others


def _sorted(rows: NDArray[np.int64], sides: NDArray[np.uint16], planes: int) -> _Part:
    order = np.argsort(sides, kind="stable")
    return _Part(rows[order], sides[order], planes)


def _blocks(rows: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]
