from __future__ import annotations

import numpy as np
import pytest

from metfa.runtime.phantom import BACKGROUND, PLANES
from metfa.runtime.phantom.anatomy import PAINTERS, paint_slice
from metfa.runtime.phantom.tissue import BONE, SIZE


def test_there_is_a_painter_for_every_label() -> None:
    assert tuple(PAINTERS) == (*PLANES, BACKGROUND)


@pytest.mark.parametrize("plane", PAINTERS)
def test_a_slice_depends_on_nothing_but_its_seed(plane: str) -> None:
    first, again, other = (paint_slice(plane, 90.0, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.shape == (SIZE, SIZE, 2)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_femur_holds_more_bone_than_the_lips() -> None:
    def bone(plane: str) -> int:
        return sum(
            int(np.sum(paint_slice(plane, 90.0, np.random.default_rng(seed))[..., 1] == BONE.code >> 8))
            for seed in range(5)
        )

    assert bone("Femur") > 2 * bone("Lips")
