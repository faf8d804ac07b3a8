"""DICOM ultrasound, still or cine, through pydicom."""

from __future__ import annotations

import math
import time
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
import pydicom
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import iter_pixels

from ..contract import Region
from ..errors import SourceError
from ..frame import Frame
from .base import Source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

_DEFAULT_RATE = 30.0  # where the file does not tell
_TWO_DIMENSIONAL = (
    1  # Region Spatial Format (0018,6012) of an image; others are of M-mode, spectra, traces and graphics
)


class DicomCine(Source):
    """Every frame of a DICOM file. Of its other contents, nothing but frame rate and ultrasound regions is read.

    What lies outside the regions is black: that is where patients' names are burnt in. A file that does not tell its
    regions is shown whole.

    Raises:
        SourceError: the file is no DICOM, is damaged, or holds no pixels.
    """

    live = False

    def __init__(self, path: Path) -> None:
        self._path = path
        with reading_dicom(path):
            self._dataset = pydicom.dcmread(path)
            if "PixelData" not in self._dataset:
                raise ValueError("a file without pixels")
            self._frames = int(self._dataset.get("NumberOfFrames", 1))
            self.rate = _rate(self._dataset)
            self._regions = read_regions(self._dataset)
            self.region = self._regions.image
            size = f"{int(self._dataset.Columns)}x{int(self._dataset.Rows)}"
        self.description = (
            f"DICOM {path}, {size} pixels, "
            f"{self._frames} {'frame' if self._frames == 1 else 'frames'}, {self.rate:.4g} frames/s"
        )

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames, decoded one by one."""
        frames = iter_pixels(self._dataset)
        for index in range(self._frames):
            with reading_dicom(self._path):
                image = _to_image(next(frames), self._dataset)
            yield Frame(self._regions.blank(image), index, time.monotonic(), str(self._path))


def _rate(dataset: Any) -> float:
    """Return the frames per second of the acquisition, else those of its display, else a plausible number."""
    milliseconds = float(dataset.get("FrameTime") or 0)
    candidates = (
        float(dataset.get("CineRate") or 0),
        1000 / milliseconds if milliseconds else 0.0,
        float(dataset.get("RecommendedDisplayFrameRate") or 0),
    )
    return next((rate for rate in candidates if rate > 0 and math.isfinite(rate)), _DEFAULT_RATE)


def _to_image(pixels: NDArray[Any], dataset: Any) -> NDArray[np.uint8]:
    """Return uint8 [H, W], or [H, W, 3] in OpenCV's order of colours; deeper pixels keep their eight highest bits."""
    depth = int(dataset.BitsStored)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, dataset)
        depth = 8 * pixels.itemsize
    image = (pixels >> max(0, depth - 8)).astype(np.uint8)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        image = 255 - image
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), np.uint8) if image.ndim == 3 else image


class Regions(NamedTuple):
    """Where a DICOM file says that its frames hold ultrasound.

    Attributes:
        image: the largest two-dimensional image; None where none is told, or where it is all of the frame.
        parts: everything, M-mode, spectra and traces included; empty where nothing is told.
    """

    image: Region | None
    parts: tuple[Region, ...]

    def blank(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the frame, uint8 [H, W] or [H, W, 3], with what is no part in black."""
        if not self.parts:
            return frame
        result = np.zeros_like(frame)
        for part in self.parts:
            inside = slice(part.y, part.y + part.height), slice(part.x, part.x + part.width)
            result[inside] = frame[inside]
        return result


def read_regions(dataset: Any) -> Regions:
    """Return the Sequence of Ultrasound Regions (0018,6011) of a DICOM data set, cut to its frames.

    The corners are pixels of the region (DICOM PS3.3 C.8.5.5); files in which they lie one beyond the frame exist.
    """
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    images: list[Region] = []
    others: list[Region] = []
    for item in dataset.get("SequenceOfUltrasoundRegions") or ():
        x, y = max(0, int(item.RegionLocationMinX0)), max(0, int(item.RegionLocationMinY0))
        right, bottom = min(columns, int(item.RegionLocationMaxX1) + 1), min(rows, int(item.RegionLocationMaxY1) + 1)
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
        except Exception as cause:
            reason, *_ = str(cause).splitlines() or ["fewer frames than it announces"]
            raise _no_frames(path, reason) from None


def _no_frames(path: Path, received: str) -> SourceError:
    return SourceError(expected=f"frames in the DICOM file {path}", received=received, remedy="export it again")
