from __future__ import annotations

import numpy as np
import pytest

from metfa.runtime.phantom import load_profile
from metfa.runtime.phantom.overlay import draw_overlay


@pytest.mark.parametrize("scanner", ["A", "B"])
def test_the_ruler_has_a_tick_for_every_centimetre(scanner: str) -> None:
    profile = load_profile(scanner)
    canvas = draw_overlay(profile.overlay, profile.sector)
    column = canvas[profile.sector.top_px :, profile.overlay.ruler_px] > 0
    ticks = int(np.sum(np.diff(column.astype(int)) == 1))
    assert ticks == int(profile.sector.depth_mm // 10) + 1


def test_the_scanners_look_different() -> None:
    a, b = (draw_overlay(profile.overlay, profile.sector) for profile in map(load_profile, "AB"))
    assert not np.array_equal(a, b)
