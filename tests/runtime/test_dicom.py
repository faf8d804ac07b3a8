"""DICOM files as ultrasound machines and archives write them."""

from __future__ import annotations

import base64
import io
import json
import os
import warnings
from typing import TYPE_CHECKING, BinaryIO

import av
import cv2
import numpy as np
import pytest
from click.testing import CliRunner

pydicom = pytest.importorskip("pydicom", reason="needs the extra dicom")

from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402  # after the skip
from pydicom.encaps import encapsulate, generate_frames  # noqa: E402
from pydicom.filebase import DicomIO  # noqa: E402
from pydicom.uid import (  # noqa: E402
    HEVCMP51,
    MPEG2MPML,
    MPEG4HP41,
    MPEG4HP41F,
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    UltrasoundMultiFrameImageStorage,
)

from metfa.runtime.bundle.contract import Region  # noqa: E402
from metfa.runtime.cli import main  # noqa: E402
from metfa.runtime.errors import SourceError  # noqa: E402
from metfa.runtime.sources import open_source  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path


JPEG_LOSSLESS = (  # dcmcjpeg +e1 of DCMTK, of the frame that its test expects
    b"/9j/4AAQSkZJRgABAQAAAQABAAD/wwALCAAQABgBAREA/8QAGwAAAgIDAQAAAAAAAAAAAAAABgcFCAADBAL/2gAIAQEAAQAAr/mZ"
    b"mZmZmZmZmZmZme9+/fv379+/fv379+/fv379+/fv3++7u7u7u7u7u7u7u7u7u7u7uob3d3d3d3uVlZWVlZWVlZWVlaKSsrKysrKy"
    b"srKysr7nJycnJycnJyjc5OTk5OTk5OUbnJycnJz2RkZGRkZHSIjIyMjIyMjpERkZGRkZHSIj9lRUVFRVSkqKioqKqUlRUVFRVSkq"
    b"KioqKvZiYmJjTAxMTExMaYGJiYmNMDExMTGmBiY+zg4ODim5wcHFNzg4ODim5wcHFNzg4ODim/s/Pz+nx+fn9Pj8/P6fH5+f0+Pz"
    b"8/p8fn5/7YzGY1RWMxqisZjMaorGYzGqKxmNUVjMZjVFY3tms2pjNZrNqYzWbUxms2pjNZrNqYzWbUxms2pntqNSqbUalU2o1Kpt"
    b"RqVTajUqm1GpVNqNSqbUanttturTbbdWm226tNurTbbdWm226tNtt1abbbq17cTirC4qwuJxVhcTirC4qwuJxVhcVYXE4qwuJxe3"
    b"S6a0OmtDprQ6XTWh01odLprQ6a0Ol01odNaHT//Z"
)


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
        for frame, written in zip(source, grey, strict=True):
            assert frame.region == Region(5, 4, 20, 10)
            assert (frame.image[4:14, 5:25] == written[4:14, 5:25]).all()
            assert not frame.image[:4].any()
            assert not frame.image[14:].any()
            assert not frame.image[:, :5].any()
            assert not frame.image[:, 25:].any()


def test_a_region_of_the_whole_frame_tells_nothing(tmp_path: Path, grey: np.ndarray) -> None:
    path = tell_region(write(tmp_path / "cine.dcm", grey, "MONOCHROME2"), 0, 0, 30, 20)
    with open_source(str(path)) as source:
        frame = next(iter(source))
        assert frame.region is None
        assert (frame.image == grey[0]).all()


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


def video(codec: str, container: str, scenes: np.ndarray) -> bytes:
    """Grey frames of 25 a second as a file of a recording."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = scenes.shape[1:]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 4_000_000
        for scene in scenes:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(scene, format="gray")))
        output.mux(stream.encode(None))
    return file.getvalue()


@pytest.mark.parametrize(
    ("codec", "container", "syntax"),
    [
        pytest.param("mpeg2video", "mpegts", MPEG2MPML, id="MPEG-2"),
        pytest.param("libx264", "mp4", MPEG4HP41, id="H.264 in MP4"),
        pytest.param("libx264", "h264", MPEG4HP41F, id="H.264 without container"),
        pytest.param("libx265", "mpegts", HEVCMP51, id="HEVC"),
    ],
)
def test_a_video_in_a_dicom_file_is_read_as_a_recording(
    tmp_path: Path, codec: str, container: str, syntax: UID
) -> None:
    ramp = np.linspace(20, 230, 96 * 128).reshape(96, 128).astype(np.uint8)
    scenes = np.stack([np.roll(ramp, 9 * index, axis=0) for index in range(12)])
    path = write(tmp_path / "video.dcm", scenes, "MONOCHROME2")
    dataset = pydicom.dcmread(path)
    content = video(codec, container, scenes)
    dataset.PixelData = encapsulate([content], fragments_per_frame=3, has_bot=False)
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "YBR_PARTIAL_420", 3
    dataset.save_as(path)
    tell_region(path, 0, 0, 127, 79)
    with open_source(str(path)) as source:
        frames = list(source)
        assert source.rate == 25
        assert [source.seconds_of(frame) for frame in frames] == pytest.approx(
            [index / 25 for index in range(12)], abs=0.01
        )
    images = np.stack([frame.image for frame in frames]).mean(axis=-1)
    assert np.abs(images[:, :80] - scenes[:, :80]).mean() < 6
    assert not images[:, 80:].any()


@pytest.mark.parametrize(
    ("vector", "times"),
    [
        ([0, 100, 300], [0, 0.1, 0.4]),
        ([50, 100, 300], [0, 0.1, 0.4]),
        ([100, 300], [0, 0.1, 0.4]),
        ([0, 0, 0], [0, 0, 0]),
        ([0, -100, 300], [0, 0.04, 0.08]),
        ([0, 100, 100, 100], [0, 0.04, 0.08]),
        ([100], [0, 0.04, 0.08]),
    ],
)
def test_frame_times_are_those_of_a_vector_that_fits(
    tmp_path: Path, grey: np.ndarray, vector: list[int], times: list[float]
) -> None:
    path = write(tmp_path / "cine.dcm", grey, "MONOCHROME2")
    dataset = pydicom.dcmread(path)
    dataset.FrameTimeVector = vector
    dataset.save_as(path)
    with open_source(str(path)) as source:
        assert [source.seconds_of(frame) for frame in source] == pytest.approx(times)
        assert source.rate == pytest.approx(2 / times[-1] if times[-1] else 25)


@pytest.mark.parametrize("told", ["0", None, "missing"])
@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("form", ["plain", "run-length encoded", "JPEG-LS", "JPEG-LS with offsets", "YBR_FULL_422"])
def test_frames_that_are_not_announced_are_counted(
    tmp_path: Path, grey: np.ndarray, told: str | None, frames: int, form: str
) -> None:
    path = write(tmp_path / "cine.dcm", grey[:frames], "MONOCHROME2", rle=form == "run-length encoded")
    dataset = pydicom.dcmread(path)
    if form.startswith("JPEG-LS"):
        dataset.compress(JPEGLSLossless, encapsulate_ext=False)
    if form == "JPEG-LS":
        dataset.PixelData = encapsulate(
            list(generate_frames(dataset.PixelData, number_of_frames=frames)), has_bot=False
        )
    if form == "YBR_FULL_422":
        dataset.PhotometricInterpretation, dataset.SamplesPerPixel, dataset.PlanarConfiguration = form, 3, 0
        dataset.PixelData = np.stack([grey[:frames]] * 2).tobytes()
    if told == "missing":
        del dataset.NumberOfFrames
    else:
        dataset.NumberOfFrames = told
    dataset.save_as(path)
    with open_source(str(path)) as source:
        assert len(list(source)) == frames


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("name", ["cine.dcm", "IM0001"])
def test_a_file_without_preamble_is_read(tmp_path: Path, grey: np.ndarray, name: str, implicit: bool) -> None:
    path = write(tmp_path / "whole.dcm", grey, "MONOCHROME2")
    dataset = pydicom.dcmread(path)
    with (tmp_path / name).open("wb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a file that archives refuse
        pydicom.filewriter.write_dataset(_writer(file, implicit), dataset)
    with open_source(str(tmp_path / name)) as source:
        assert (np.stack([frame.image for frame in source]) == grey).all()


def _writer(file: BinaryIO, implicit: bool) -> DicomIO:
    writer = DicomIO(file)
    writer.is_little_endian, writer.is_implicit_VR = True, implicit
    return writer


def test_big_endian_palettes_and_bytes_in_words(tmp_path: Path) -> None:
    path = write(tmp_path / "cine.dcm", np.arange(200, dtype=np.uint8).reshape(1, 10, 20), "PALETTE COLOR")
    dataset = pydicom.dcmread(path)
    for number, colour in enumerate(("Red", "Green", "Blue")):
        dataset.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [200, 0, 8])
        entries = (np.arange(200) + 20 * number).astype(np.uint8)
        setattr(dataset, f"{colour}PaletteColorLookupTableData", entries.view("<u2").astype(">u2").tobytes())
    dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    big = Dataset()
    big.update(dataset)
    big.file_meta = dataset.file_meta
    big.save_as(path, enforce_file_format=True)
    with open_source(str(path)) as source:
        (frame,) = source
    assert (frame.image[..., 2].ravel() == np.arange(200)).all()
    assert (frame.image[..., 0].ravel() == np.arange(200) + 40).all()


def lossless(path: Path, frame: bytes) -> Path:
    write(path, np.zeros((1, 16, 24), np.uint8), "MONOCHROME2")
    dataset = pydicom.dcmread(path)
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    dataset.save_as(path)
    return path


def test_jpeg_lossless_is_read(tmp_path: Path) -> None:
    pytest.importorskip("gdcm", reason="decodes JPEG Lossless with python-gdcm")
    with open_source(str(lossless(tmp_path / "cine.dcm", base64.b64decode(JPEG_LOSSLESS)))) as source:
        (frame,) = source
    rows, columns = np.mgrid[:16, :24]
    assert (frame.image == (7 * rows * columns + 3 * rows) % 256).all()


@pytest.mark.parametrize("stderr_is_open", [True, False])
@pytest.mark.parametrize("kept", [0, 250])
def test_damaged_jpeg_lossless_is_refused_in_silence(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    kept: int,
    stderr_is_open: bool,
) -> None:
    pytest.importorskip("gdcm", reason="decodes JPEG Lossless with python-gdcm")
    frame = base64.b64decode(JPEG_LOSSLESS)
    damaged = frame[:kept] + bytes(80) + frame[kept + 80 :]
    if not stderr_is_open:
        monkeypatch.setattr("sys.stderr", None)
        damaged = bytes(len(frame))  # so much that GDCM makes nothing of it
    path = lossless(tmp_path / "cine.dcm", damaged)
    with open_source(str(path)) as source, pytest.raises(SourceError, match=r"Corrupt JPEG data|Unable to decode"):
        list(source)
    assert not stderr_is_open or capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("syntax", "reason"),
    [
        (JPEGLosslessSV1, r"JPEG Lossless, .*, which nothing decodes that is installed .pip install python-gdcm "),
        (JPEGExtended12Bit, r"JPEG Extended .*, which nothing .* .pip install pylibjpeg pylibjpeg-libjpeg.;"),
        (UID("1.2.840.10008.1.2.4.94"), "which no package decodes; have it exported uncompressed"),
    ],
)
def test_what_cannot_be_decoded_names_its_encoding_and_the_package(
    tmp_path: Path, grey: np.ndarray, syntax: UID, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "cine.dcm", grey.astype(np.uint16), "MONOCHROME2", bits=12)
    dataset = pydicom.dcmread(path)
    dataset.PixelData = encapsulate([b"\xff\xd8"] * 3)
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path)
    monkeypatch.setattr("pydicom.pixels.common.CoderBase.available_plugins", ())
    with pytest.raises(SourceError, match=reason):
        open_source(str(path))


def test_a_jpeg_frame_with_a_hole_is_refused_in_silence(
    tmp_path: Path, grey: np.ndarray, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "cine.dcm", grey, "MONOCHROME2")
    dataset = pydicom.dcmread(path)
    frames = [cv2.imencode(".jpg", frame)[1].tobytes() for frame in grey]
    frames[1] = frames[1][:350] + frames[1][450:]
    dataset.PixelData = encapsulate(frames)
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.save_as(path)
    with open_source(str(path)) as source, pytest.raises(SourceError, match="Corrupt JPEG data"):
        list(source)
    assert capfd.readouterr().err == ""


def test_a_folder_of_dicom_files_is_streamed_as_it_is_trained_on(tmp_path: Path, grey: np.ndarray) -> None:
    (tmp_path / "PAT0").mkdir()
    write(tmp_path / "PAT0" / "IM0001", grey, "MONOCHROME2")
    tell_region(write(tmp_path / "PAT0" / "IM0002", grey[:1], "MONOCHROME2"), 5, 4, 24, 13)
    (tmp_path / "DICOMDIR").write_bytes(b"")
    with open_source(str(tmp_path)) as source:
        frames = [(frame.source, frame.region) for frame in source]
    assert frames == [("PAT0/IM0001", None)] * 3 + [("PAT0/IM0002", Region(5, 4, 20, 10))]


def test_a_dicom_file_is_known_by_its_content(tmp_path: Path, grey: np.ndarray) -> None:
    with open_source(str(write(tmp_path / "IM0001", grey, "MONOCHROME2"))) as source:
        assert len(list(source)) == 3


@pytest.mark.parametrize("damage", ["empty", "text", "truncated", "no pixels", "no columns", "no bits", "no rate"])
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
            delattr(dataset, {"no pixels": "PixelData", "no columns": "Columns", "no bits": "BitsStored"}[damage])
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
