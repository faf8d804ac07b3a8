from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metfa.runtime.bundle.contract import Region
from metfa.runtime.imaging.images import read_image
from metfa.runtime.imaging.sector import SectorTracker, find_sector
from metfa.runtime.phantom import Phantom, load_profile

if TYPE_CHECKING:
    from numpy.typing import NDArray

DATA = os.environ.get("METFA_DATA")
SECTORS = Path(__file__).parent / "data" / "sectors.json"
"""x, y, width and height of the sector in each screen, measured by eye at its edges."""


def overlap(one: Region, other: Region) -> float:
    """Return intersection over union, counted pixel by pixel."""
    both = np.zeros((2, 2000, 2500), bool)
    for canvas, region in zip(both, (one, other), strict=True):
        canvas[region.y : region.y + region.height, region.x : region.x + region.width] = True
    return float(both.all(axis=0).sum() / both.any(axis=0).sum())


def speckle(height: int, width: int, seed: int = 0, level: int = 90) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).rayleigh(1, (height, width))
    smooth = cv2.GaussianBlur(noise, (0, 0), 1.2)
    return np.asarray(np.clip(level * (smooth - 0.6), 3, 255), np.uint8)


def screen(
    sector: Region, *, height: int = 480, width: int = 640, panel: int = 0, shown: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Return a scanner's screen in colours: a linear sector, text, a depth ruler, a grey bar and an icon."""
    image = np.full((height, width, 3), panel, np.uint8)
    area = image[sector.y : sector.y + sector.height, sector.x : sector.x + sector.width]
    area[:] = (speckle(sector.height, sector.width) if shown is None else shown)[..., np.newaxis]
    for row, line in enumerate(("GENERAL  7.5cm 30Hz", "Gn 46  MI 0.9", "24.11. 10:20")):
        cv2.putText(image, line, (12, 14 + 14 * row), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (90, 200, 230), 1)
    cv2.rectangle(image, (width - 20, 60), (width - 12, 160), (160, 160, 160), -1)
    for y in range(60, height, 40):
        cv2.line(image, (width - 40, y), (width - 32, y), (255, 255, 255), 1)
    return image


@pytest.mark.parametrize("name", json.loads(SECTORS.read_text()))
def test_the_sector_of_a_real_screen(name: str) -> None:
    if not DATA:
        pytest.skip("METFA_DATA does not name the real screens")
    image = read_image(Path(DATA) / "ultrasound" / "screens" / name)
    found = find_sector([image])
    assert found is not None
    assert overlap(found, Region(*json.loads(SECTORS.read_text())[name])) > 0.88


@pytest.mark.parametrize("panel", [0, 60])
def test_text_rulers_and_bars_stay_outside(panel: int) -> None:
    sector = Region(140, 70, 360, 380)
    found = find_sector([screen(sector, panel=panel)])
    assert found is not None
    assert overlap(found, sector) > 0.93


def test_a_white_border_stays_outside() -> None:
    sector = Region(140, 70, 360, 380)
    framed = cv2.copyMakeBorder(screen(sector, panel=60), 30, 30, 90, 90, cv2.BORDER_CONSTANT, value=(255,) * 3)
    found = find_sector([np.asarray(framed, np.uint8)])
    assert found is not None
    assert overlap(found, Region(230, 100, 360, 380)) > 0.93


@pytest.mark.parametrize("device", ["A", "B"])
def test_the_phantoms_fan(device: str) -> None:
    profile = load_profile(device)
    fan = profile.sector
    frames = [Phantom(profile).image(plane, seed) for seed, plane in enumerate(("4CH", "Abdominal", "Femur", "Lips"))]
    found = find_sector(frames)
    assert found is not None
    # The whole screen is wider than the fan only by what its angle leaves.
    half = (fan.depth_mm + fan.probe_radius_mm) * np.sin(np.radians(fan.angle_deg) / 2)
    top_mm = -fan.probe_radius_mm * (1 - np.cos(np.radians(fan.angle_deg) / 2))
    half_px = half * (fan.bottom_px - fan.top_px) / (fan.depth_mm - top_mm)
    left, right = max(0, round(fan.centre_px - half_px)), min(640, round(fan.centre_px + half_px))
    expected = Region(left, round(fan.top_px), right - left, round(fan.bottom_px - fan.top_px))
    assert overlap(found, expected) > 0.93


def test_what_is_anechoic_between_two_bright_layers_belongs_to_the_sector() -> None:
    shown = speckle(380, 360)
    shown[60:250] = 0
    found = find_sector([screen(Region(140, 70, 360, 380), shown=shown)])
    assert found is not None
    assert overlap(found, Region(140, 70, 360, 380)) > 0.93


def test_what_is_black_on_a_panel_belongs_to_the_sector() -> None:
    shown = speckle(380, 360)
    shown[200:] = 0
    found = find_sector([screen(Region(140, 70, 360, 380), panel=60, shown=shown)])
    assert found is not None
    assert overlap(found, Region(140, 70, 360, 380)) > 0.93


def test_of_two_images_side_by_side_the_moving_one_is_taken() -> None:
    frozen = speckle(300, 250, seed=1)
    frames = []
    for seed in range(4):
        frame = screen(Region(60, 100, 250, 300), shown=frozen)
        frame[100:400, 340:590] = speckle(300, 250, seed=10 + seed)[..., np.newaxis]
        frames.append(frame)
    found = find_sector(frames)
    assert found is not None
    assert overlap(found, Region(340, 100, 250, 300)) > 0.9


def test_colour_doppler_does_not_cut_the_sector() -> None:
    image = screen(Region(140, 70, 360, 380))
    image[150:300, 200:350, 0] = 40
    image[150:300, 200:350, 2] = 255 - image[150:300, 200:350, 2]
    found = find_sector([image])
    assert found is not None
    assert overlap(found, Region(140, 70, 360, 380)) > 0.93


@given(st.integers(0, 40), st.integers(0, 30))
def test_the_box_moves_with_the_sector(right: int, down: int) -> None:
    frames = []
    for x, y in ((100, 70), (100 + right, 70 + down)):
        frame = np.zeros((480, 640), np.uint8)
        frame[y : y + 340, x : x + 420] = speckle(340, 420)
        frames.append(find_sector([frame]))
    still, moved = frames
    assert still is not None
    assert moved is not None
    assert abs(moved.x - still.x - right) <= 8
    assert abs(moved.y - still.y - down) <= 8
    assert abs(moved.width - still.width) <= 8
    assert abs(moved.height - still.height) <= 8


@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.sampled_from([(), (1,), (3,), (4,)]),
    st.integers(0, 2**32 - 1),
    st.integers(1, 3),
)
def test_never_outside_the_image_and_never_a_sliver(
    height: int, width: int, colours: tuple[int, ...], seed: int, frames: int
) -> None:
    random = np.random.default_rng(seed)
    images = [random.integers(0, random.integers(1, 257), (height, width, *colours), np.uint8) for _ in range(frames)]
    found = find_sector(images)
    if found is not None:
        assert found.x + found.width <= width
        assert found.y + found.height <= height
        assert found.width * found.height > 0.05 * width * height


@pytest.mark.parametrize("level", [0, 17, 255])
@pytest.mark.parametrize("shape", [(1, 1), (1, 4000), (7, 9), (480, 640), (720, 1280, 3)])
def test_an_even_picture_has_no_sector(level: int, shape: tuple[int, ...]) -> None:
    assert find_sector([np.full(shape, level, np.uint8)]) is None


@pytest.mark.parametrize("size", [(64, 64), (173, 256), (458, 514), (723, 1283)])
def test_of_what_is_cropped_already_all_is_kept(size: tuple[int, int]) -> None:
    height, width = size
    assert find_sector([speckle(height, width)]) == Region(0, 0, width, height)


class TestSectorTracker:
    SECTOR = Region(140, 70, 360, 380)

    def test_a_fixed_region_stays_what_it_is(self) -> None:
        region = Region(1, 2, 3, 4)
        assert SectorTracker(region).region(screen(self.SECTOR)) == region
        assert SectorTracker(None).region(screen(self.SECTOR)) is None

    def test_the_sector_grows_with_the_first_second_and_stays(self) -> None:
        dark = speckle(380, 360)
        dark[150:] = 0
        reports: list[tuple[Region | None, int, int]] = []
        tracker = SectorTracker("auto")
        tracker.report = lambda *report: reports.append(report)
        first = tracker.region(screen(self.SECTOR, shown=dark))
        for _ in range(31):
            later = tracker.region(screen(self.SECTOR))
        assert first is not None
        assert later is not None
        assert first.height < 200 < later.height
        black = np.zeros((480, 640, 3), np.uint8)
        assert tracker.region(black) == later
        assert reports == [(first, 640, 480), (later, 640, 480)]

    def test_another_size_or_session_begins_anew(self) -> None:
        tracker = SectorTracker("auto")
        small, large = screen(self.SECTOR), screen(Region(300, 100, 700, 500), height=720, width=1280)
        for _ in range(40):
            before = tracker.region(small)
        after = tracker.region(large)
        assert before is not None
        assert after is not None
        assert overlap(before, self.SECTOR) > 0.9
        assert overlap(after, Region(300, 100, 700, 500)) > 0.9
        tracker.restart()
        assert tracker.region(np.zeros((720, 1280, 3), np.uint8)) is None

    def test_it_says_the_same_as_all_the_frames_together(self) -> None:
        frames = [screen(self.SECTOR, shown=speckle(380, 360, seed)) for seed in range(32)]
        tracker = SectorTracker("auto")
        answers = [tracker.region(frame) for frame in frames]
        assert answers[-1] == find_sector([frames[number] for number in (0, 1, 3, 7, 15, 31)])
