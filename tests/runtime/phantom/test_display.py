from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from metfa.runtime.phantom import load_profile
from metfa.runtime.phantom.display import HEIGHT, WIDTH, Screen
from metfa.runtime.phantom.imaging import LINES, SAMPLES


@pytest.mark.parametrize("scanner", ["A", "B"])
def test_white_fills_the_sector_and_nothing_else(scanner: str) -> None:
    profile = load_profile(scanner)
    screen = Screen(profile.sector, profile.display)
    image = screen.show(np.zeros((SAMPLES, LINES)))
    assert image.shape == (HEIGHT, WIDTH)
    assert np.array_equal(image, 255 * screen.inside)
    rows = np.flatnonzero(screen.inside.any(axis=1))
    assert rows[0] == pytest.approx(profile.sector.top_px, abs=1)
    assert rows[-1] == pytest.approx(profile.sector.bottom_px, abs=1)


def test_below_the_dynamic_range_all_is_black() -> None:
    profile = load_profile("A")
    screen = Screen(profile.sector, profile.display)
    assert not screen.show(np.full((SAMPLES, LINES), -profile.display.dynamic_range_db)).any()


@pytest.mark.parametrize(("gamma", "contrast"), [(1.0, 0.0), (2.0, 0.0), (0.7, 6.0)])
def test_a_stronger_echo_is_never_darker(gamma: float, contrast: float) -> None:
    profile = load_profile("A")
    display = replace(profile.display, gamma=gamma, contrast=contrast, speckle_reduction=1)
    screen = Screen(profile.sector, display)
    ramp = np.repeat(np.linspace(-display.dynamic_range_db, 0.0, SAMPLES)[:, None], LINES, axis=1)
    column = screen.show(ramp)[:, profile.sector.centre_px].astype(int)
    inside = screen.inside[:, profile.sector.centre_px].astype(bool)
    assert np.all(np.diff(column[inside]) >= 0)
    assert column[inside][-1] == 255
