from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from metfa.runtime.phantom import load_profile
from metfa.runtime.phantom.imaging import LINES, SAMPLES, Imager, draw_scatterers, fixed_point_maps
from metfa.runtime.phantom.tissue import BONE, SIZE, SOFT, Brush, Pose

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from metfa.runtime.phantom import ScannerProfile


@pytest.fixture(params=["A", "B"])
def clean(request: pytest.FixtureRequest) -> ScannerProfile:
    """A scanner without noise and clutter, so that theory holds to the letter."""
    profile = load_profile(request.param)
    return replace(
        profile,
        beam=replace(profile.beam, side_lobe_db=-90.0),
        receiver=replace(profile.receiver, noise_db=-140.0, reverberation_db=-90.0),
    )


def soft_tissue() -> NDArray[np.uint8]:
    return np.tile(np.array(divmod(SOFT.code, 256)[::-1], np.uint8), (SIZE, SIZE, 1))


def image(profile: ScannerProfile, tissue: NDArray[np.uint8], probe: Pose | None = None) -> NDArray[np.float64]:
    rng = np.random.default_rng(3)
    return Imager(profile).envelope_db(tissue, draw_scatterers(rng), probe or Pose(), rng)


def test_speckle_is_fully_developed(clean: ScannerProfile) -> None:
    # A Rayleigh distributed envelope has a mean of sqrt(π / (4 - π)) = 1.91 standard deviations.
    amplitude = 10.0 ** (image(clean, soft_tissue()) / 20.0)
    ratio = amplitude.mean(axis=1) / amplitude.std(axis=1)
    assert ratio.mean() == pytest.approx(1.91, rel=0.05)


def test_depth_attenuates_by_what_the_gain_does_not_compensate(clean: ScannerProfile) -> None:
    power = 10.0 ** (image(clean, soft_tissue()) / 10.0)
    level = 10.0 * np.log10(power.mean(axis=1))
    slope = np.polyfit(np.arange(SAMPLES) * clean.sector.depth_mm / SAMPLES / 10.0, level, 1)[0]
    loss = 2.0 * SOFT.attenuation * clean.beam.centre_frequency_mhz
    assert slope == pytest.approx(clean.receiver.tgc_db_per_cm - loss, abs=0.3)


def test_bone_casts_a_shadow(clean: ScannerProfile) -> None:
    raster = np.full((SIZE, SIZE), SOFT.code, "<u2")
    Brush(raster, np.random.default_rng(0)).tube([(-10.0, 30.0), (10.0, 30.0)], 3.0, BONE)
    level = image(clean, raster.view(np.uint8).reshape(SIZE, SIZE, 2))
    deep = slice(SAMPLES * 2 // 3, None)
    assert level[deep, LINES // 2 - 5 : LINES // 2 + 5].mean() < level[deep, :10].mean() - 8.0


def test_speckle_widens_away_from_the_probe() -> None:
    profile = load_profile("B")

    def correlation(rows: slice) -> float:
        level = image(profile, soft_tissue())[rows]
        level = level - level.mean(axis=1, keepdims=True)
        return float(np.sum(level[:, 1:] * level[:, :-1]) / np.sum(level**2))

    assert correlation(slice(-100, None)) > correlation(slice(50, 150))


def test_speckle_moves_with_the_tissue(clean: ScannerProfile) -> None:
    still = image(clean, soft_tissue())
    samples = 12
    moved = image(clean, soft_tissue(), Pose(y=samples * clean.sector.depth_mm / SAMPLES))
    middle = slice(LINES // 2 - 8, LINES // 2 + 8)  # where the beams point along the motion
    shifted = np.corrcoef(moved[50:300, middle].ravel(), still[50 + samples : 300 + samples, middle].ravel())[0, 1]
    unshifted = np.corrcoef(moved[50:300, middle].ravel(), still[50:300, middle].ravel())[0, 1]
    assert shifted > 0.45  # not 1: each sample takes the nearest scatterer of the lattice
    assert abs(unshifted) < 0.3


@given(
    arrays.arrays(np.uint8, (6, 6)),
    arrays.arrays(np.float64, (3, 3), elements=st.floats(0, 4.9)),
    arrays.arrays(np.float64, (3, 3), elements=st.floats(0, 4.9)),
)
def test_fixed_point_resampling_is_exact(
    raster: NDArray[np.uint8], x: NDArray[np.float64], y: NDArray[np.float64]
) -> None:
    sampled = cv2.remap(raster.astype(np.float32), *fixed_point_maps(x, y), cv2.INTER_LINEAR)
    fine_x, fine_y = np.rint(32 * x).astype(int), np.rint(32 * y).astype(int)
    column, row, right, down = fine_x // 32, fine_y // 32, fine_x % 32, fine_y % 32
    wide = raster.astype(int)
    expected = (32 - down) * ((32 - right) * wide[row, column] + right * wide[row, column + 1])
    expected += down * ((32 - right) * wide[row + 1, column] + right * wide[row + 1, column + 1])
    assert np.array_equal(sampled, expected / 1024)
