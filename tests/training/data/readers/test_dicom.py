"""DICOM files of a domain: pictures, regions, and patients who are told apart and never named."""

from __future__ import annotations

import io
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="needs the extra dicom")

from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402  # after the skip
from pydicom.encaps import encapsulate  # noqa: E402
from pydicom.uid import (  # noqa: E402
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
    UltrasoundMultiFrameImageStorage,
)

from metfa.runtime.bundle.contract import Region  # noqa: E402
from metfa.runtime.errors import MissingExtraError, SourceError  # noqa: E402
from metfa.runtime.imaging.coded import to_colours  # noqa: E402
from metfa.training.data.readers import list_domain  # noqa: E402

from .examples import skipped, write  # noqa: E402
from .test_recording import scene  # noqa: E402

NAME, NUMBER = "Blackwell^Elizabeth", "MRN-1821-0203"


def make(pixels: np.ndarray, photometric: str = "MONOCHROME2", **values: object) -> Dataset:
    """A cine of uint [N, H, W] or [N, H, W, 3], with a patient."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = UltrasoundMultiFrameImageStorage, "1.2.3"
    dataset.PatientName, dataset.PatientID, dataset.StudyInstanceUID = NAME, NUMBER, "1.2.840.1"
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = pixels.shape[:3]
    dataset.SamplesPerPixel = 3 if pixels.ndim == 4 else 1
    if pixels.ndim == 4:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = photometric
    bits = 8 * pixels.itemsize
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits, bits - 1, 0
    dataset.FrameTime = "500"
    dataset.PixelData = pixels.tobytes()
    for name, value in values.items():
        setattr(dataset, name, value)
    return dataset


def box(x0: int, y0: int, x1: int, y1: int, form: int = 1, kind: int = 1) -> Dataset:
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = form, kind, 0
    item.RegionLocationMinX0, item.RegionLocationMinY0 = x0, y0
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = x1, y1
    return item


def without_corners() -> Dataset:
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = 1, 1, 0
    item.add_new("RegionLocationMinX0", "LO", "left")
    return item


def save(path: Path, dataset: Dataset) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


GREY = np.stack([scene(seed) for seed in range(3)])
COLOURS = np.stack([np.dstack([scene(3 * seed), scene(3 * seed + 1), scene(3 * seed + 2)]) for seed in range(3)])


def encapsulated(dataset: Dataset, frames: list[bytes], syntax: UID) -> Dataset:
    dataset.PixelData = encapsulate(frames)
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def compressed(dataset: Dataset, syntax: UID) -> Dataset:
    dataset.compress(syntax)
    return dataset


def jpeg(pixels: np.ndarray) -> bytes:
    bgr = pixels if pixels.ndim == 2 else pixels[..., ::-1]
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def jpeg_2000(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    pytest.importorskip("PIL.Image").fromarray(pixels).save(file, "JPEG2000", irreversible=False, no_jp2=True)
    return file.getvalue()


def ybr(colours: np.ndarray) -> np.ndarray:
    return np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]] for frame in colours])


@pytest.mark.parametrize(
    ("dataset", "expected", "tolerance"),
    [
        pytest.param(lambda: make(GREY), GREY, 0, id="MONOCHROME2"),
        pytest.param(lambda: make(255 - GREY, "MONOCHROME1"), GREY, 0, id="MONOCHROME1"),
        pytest.param(lambda: make(GREY.astype(np.uint16) * 257), GREY, 0, id="16-bit"),
        pytest.param(lambda: make(COLOURS, "RGB"), COLOURS, 0, id="RGB"),
        pytest.param(lambda: make(ybr(COLOURS), "YBR_FULL"), COLOURS, 3, id="YBR_FULL"),
        pytest.param(lambda: compressed(make(GREY), RLELossless), GREY, 0, id="RLE"),
        pytest.param(lambda: compressed(make(COLOURS, "RGB"), RLELossless), COLOURS, 0, id="RLE RGB"),
        pytest.param(lambda: compressed(make(GREY), JPEGLSLossless), GREY, 0, id="JPEG-LS"),
        pytest.param(
            lambda: encapsulated(make(GREY), [jpeg(frame) for frame in GREY], JPEGBaseline8Bit), GREY, 10, id="JPEG"
        ),
        pytest.param(
            lambda: encapsulated(make(COLOURS, "YBR_FULL_422"), [jpeg(frame) for frame in COLOURS], JPEGBaseline8Bit),
            COLOURS,
            24,
            id="JPEG YBR",
        ),
        pytest.param(
            lambda: encapsulated(make(GREY), [jpeg_2000(frame) for frame in GREY], JPEG2000Lossless),
            GREY,
            0,
            id="JPEG 2000",
        ),
    ],
)
def test_every_encoding_shows_what_was_written(
    tmp_path: Path, dataset: object, expected: np.ndarray, tolerance: int
) -> None:
    assert callable(dataset)
    path = save(tmp_path / "cine.dcm", dataset())
    (entry,) = list_domain(str(path)).entries
    pictures = np.stack(list(map(to_colours, entry.medium.read())))
    if expected.ndim == 4:
        pictures = pictures[..., ::-1]
    assert pictures.shape == expected.shape
    assert np.abs(pictures.astype(int) - expected).max() <= tolerance


def test_a_cine_is_sampled_like_a_recording_and_a_still_is_one_picture(tmp_path: Path) -> None:
    cine = np.stack([scene(index // 2) for index in range(40)])
    save(tmp_path / "IM0001", make(cine, FrameTime="50"))
    save(tmp_path / "still.dcm", make(cine[:1]))
    counts = [len(list(entry.medium.read())) for entry in list_domain(f"{tmp_path}?rate=20").entries]
    assert counts == [20, 1], "every second frame repeats the one before"
    assert [len(list(entry.medium.read())) for entry in list_domain(str(tmp_path)).entries] == [4, 1]


@pytest.mark.parametrize(
    ("boxes", "region"),
    [
        pytest.param([box(10, 20, 109, 79)], Region(10, 20, 100, 60), id="one"),
        pytest.param([box(0, 0, 128, 96)], None, id="all of the frame, as real files write it"),
        pytest.param([box(10, 20, 500, 500)], Region(10, 20, 118, 76), id="beyond the frame"),
        pytest.param([box(90, 20, 10, 30)], None, id="empty"),
        pytest.param([], None, id="none"),
        pytest.param([box(0, 0, 30, 95), box(40, 0, 127, 95)], Region(40, 0, 88, 96), id="the larger of two images"),
        pytest.param([box(0, 40, 127, 95, 3, 3), box(20, 0, 89, 35)], Region(20, 0, 70, 36), id="image and spectrum"),
        pytest.param([box(0, 40, 127, 95, 3, 3)], None, id="no image"),
        pytest.param([without_corners(), box(10, 20, 109, 79)], Region(10, 20, 100, 60), id="one without corners"),
        pytest.param([without_corners()], None, id="none but without corners"),
    ],
)
def test_the_file_tells_the_region(tmp_path: Path, boxes: list[Dataset], region: Region | None) -> None:
    path = save(tmp_path / "1.dcm", make(GREY, SequenceOfUltrasoundRegions=boxes))
    assert [entry.region for entry in list_domain(str(path)).entries] == [region]


def test_what_is_burnt_in_outside_the_regions_is_black(tmp_path: Path) -> None:
    frame = np.full((1, 96, 128), 200, np.uint8)
    path = save(
        tmp_path / "1.dcm", make(frame, SequenceOfUltrasoundRegions=[box(10, 20, 59, 69), box(70, 20, 99, 40, 3)])
    )
    (picture,) = map(to_colours, next(iter(list_domain(str(path)).entries)).medium.read())
    inside = np.zeros((96, 128), bool)
    inside[20:70, 10:60] = inside[20:41, 70:100] = True
    assert (picture[inside] == 200).all()
    assert (picture[~inside] == 0).all()


def test_patients_are_told_apart_and_never_named(tmp_path: Path) -> None:
    for number, patient in enumerate(["MRN-1", "MRN-2", "MRN-1"]):
        save(tmp_path / f"{number}.dcm", make(GREY, PatientID=patient))
    listing = list_domain(str(tmp_path))
    assert [entry.group for entry in listing.entries] == ["patient 1", "patient 2", "patient 1"]
    assert "MRN" not in repr([entry.group for entry in listing.entries])


@pytest.mark.parametrize("number", ["", "--", "0", "ANONYMOUS", "Anonymized", None])
def test_where_the_number_was_removed_studies_are_told_apart(tmp_path: Path, number: str | None) -> None:
    for name, study in enumerate(["1.2.1", "1.2.2", "1.2.1", ""]):
        save(tmp_path / f"{name}.dcm", make(GREY, PatientID=number, StudyInstanceUID=study))
    groups = [entry.group for entry in list_domain(str(tmp_path)).entries]
    assert groups == ["patient 1", "patient 2", "patient 1", "recording 3"]


def test_names_and_numbers_of_patients_are_in_no_name_and_no_message(tmp_path: Path) -> None:
    path = tmp_path / "export" / "BLACKWELL_elizabeth" / f"{NUMBER}-cine.dcm"
    dataset = make(GREY)
    del dataset.PixelData
    save(path, dataset)
    (tmp_path / "export" / "DICOMDIR").write_bytes(b"")
    listing = list_domain(str(tmp_path / "export"))
    (entry,) = listing.entries
    assert Path(entry.medium.name).parts[-2:] == ("*_*", "*-cine.dcm")
    with pytest.raises(SourceError, match="a file without pixels") as error:
        list(entry.medium.read())
    for text in (str(error.value), entry.medium.name, entry.group, repr(listing.skipped)):
        assert text is not None
        assert not any(part in text.lower() for part in ("blackwell", "elizabeth", NUMBER.lower()))


@pytest.mark.parametrize(
    ("name", "masked"),
    [
        ("ACC-77_19810207.dcm", "*_*.dcm"),
        ("07.02.1981 view.dcm", "* view.dcm"),
        ("1981-02-07-acc-77.dcm", "*-*.dcm"),
        ("OTHER9-02071981.dcm", "*-*.dcm"),
        ("19810208.dcm", "19810208.dcm"),
    ],
)
def test_accession_numbers_and_dates_of_birth_are_masked_too(tmp_path: Path, name: str, masked: str) -> None:
    dataset = make(GREY, AccessionNumber="ACC-77", PatientBirthDate="19810207", OtherPatientIDs=["OTHER9", "7"])
    (entry,) = list_domain(str(save(tmp_path / name, dataset))).entries
    assert Path(entry.medium.name).name == masked


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("text", "no DICOM file"),
        ("empty", "no DICOM file"),
        ("no rows", "a file without pixels"),
    ],
)
def test_what_is_no_usable_dicom_is_skipped_with_the_reason(tmp_path: Path, damage: str, reason: str) -> None:
    save(tmp_path / "fine.dcm", make(GREY))
    dataset = make(GREY)
    path = tmp_path / "bad.dcm"
    if damage == "no rows":
        del dataset.PixelData, dataset.Rows, dataset.Columns
    save(path, dataset)
    if damage in {"text", "empty"}:
        path.write_bytes({"text": b"patient list", "empty": b""}[damage])
    listing = list_domain(str(tmp_path))
    assert [entry.medium.name for entry in listing.entries] == [str(tmp_path / "fine.dcm")]
    assert list(skipped(listing)) == [str(path)]
    assert reason in skipped(listing)[str(path)]


@pytest.mark.parametrize("damage", ["no pixels", "truncated", "scrambled", "too small"])
def test_what_cannot_be_decoded_is_an_error_that_names_the_file(tmp_path: Path, damage: str) -> None:
    dataset = encapsulated(make(GREY), [jpeg(frame) for frame in GREY], JPEGBaseline8Bit)
    if damage == "no pixels":
        del dataset.PixelData
    if damage == "scrambled":
        dataset.PixelData = encapsulate([bytes(300)] * 3)
    if damage == "too small":
        dataset = make(np.zeros((1, 1, 1), np.uint8))
    path = save(tmp_path / "cine.dcm", dataset)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-4000])
    (entry,) = list_domain(str(path)).entries
    with pytest.raises(SourceError, match=r"^expected .* in (the DICOM file )?.*cine\.dcm, received .+;"):
        list(entry.medium.read())


def test_without_pydicom_the_command_that_installs_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "IM0001", make(GREY))
    monkeypatch.setattr("importlib.util.find_spec", lambda module: None)
    with pytest.raises(MissingExtraError, match=r"pip install '\.\[dicom\]' in a clone of metfa"):
        list_domain(str(tmp_path))


def test_a_table_and_class_folders_hold_dicom_too(tmp_path: Path) -> None:
    save(tmp_path / "4CH" / "1.dcm", make(GREY))
    save(tmp_path / "Lips" / "2", make(GREY))
    write(tmp_path / "Lips" / "3.png")
    (tmp_path / "table.csv").write_text("path,patient\n4CH/1.dcm,\nLips/2,Jones\n")
    listing = list_domain(str(tmp_path / "table.csv"))
    assert [entry.group for entry in listing.entries] == ["patient 1", "patient 2"]
    (tmp_path / "table.csv").unlink()
    folder = list_domain(str(tmp_path)).entries
    assert [(entry.label, entry.group) for entry in folder] == [
        ("4CH", "patient 1"),
        ("Lips", "patient 1"),
        ("Lips", None),
    ]


@pytest.mark.skipif("METFA_DATA" not in os.environ, reason="METFA_DATA names no folder of real images")
def test_real_files() -> None:
    listing = list_domain(str(Path(os.environ["METFA_DATA"], "ultrasound", "dicom")))
    assert [entry.group for entry in listing.entries] == ["patient 1", "patient 2"]
    assert [entry.region for entry in listing.entries] == [None, None]
    for entry in listing.entries:
        (picture,) = entry.medium.read()
        assert picture.shape == (1455, 2083, 3)
