"""DICOM files as ultrasound machines and archives write them."""

from __future__ import annotations

import json
import os
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner

pydicom = pytest.importorskip("pydicom", reason="needs the extra dicom")

from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402  # after the skip
from pydicom.uid import ExplicitVRLittleEndian, RLELossless, UltrasoundMultiFrameImageStorage  # noqa: E402

from metfa.runtime.cli import main  # noqa: E402
from metfa.runtime.contract import Region  # noqa: E402
from metfa.runtime.errors import SourceError  # noqa: E402
from metfa.runtime.sources import open_source  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path


def write(path: Path, pixels: np.ndarray, photometric: str, *, bits: int = 8, rle: bool = False) -> Path:
    """A cine, uint [N, H, W] or [N, H, W, 3]."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = UltrasoundMultiFrameImageStorage
    dataset.SOPInstanceUID = "1.2.3"
    dataset.PatientName = "Somebody"
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = pixels.shape[:3]
    dataset.SamplesPerPixel = 3 if pixels.ndim == 4 else 1
    if pixels.ndim == 4:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = photometric
    dataset.BitsAllocated = 8 if bits == 8 else 16
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, 0
    dataset.FrameTime = "40"
    dataset.PixelData = pixels.tobytes()
    if rle:
        dataset.compress(RLELossless)
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def grey() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 20, 30)).astype(np.uint8)


@pytest.mark.parametrize("rle", [False, True], ids=["plain", "run-length encoded"])
def test_every_frame_of_a_cine_comes_at_its_rate(tmp_path: Path, grey: np.ndarray, rle: bool) -> None:
    with open_source(str(write(tmp_path / "cine.dcm", grey, "MONOCHROME2", rle=rle))) as source:
        frames = list(source)
        assert source.rate == 25
        assert "Somebody" not in source.description
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert (np.stack([frame.image for frame in frames]) == grey).all()


@pytest.mark.parametrize(
    ("told", "rate"),
    [
        ({"CineRate": "50", "FrameTime": "40", "RecommendedDisplayFrameRate": "30"}, 50),
        ({"FrameTime": "40", "RecommendedDisplayFrameRate": "30"}, 25),
        ({"CineRate": "0", "FrameTime": "40"}, 25),
        ({"CineRate": "-1", "FrameTime": "0", "RecommendedDisplayFrameRate": "15"}, 15),
        ({"CineRate": "", "FrameTime": "-40"}, 30),
        ({"FrameTime": "1e-320", "RecommendedDisplayFrameRate": "15"}, 15),
        ({"FrameTime": "inf"}, 30),
        ({}, 30),
    ],
)
def test_the_rate_is_the_first_that_can_be_of_the_acquisition_then_of_the_display(
    tmp_path: Path, grey: np.ndarray, told: dict[str, str], rate: float
) -> None:
    path = write(tmp_path / "cine.dcm", grey, "MONOCHROME2")
    dataset = pydicom.dcmread(path)
    del dataset.FrameTime
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that no machine should write
        for name, value in told.items():
            setattr(dataset, name, value)
        dataset.save_as(path)
    with open_source(str(path)) as source:
        assert source.rate == rate


def test_monochrome1_is_inverted(tmp_path: Path, grey: np.ndarray) -> None:
    with open_source(str(write(tmp_path / "cine.dcm", grey, "MONOCHROME1"))) as source:
        assert (next(iter(source)).image == 255 - grey[0]).all()


def test_colours_come_in_the_order_of_opencv(tmp_path: Path) -> None:
    red = np.zeros((1, 20, 30, 3), np.uint8)
    red[..., 0] = 200
    with open_source(str(write(tmp_path / "cine.dcm", red, "RGB"))) as source:
        assert next(iter(source)).image[0, 0].tolist() == [0, 0, 200]


def test_a_palette_is_applied(tmp_path: Path) -> None:
    path = write(tmp_path / "cine.dcm", np.full((1, 20, 30), 7, np.uint8), "PALETTE COLOR")
    dataset = pydicom.dcmread(path)
    for colour in ("Red", "Green", "Blue"):
        dataset.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [256, 0, 8])
        setattr(dataset, f"{colour}PaletteColorLookupTableData", bytes(range(255, -1, -1)))
    dataset.save_as(path)
    with open_source(str(path)) as source:
        assert (next(iter(source)).image == 248).all()


def test_deep_pixels_keep_their_highest_bits(tmp_path: Path) -> None:
    deep = np.full((1, 20, 30), 0xABC, np.uint16)
    with open_source(str(write(tmp_path / "cine.dcm", deep, "MONOCHROME2", bits=12))) as source:
        assert (next(iter(source)).image == 0xAB).all()


def tell_region(path: Path, x0: int, y0: int, x1: int, y1: int) -> Path:
    dataset = pydicom.dcmread(path)
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = 1, 1, 0
    item.RegionLocationMinX0, item.RegionLocationMinY0 = x0, y0
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = x1, y1
    dataset.SequenceOfUltrasoundRegions = [item]
    dataset.save_as(path)
    return path


def test_outside_the_region_that_the_file_tells_names_are_burnt_in_and_made_black(
    tmp_path: Path, grey: np.ndarray
) -> None:
    path = tell_region(write(tmp_path / "cine.dcm", grey, "MONOCHROME2"), 5, 4, 24, 13)
    with open_source(str(path)) as source:
        assert source.region == Region(5, 4, 20, 10)
        for frame, written in zip(source, grey, strict=True):
            assert (frame.image[4:14, 5:25] == written[4:14, 5:25]).all()
            assert not frame.image[:4].any()
            assert not frame.image[14:].any()
            assert not frame.image[:, :5].any()
            assert not frame.image[:, 25:].any()


def test_a_region_of_the_whole_frame_tells_nothing(tmp_path: Path, grey: np.ndarray) -> None:
    path = tell_region(write(tmp_path / "cine.dcm", grey, "MONOCHROME2"), 0, 0, 30, 20)
    with open_source(str(path)) as source:
        assert source.region is None
        assert (next(iter(source)).image == grey[0]).all()


def test_the_sector_is_not_looked_for_where_the_file_tells_it(tmp_path: Path, grey: np.ndarray, bundle: Path) -> None:
    path = tell_region(write(tmp_path / "cine.dcm", np.full_like(grey, 250), "MONOCHROME2"), 5, 4, 24, 13)
    confidences = []
    for roi in ("auto", "full", "5,4,20,10"):
        events = tmp_path / f"{roi}.jsonl"
        command = ["--bundle", str(bundle), "--device", str(path), "--events", str(events), "--no-window"]
        result = CliRunner().invoke(main, [*command, "--roi", roi])
        assert result.exit_code == 0, result.output
        assert ("sector: 5,4,20,10 of 30x20" in result.output) == (roi == "auto")
        lines = [json.loads(line) for line in events.read_text().splitlines()]
        confidences.append([line["confidence"] for line in lines if line["type"] == "frame"])
    assert confidences[0] == confidences[2]
    assert confidences[0] != confidences[1]


def test_a_dicom_file_is_known_by_its_content(tmp_path: Path, grey: np.ndarray) -> None:
    with open_source(str(write(tmp_path / "IM0001", grey, "MONOCHROME2"))) as source:
        assert len(list(source)) == 3


@pytest.mark.parametrize("damage", ["empty", "text", "truncated", "no pixels", "no columns", "no rate"])
def test_damaged_files_are_refused_in_one_line(tmp_path: Path, grey: np.ndarray, damage: str) -> None:
    path = write(tmp_path / "cine.dcm", grey, "MONOCHROME2", rle=damage == "truncated")
    content = path.read_bytes()
    if damage.startswith("no "):
        dataset = pydicom.dcmread(path)
        if damage == "no rate":
            dataset.CineRate = "0"
            dataset.FrameTime = "0.0"
            dataset["FrameTime"]._value = "often"
        else:
            delattr(dataset, {"no pixels": "PixelData", "no columns": "Columns"}[damage])
        dataset.save_as(path)
    else:
        path.write_bytes({"empty": b"", "text": b"no DICOM", "truncated": content[: len(content) - 900]}[damage])
    message = r"^expected frames in the DICOM file .*cine\.dcm, received .+; export"
    with pytest.raises(SourceError, match=message), open_source(str(path)) as source:
        list(source)


@pytest.mark.skipif("METFA_DATA" not in os.environ, reason="METFA_DATA names no folder of real images")
def test_real_files_are_read() -> None:
    from pathlib import Path

    files = sorted(Path(os.environ["METFA_DATA"], "ultrasound", "dicom").glob("*.dcm"))
    assert files
    for file in files:
        with open_source(str(file)) as source:
            assert [frame.image.shape for frame in source] == [(1455, 2083, 3)]
