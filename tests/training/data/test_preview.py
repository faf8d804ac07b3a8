from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from tests.training.data.media import Held

from metfa.runtime.imaging.preprocess import preprocess
from metfa.training.cli.train import main
from metfa.training.data.decoding import Preparation
from metfa.training.data.preview import PICTURES, Group, draw_sheet, sample_groups

from .domains import domain, entry
from .test_decoding import OTHER, SECTOR, captured

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


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


def test_the_groups_are_pictures_of_each_class_as_they_were_prepared() -> None:
    cine = Held("cine", tuple(captured(seed, OTHER) for seed in range(12)))
    stills = [entry(Held(f"{seed}", (captured(seed),)), "b") for seed in range(20, 23)]
    whole = domain([entry(cine, "a"), *stills, entry(4)], preparation=Preparation(64, 64, "auto"))
    groups = list(sample_groups("source", whole))
    assert [group.title for group in groups] == [
        "source: a, 12 images",
        "source: b, 3 images",
        "source: without labels, 1 image",
    ]
    assert 1 < len(groups[0].pictures) <= PICTURES
    frames = {frame.tobytes() for frame in whole.pictures.frames[:]}
    for group in groups:
        for image, region in zip(group.pictures, group.regions, strict=True):
            assert preprocess(image, height=64, width=64, region=region).tobytes() in frames


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


def headings_of(arguments: list[str], monkeypatch: pytest.MonkeyPatch, sheet: Path) -> tuple[list[str], str]:
    """Return what the sheet's groups are called, and what is printed."""
    drawn: list[str] = []

    def draw(groups: list[Group], *, height: int, width: int) -> NDArray[np.uint8]:
        drawn.extend(group.title for group in groups)
        return draw_sheet(groups, height=height, width=width)

    monkeypatch.setattr("metfa.training.data.preview.draw_sheet", draw)
    result = CliRunner().invoke(main, [*arguments, "--input-size", "64x64", "--preview", str(sheet)])
    assert result.exit_code == 0, result.output
    assert cv2.imread(str(sheet)) is not None
    return drawn, result.output


def test_one_domain_suffices(domains: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = map(str, domains)
    sheet = tmp_path / "sheet.png"
    headings, said = headings_of(["--target", target], monkeypatch, sheet)
    assert headings == ["target: without labels, 12 images"]
    assert said.endswith("train: the same command without --preview and with --source.\n")
    headings, said = headings_of(["--source", source], monkeypatch, sheet)
    assert headings == ["source: fan, 10 images", "source: linear, 10 images"]
    assert said.endswith("train: the same command without --preview and with --target.\n")


def test_what_cannot_be_trained_on_can_be_looked_at(
    domains: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = domains
    sheet = tmp_path / "sheet.png"
    headings, _ = headings_of(["--source", str(target)], monkeypatch, sheet)
    assert headings == ["source: without labels, 12 images"]
    (source / "linear").rename(tmp_path / "linear")
    for path in sorted((tmp_path / "linear").iterdir())[1:]:
        path.unlink()
    (source / "fan" / "damaged.png").write_bytes(b"no image")
    headings, said = headings_of(["--source", str(source), "--target", str(tmp_path / "linear")], monkeypatch, sheet)
    assert headings == ["source: fan, 10 images", "target: without labels, 1 image"]
    assert f"source {source}: skipped 1, such as " in said
    assert said.endswith("train: the same command without --preview.\n")


def test_a_domain_that_is_not_there_is_told_before_the_other_is_read(
    domains: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metfa.training.data.prepared.prepare", None)
    arguments = ["--source", str(domains[0]), "--target", str(tmp_path / "none"), "--preview", str(tmp_path / "a.png")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "which is not there; check the path" in result.output
