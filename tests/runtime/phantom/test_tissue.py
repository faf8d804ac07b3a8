from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from metfa.runtime.phantom.tissue import BONE, FLUID, ORIGIN_MM, SIZE, SPACING_MM, Brush, Pose, Tissue

coordinates = st.floats(-100, 100)
poses = st.builds(Pose, coordinates, coordinates, st.floats(-math.pi, math.pi), st.floats(0.1, 3), st.booleans())


@given(poses, st.tuples(coordinates, coordinates), st.tuples(coordinates, coordinates))
def test_a_pose_scales_every_distance_alike(pose: Pose, here: tuple[float, float], there: tuple[float, float]) -> None:
    moved = pose.apply(np.array([here, there]))
    assert math.isclose(math.dist(*moved), pose.scale * math.dist(here, there), rel_tol=1e-9, abs_tol=1e-9)


@given(st.floats(-500, 500), st.floats(0, 500))
def test_every_tissue_has_a_code_of_two_bytes(echogenicity: float, attenuation: float) -> None:
    assert 0 <= Tissue(echogenicity, attenuation).code < 2**16


def test_a_brush_paints_where_its_poses_lead() -> None:
    raster = np.full((SIZE, SIZE), FLUID.code, np.uint16)
    brush = Brush(raster, np.random.default_rng(0)).within(Pose(x=20.0, y=60.0)).within(Pose(rotation=math.pi / 2))
    brush.blob((10.0, 0.0), (8.0, 8.0), BONE, irregularity=0.0)  # a quarter turn takes +x to +y
    rows, columns = np.nonzero(raster == BONE.code)
    assert np.isclose(columns.mean() * SPACING_MM + ORIGIN_MM[0], 20.0, atol=0.3)
    assert np.isclose(rows.mean() * SPACING_MM + ORIGIN_MM[1], 70.0, atol=0.3)
    assert np.isclose(len(rows) * SPACING_MM**2, math.pi * 64.0, rtol=0.1)


@given(st.integers(-20, SIZE), st.integers(-20, SIZE), st.integers(1, 80), st.integers(1, 80))
def test_filling_covers_exactly_the_pixels_whose_centres_are_inside(
    left: int, top: int, width: int, height: int
) -> None:
    raster = np.zeros((SIZE, SIZE), np.uint16)
    corners = np.array([[left, top], [left + width, top], [left + width, top + height], [left, top + height]])
    Brush(raster, np.random.default_rng(0)).fill((corners - 0.5) * SPACING_MM + ORIGIN_MM, BONE)
    expected = np.zeros_like(raster)
    expected[max(0, top) : max(0, top + height), max(0, left) : max(0, left + width)] = BONE.code
    assert np.array_equal(raster, expected)
