"""Pictures that belong together: those of one patient, of one recording, or nearly the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import NDArray


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
        groups = joined(groups, groups[rows], groups[others])
    return renumbered(groups)


def joined(groups: NDArray[np.int64], one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the groups after those in ``one`` were joined with their partners in ``other``."""
    count = len(groups)
    links = coo_array((np.ones(len(one), np.bool_), (one, other)), shape=(count, count))
    _, numbers = connected_components(links, directed=False)
    return np.asarray(numbers[groups], np.int64)


def renumbered(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the groups numbered by first appearance."""
    _, first, number = np.unique(groups, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[number.reshape(-1)]
