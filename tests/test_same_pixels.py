"""The model is trained on the pixels that it sees on the edge, whatever they come from."""

from __future__ import annotations

from fractions import Fraction
from itertools import islice
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np
import pytest

from metfa.runtime import PlaneClassifier, open_source
from metfa.runtime.backends import Inference
from metfa.runtime.bundle.contract import Region
from metfa.runtime.phantom import Phantom, load_profile
from metfa.runtime.sources import CaptureFormat
from metfa.training.data.decoding import Decoder, Preparation
from metfa.training.data.readers import list_domain

from .runtime.conftest import make_contract
from .runtime.test_luma import Camera, coloured
from .runtime.test_sources import piped
from .runtime.videos import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from metfa.runtime import Frame

CONTRACT = make_contract()
HEIGHT, WIDTH = CONTRACT.input.height, CONTRACT.input.width
REGIONS = [None, Region(9, 5, 50, 41)]


class Blind:
    """A backend that has no answer."""

    description = "blind"
    artefact = ""
    concurrency = 1

    def infer(self, frames: NDArray[np.uint8]) -> Inference:
        return Inference(np.zeros((1, len(CONTRACT.labels)), np.float32), np.zeros((1, 1), np.float32))


def on_the_edge(frames: Iterable[Frame], region: Region | None = None) -> NDArray[np.uint8]:
    """Return what a stream's model sees of frames, uint8 [N, H, W]."""
    classifier = PlaneClassifier(CONTRACT, Blind(), region=region)
    return np.stack([classifier.prepare(each.pixels, classifier.locate(each.pixels, each.region)) for each in frames])


def in_training(path: Path, region: Region | None = None) -> NDArray[np.uint8]:
    """Return what a model is trained on, uint8 [N, H, W]."""
    decoder = Decoder(Preparation(HEIGHT, WIDTH, region), {})
    entries = list_domain(f"{path}?rate=25").entries
    return np.stack([picture.frame[0] for entry in entries for picture in decoder(entry)])


def pictures(count: int = 8) -> list[NDArray[np.uint8]]:
    return [coloured(number) for number in range(count)]


def video(name: str, codec: str, pixels: str) -> Callable[[Path], Path]:
    return lambda folder: encode(folder / name, pictures(), codec=codec, pixels=pixels)


def images(suffix: str, *, grey: bool = False) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        for number, picture in enumerate(pictures()):
            shown = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY) if grey else picture
            assert cv2.imwrite(str(folder / f"{number}{suffix}"), shown)
        return folder

    return write


def dicom(syntax: str, *, grey: bool = False) -> Callable[[Path], Path]:
    """Return what writes a cine with a region that holds less than its frames: as pixels, or as the video it names."""

    def write(folder: Path) -> Path:
        pytest.importorskip("pydicom")
        from pydicom.dataset import Dataset, FileMetaDataset
        from pydicom.encaps import encapsulate
        from pydicom.uid import MPEG4HP41, ExplicitVRLittleEndian, UltrasoundMultiFrameImageStorage

        shown = np.stack(pictures())[..., 1] if grey else np.stack(pictures())[..., ::-1]
        region, dataset = Dataset(), Dataset()
        region.RegionSpatialFormat = 1
        region.RegionLocationMinX0, region.RegionLocationMinY0 = 4, 2
        region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 60, 44
        dataset.SequenceOfUltrasoundRegions = [region]
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = MPEG4HP41 if syntax == "video" else ExplicitVRLittleEndian
        dataset.SOPClassUID, dataset.SOPInstanceUID = UltrasoundMultiFrameImageStorage, "1.2.3"
        dataset.NumberOfFrames, dataset.Rows, dataset.Columns = shown.shape[:3]
        dataset.SamplesPerPixel, dataset.PlanarConfiguration = (1 if grey else 3), 0
        dataset.PhotometricInterpretation = "MONOCHROME2" if grey else "RGB"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
        dataset.FrameTime = "40"
        dataset.PixelData = shown.tobytes()
        if syntax == "video":
            dataset.PixelData = encapsulate([encode(folder / "v.mp4", pictures()).read_bytes()], has_bot=False)
            dataset["PixelData"].VR = "OB"
            (folder / "v.mp4").unlink()
        dataset.save_as(folder / "cine.dcm", enforce_file_format=True)
        return folder / "cine.dcm"

    return write


FILES = {
    "H.264": video("clip.mp4", "libx264", "yuv420p"),
    "HEVC of 10 bits": video("clip.mkv", "libx265", "yuv420p10le"),
    "MPEG-2": video("clip.mpg", "mpeg2video", "yuv420p"),
    "MJPEG": video("clip.avi", "mjpeg", "yuvj422p"),
    "video without luma": video("raw.avi", "rawvideo", "bgr24"),
    "GIF": video("clip.gif", "gif", "rgb8"),
    "PNG in colour": images(".png"),
    "PNG in grey": images(".png", grey=True),
    "JPEG": images(".jpg"),
    "TIFF": images(".tif"),
    "DICOM in colour": dicom("pixels"),
    "DICOM in grey": dicom("pixels", grey=True),
    "DICOM with a video": dicom("video"),
}


@pytest.mark.parametrize("region", REGIONS, ids=["whole", "a region"])
@pytest.mark.parametrize("write", FILES.values(), ids=FILES)
def test_of_files(tmp_path: Path, write: Callable[[Path], Path], region: Region | None) -> None:
    path = write(tmp_path)
    trained = in_training(path, region)
    with open_source(str(path)) as source:
        streamed = on_the_edge(source, region)
    assert len(trained) == len(pictures())
    assert (streamed == trained).all()


def test_of_a_folder_of_recordings_and_images(tmp_path: Path) -> None:
    for name in ("H.264", "MJPEG", "PNG in colour", "DICOM with a video"):
        FILES[name](tmp_path)
    with open_source(str(tmp_path)) as source:
        streamed = on_the_edge(source)
    assert (streamed == in_training(tmp_path)).all()


def test_of_the_phantom() -> None:
    with open_source("phantom:B") as source:
        frames = list(islice(source, 3))
    scan = np.stack([image for image, _ in islice(Phantom(load_profile("B")).scan(seed=0), 3)])
    assert (np.stack([frame.grey for frame in frames]) == scan).all()


@pytest.mark.parametrize("pixels", ["gray", "bgr24"])
def test_of_raw_frames_on_standard_input(tmp_path: Path, pixels: str) -> None:
    raw = b"".join((picture[..., 0] if pixels == "gray" else picture).tobytes() for picture in pictures())
    for number, picture in enumerate(pictures()):
        assert cv2.imwrite(str(tmp_path / f"{number}.png"), picture[..., 0] if pixels == "gray" else picture)
    with piped(raw), open_source("-", CaptureFormat((64, 48), None, pixels)) as source:
        streamed = on_the_edge(source)
    assert (streamed == in_training(tmp_path)).all()


def as_jpeg(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.imencode(".jpg", picture)[1], np.uint8)


def write_mjpeg(path: Path) -> Path:
    """Write a recording of the very bytes that a camera delivers or a program pipes."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mjpeg", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuvj420p"
        for number, picture in enumerate(pictures()):
            packet = av.Packet(as_jpeg(picture).tobytes())
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, number, number, Fraction(1, 25)
            packet.is_keyframe = True
            container.mux(packet)
    return path


def test_of_mjpeg_but_for_what_two_decoders_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = in_training(write_mjpeg(tmp_path / "clip.avi")).astype(int)
    content = [as_jpeg(picture) for picture in pictures()]
    with piped(b"".join(each.tobytes() for each in content)), open_source("-") as source:
        piped_in = on_the_edge(source)
    assert np.abs(piped_in - trained).max() <= 1
    monkeypatch.setattr("pathlib.Path.exists", lambda _: True)
    delivered = [each.reshape(1, -1) for each in content]
    monkeypatch.setattr("cv2.VideoCapture", lambda *_: Camera("MJPG", delivered, pictures()[0], obeys=True))
    with open_source("0") as camera:
        captured = next(iter(camera))
    assert (on_the_edge([captured])[0] == piped_in[captured.index]).all()
