"""What the benchmark of the scanner check counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from benchmarks.studies.scanners import SparsePhantom, scan_row, still_row

from metfa.runtime.phantom import load_profile

if TYPE_CHECKING:
    from numpy.typing import NDArray

ABOUT = ("phantom:A", "phantom:B", "appearance", "pictures")


def distances(far: int, near: int) -> NDArray[np.float64]:
    """Pictures beyond both limits, then some within that of the target."""
    return np.array([[3.0, 2.0]] * far + [[3.0, 0.5]] * near)


def test_pictures_and_windows_are_counted() -> None:
    row = scan_row(*ABOUT, False, distances(40, 60), 0.5)
    assert (row.number, row.beyond) == (100, 0.4)
    # Half a minute is 60 pictures; windows end at the 30th picture and at each later one.
    windows = [distances(40, 60)[max(0, end - 60) : end] for end in range(30, 101)]
    assert row.unknown == np.mean([np.mean(window.min(axis=1) > 1) > 0.6 for window in windows])
    assert row.unknown not in (0.0, 1.0)


@pytest.mark.parametrize(("far", "near", "unknown"), [(50, 0, 1.0), (0, 50, 0.0), (12, 0, 1.0)])
def test_stills_are_drawn_at_random(far: int, near: int, unknown: float) -> None:
    row = still_row(*ABOUT, False, distances(far, near))
    assert (row.beyond, row.unknown) == (far / (far + near), unknown)


def test_too_short_a_clip_has_no_window() -> None:
    assert scan_row(*ABOUT, False, distances(29, 0), 0.2).unknown is None


def test_a_sparse_scan_goes_the_way_of_the_whole_one() -> None:
    phantom = SparsePhantom(load_profile("A"))
    looks, scan = phantom.looks(seed=3), phantom.scan(seed=3)
    next(looks)
    for _ in range(6):
        next(scan)
    sparse, whole = next(looks).astype(float), next(scan)[0].astype(float)
    assert np.abs(sparse - whole).mean() < 3
    assert np.corrcoef(sparse.ravel(), whole.ravel())[0, 1] > 0.97
