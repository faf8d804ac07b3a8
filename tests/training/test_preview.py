from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from metfa.runtime.contract import Region
from metfa.runtime.preprocess import preprocess
from metfa.training.cli.train import main
from metfa.training.data.preview import Group, draw_sheet
from metfa.training.data.regions import find_regions

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SECTOR = Region(120, 40, 160, 180)


def captured(seed: int, sector: Region = SECTOR, height: int = 240, width: int = 400) -> NDArray[np.uint8]:
    image = np.zeros((height, width), np.uint8)
    noise = cv2.GaussianBlur(np.random.default_rng(seed).rayleigh(60, (sector.height, sector.width)), (0, 0), 1)
    image[sector.y : sector.y + sector.height, sector.x : sector.x + sector.width] = np.clip(noise, 3, 255)
    return image


def is_near(found: Region | None, expected: Region) -> bool:
    assert found is not None
    pairs = zip(str(found).split(","), str(expected).split(","), strict=True)
    return all(abs(int(one) - int(other)) <= 4 for one, other in pairs)


def test_pictures_of_one_size_have_one_region_that_holds_all_their_sectors() -> None:
    other = Region(200, 40, 160, 180)
    pictures = [captured(0), captured(1, other)]
    region_of = find_regions([lambda picture=picture: picture for picture in pictures], "auto")  # type: ignore[misc]
    assert region_of(pictures[0]) == region_of(pictures[1])
    assert is_near(region_of(pictures[0]), Region(120, 40, 240, 180))


def test_a_size_that_the_sample_does_not_hold_has_its_own_region() -> None:
    region_of = find_regions([lambda: captured(0)], "auto")
    assert is_near(region_of(captured(1, Region(60, 30, 200, 250), 300, 320)), Region(60, 30, 200, 250))
    assert find_regions([], "auto")(np.zeros((40, 40), np.uint8)) is None


@pytest.mark.parametrize("region", [None, Region(1, 2, 3, 4)])
def test_a_fixed_region_is_that_of_every_picture_and_none_is_read(region: Region | None) -> None:
    def never() -> NDArray[np.uint8]:
        raise AssertionError

    assert find_regions([never], region)(captured(0)) == region


def test_the_sheet_shows_the_frame_and_the_models_input() -> None:
    picture = captured(0)
    sheet = draw_sheet([Group("source: fan, 1 image", (picture,), (SECTOR,))], height=170, width=170)
    assert sheet.dtype == np.uint8
    seen = preprocess(picture, height=170, width=170, region=SECTOR)[0]
    crops = np.lib.stride_tricks.sliding_window_view(sheet[..., 0], seen.shape)[::, ::]
    assert any((crop == seen).all() for row in crops for crop in row)
    frame = (sheet == (0, 215, 255)).all(axis=2)
    rows, columns = np.nonzero(frame)
    scale = 170 / 400
    assert abs(columns.max() - columns.min() - scale * SECTOR.width) <= 2
    assert abs(rows.max() - rows.min() - scale * SECTOR.height) <= 2


@pytest.fixture
def domains(tmp_path: Path) -> tuple[Path, Path]:
    source, target = tmp_path / "source", tmp_path / "target"
    for number, label in enumerate(("fan", "linear")):
        (source / label).mkdir(parents=True)
        for seed in range(10):
            assert cv2.imwrite(str(source / label / f"{seed}.png"), captured(10 * number + seed))
    target.mkdir()
    for seed in range(12):
        assert cv2.imwrite(str(target / f"Jane Doe {seed}.png"), captured(50 + seed))
    return source, target


def test_the_command_draws_and_trains_nothing(domains: tuple[Path, Path], tmp_path: Path) -> None:
    source, target = map(str, domains)
    sheet, bundle = tmp_path / "sheet.png", tmp_path / "bundle"
    arguments = ["--source", source, "--target", target, "--bundle", str(bundle), "--input-size", "64x64"]
    arguments += ["--source-roi", "auto", "--target-roi", "auto", "--preview", str(sheet)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "without --preview" in result.output
    assert not bundle.exists()
    drawn = cv2.imread(str(sheet))
    assert drawn is not None
    assert (drawn == (0, 215, 255)).all(axis=2).any()
    result = CliRunner().invoke(main, [*arguments[:-1], str(tmp_path / "sheet.jpg")])
    assert result.exit_code == 1
    assert "expected a PNG file for the preview" in result.output
