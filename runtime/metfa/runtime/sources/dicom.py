"""DICOM ultrasound, still or cine, through pydicom."""

from __future__ import annotations

import math
import time
import warnings
from contextlib import contextmanager
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pydicom
from pydicom.multival import MultiValue
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from ..bundle.contract import Region
from ..errors import SourceError
from ..files import reading
from ..frame import Frame
from ..imaging.coded import CodedImage
from ..imaging.images import MAX_PIXELS
from ..imaging.media import begins_like_dicom
from .base import Source
from .dicom_origin import read_origin
from .dicom_pixels import count_frames, is_video, read_frames, read_video, require_decoder
from .video import Recording

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from ..frame import DicomOrigin
    from ..imaging.coded import Image

_DEFAULT_RATE = 30.0  # where the file does not tell
_TWO_DIMENSIONAL = (
    1  # Region Spatial Format (0018,6012) of an image; others are of M-mode, spectra, traces and graphics
)
_CORNERS = ("RegionLocationMinX0", "RegionLocationMinY0", "RegionLocationMaxX1", "RegionLocationMaxY1")

_REQUIRED = (
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation"),
    *("BitsAllocated", "BitsStored", "PixelRepresentation"),
)


class DicomCine(Source):
    """Every frame of a DICOM file. Of the rest, frame times and ultrasound regions are read, and whose it is.

    What lies outside the regions is black: that is where patients' names are burnt in. A file that does not tell its
    regions is shown whole.

    Raises:
        SourceError: the file is no DICOM, is damaged, holds no pixels, or nothing that is installed decodes them.
    """

    live = False

    def __init__(self, path: Path) -> None:
        self._path = path
        with reading_dicom(path):
            self._dataset = read_dataset(path)
            if "PixelData" not in self._dataset:
                raise ValueError("a file without pixels")
            for keyword in _REQUIRED:
                if keyword not in self._dataset:
                    raise ValueError(f"a file without {keyword}")
            self._regions = read_regions(self._dataset)
            self._origin = read_origin(self._dataset)
            size = f"{int(self._dataset.Columns)}x{int(self._dataset.Rows)}"
            if not 0 < int(self._dataset.Columns) * int(self._dataset.Rows) <= MAX_PIXELS:
                raise ValueError(f"frames of {size} pixels")
            if is_video(self._dataset):
                from .pyav import open_recording

                video = open_recording(read_video(self._dataset), str(path))
                self._frames: Iterable[Frame] = Recording(str(path), video, "video")
                self.rate, length = video.rate, "video"
                self._holds_several = True
            else:
                require_decoder(self._dataset)
                count = self._dataset.NumberOfFrames = count_frames(self._dataset)
                self._holds_several = count > 1
                times = _times(self._dataset)
                self._frames = self._decode(count, times)
                self.rate, length = _rate(self._dataset, times), "1 frame" if count == 1 else f"{count} frames"
        self.description = f"DICOM {path}, {size} pixels, {length}, {self.rate:.4g} frames/s"

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames, decoded one by one."""
        for frame in self._frames:
            yield replace(
                frame,
                pixels=self._regions.blank(frame.pixels),
                region=self._regions.image,
                origin=self._origin_of(frame),
            )

    def _origin_of(self, frame: Frame) -> DicomOrigin | None:
        if self._origin is None or not self._holds_several:
            return self._origin
        return replace(self._origin, frame_number=frame.index + 1)

    def _decode(self, count: int, times: tuple[float, ...] | None) -> Iterator[Frame]:
        images = read_frames(self._dataset)
        for index in range(count):
            with reading_dicom(self._path):
                image = next(images)
            yield Frame(image, index, time.monotonic(), str(self._path), time=times[index] if times else None)


def read_dataset(path: Path, **options: Any) -> Any:
    """Read a DICOM file, also one without the preamble and the meta information that archives demand.

    Args:
        path: the file.
        options: of ``pydicom.dcmread``.

    Raises:
        ValueError: it is no DICOM file.
    """
    with path.open("rb") as file:
        if not begins_like_dicom(file.read(132)):
            raise ValueError("no DICOM file")
    dataset = pydicom.dcmread(path, force=True, **options)
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return dataset


def read_study(path: Path) -> DicomOrigin:
    """Return whose a DICOM file is, which need not hold pixels.

    Raises:
        SourceError: it is no DICOM file, or names no study.
    """
    with reading(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            origin, received = read_origin(read_dataset(path, stop_before_pixels=True)), "one without"
        except OSError:
            raise
        except Exception as cause:  # whatever pydicom makes of it
            origin, received = None, " ".join(str(cause).split())
    if origin is None:
        raise SourceError(
            expected="a DICOM file with a Study Instance UID",
            received=f"{path}: {received}",
            remedy="name an image of the study, or an answer of the worklist",
        )
    return origin


def _times(dataset: Any) -> tuple[float, ...] | None:
    """Return when the frames were taken, in seconds since the first; None where there is no Frame Time Vector."""
    vector = dataset.get("FrameTimeVector")
    steps = [float(milliseconds) / 1000 for milliseconds in vector] if isinstance(vector, MultiValue) else []
    if len(steps) == dataset.NumberOfFrames:
        steps = steps[1:]  # the first is before the first frame
    if len(steps) != dataset.NumberOfFrames - 1 or not all(0 <= step < math.inf for step in steps):
        return None
    return tuple(accumulate([0.0, *steps]))


def _rate(dataset: Any, times: tuple[float, ...] | None) -> float:
    """Return the frames per second of the acquisition, else those of its display, else a plausible number."""
    milliseconds = float(dataset.get("FrameTime") or 0)
    candidates = (
        (len(times) - 1) / times[-1] if times and times[-1] else 0.0,
        float(dataset.get("CineRate") or 0),
        1000 / milliseconds if milliseconds else 0.0,
        float(dataset.get("RecommendedDisplayFrameRate") or 0),
    )
    return next((rate for rate in candidates if rate > 0 and math.isfinite(rate)), _DEFAULT_RATE)


class Regions(NamedTuple):
    """Where a DICOM file says that its frames hold ultrasound.

    Attributes:
        image: the largest two-dimensional image; None where none is told, or where it is all of the frame.
        parts: everything, M-mode, spectra and traces included; empty where nothing is told.
    """

    image: Region | None
    parts: tuple[Region, ...]

    def blank(self, image: Image) -> Image:
        """Return the image, uint8 [H, W] or [H, W, 3] or of a video, with what is no part in black."""
        if not self.parts:
            return image
        if isinstance(image, CodedImage):
            luma = self._keep(image.luma, image.black)
            return CodedImage(luma, lambda: self._keep(image.colours()), is_limited=image.is_limited)
        return self._keep(image)

    def _keep(self, pixels: NDArray[np.uint8], black: int = 0) -> NDArray[np.uint8]:
        result = np.full_like(pixels, black)
        for part in self.parts:
            inside = slice(part.y, part.y + part.height), slice(part.x, part.x + part.width)
            result[inside] = pixels[inside]
        return result


def read_regions(dataset: Any) -> Regions:
    """Return the Sequence of Ultrasound Regions (0018,6011) of a DICOM data set, cut to its frames.

    The corners are pixels of the region (DICOM PS3.3 C.8.5.5); files in which they lie one beyond the frame exist, and
    so do regions without them, which are left out.
    """
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    images: list[Region] = []
    others: list[Region] = []
    for item in dataset.get("SequenceOfUltrasoundRegions") or ():
        try:
            left, top, last_column, last_row = (int(item.get(name)) for name in _CORNERS)
        except (TypeError, ValueError):
            continue
        x, y, right, bottom = max(0, left), max(0, top), min(columns, last_column + 1), min(rows, last_row + 1)
        if x < right and y < bottom:
            found = images if item.get("RegionSpatialFormat") == _TWO_DIMENSIONAL else others
            found.append(Region(x, y, right - x, bottom - y))
    largest = max(images, key=lambda region: region.width * region.height, default=None)
    return Regions(None if largest == Region(0, 0, columns, rows) else largest, (*images, *others))


@contextmanager
def reading_dicom(path: Path) -> Iterator[None]:
    """Turn whatever pydicom, or a decoder that it calls, raises into a :class:`SourceError`; keep its remarks back."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except SourceError:
            raise
        except Exception as cause:
            reason = " ".join(str(cause).split()) or f"{type(cause).__name__} while it was read"
            raise _no_frames(path, reason) from None


def _no_frames(path: Path, received: str) -> SourceError:
    return SourceError(expected=f"frames in the DICOM file {path}", received=received, remedy="export it again")
