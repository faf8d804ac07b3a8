from __future__ import annotations

from itertools import groupby, islice

import numpy as np
import pytest

from metfa.runtime.phantom import BACKGROUND, PLANES, Phantom, load_profile
from metfa.runtime.phantom.scan import FRAMES_PER_SECOND, Slice, draw_between, sweep


def test_every_plane_comes_once_with_background_between() -> None:
    labels = (view.plane for view in sweep(90.0, np.random.default_rng(0)))
    runs = [(label, len(list(frames))) for label, frames in groupby(islice(labels, 900))]
    assert [label == BACKGROUND for label, _ in runs[:13]] == [True, False] * 6 + [True]
    assert sorted(label for label, _ in runs[1:13:2]) == sorted(PLANES)
    assert all(1.5 <= frames / FRAMES_PER_SECOND <= 3.4 for _, frames in runs[1:13:2])


def test_a_scan_is_endless_and_seeded() -> None:
    phantom = Phantom(load_profile("B"))
    first, again, other = (list(islice(phantom.scan(seed), 4)) for seed in (7, 7, 8))
    for (frame, label), (same_frame, same_label) in zip(first, again, strict=True):
        assert np.array_equal(frame, same_frame)
        assert label == same_label
    assert not np.array_equal(first[0][0], other[0][0])


def test_frames_that_are_left_out_change_nothing() -> None:
    """Of a transition and of what lies around it, the same frames come as without leaving any out."""
    phantom = Phantom(load_profile("B"))
    whole = list(islice(phantom.scan(3), 64))
    assert list(islice(phantom.planes(3), 64)) == [plane for _, plane in whole]
    assert len({plane for _, plane in whole}) == 2
    for (frame, plane), (same, same_plane) in zip(whole[::9], phantom.scan(3, every=9), strict=False):
        np.testing.assert_array_equal(frame, same)
        assert plane == same_plane


@pytest.mark.parametrize("scanner", ["A", "B"])
def test_speckle_moves_instead_of_flickering(scanner: str) -> None:
    phantom = Phantom(load_profile(scanner))
    frames = [frame.astype(float) for frame, _ in islice(phantom.scan(0), 16)]
    sector = np.mean(frames, axis=0) > 20

    def likeness(first: int, second: int) -> float:
        return float(np.corrcoef(frames[first][sector], frames[second][sector])[0, 1])

    assert likeness(0, 1) > 0.85
    assert likeness(0, 1) > likeness(0, 15) + 0.05


def test_a_still_of_background_may_lie_between_a_plane_and_it() -> None:
    """As frames of a transition do: its tissue is no slice's own."""
    there, between = Slice.draw(BACKGROUND, 90.0, rng()), draw_between(90.0, rng())
    assert not np.array_equal(between.tissue, there.tissue)
    likeness = np.corrcoef(there.scatterers.ravel(), between.scatterers.ravel())[0, 1]
    assert 0.44 < likeness < 0.9  # sin(π/2 · 0.3 … 0.7)
    np.testing.assert_allclose(between.scatterers.std(), there.scatterers.std(), rtol=0.02)


def rng() -> np.random.Generator:
    return np.random.default_rng(3)
