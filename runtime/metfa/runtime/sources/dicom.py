"""DICOM ultrasound, still or cine, through pydicom."""

from __future__ import annotations

import time
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pydicom
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import iter_pixels

from ..errors import SourceError
from ..frame import Frame
from .base import Source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

_DEFAULT_RATE = 30.0  # where the file does not tell


class DicomCine(Source):
    """Every frame of a DICOM file. Of its other contents, nothing but the frame rate is read.

    Raises:
        SourceError: the file is no DICOM, is damaged, or holds no pixels.
    """

    live = False

    def __init__(self, path: Path) -> None:
        self._path = path
        with _reading_dicom(path):
            self._dataset = pydicom.dcmread(path)
            if "PixelData" not in self._dataset:
                raise ValueError("a file without pixels")
            self._frames = int(self._dataset.get("NumberOfFrames", 1))
            self.rate = _rate(self._dataset)
            size = f"{int(self._dataset.Columns)}x{int(self._dataset.Rows)}"
        self.description = (
            f"DICOM {path}, {size} pixels, "
            f"{self._frames} {'frame' if self._frames == 1 else 'frames'}, {self.rate:.4g} frames/s"
        )

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames, decoded one by one."""
        frames = iter_pixels(self._dataset)
        for index in range(self._frames):
            with _reading_dicom(self._path):
                image = _to_image(next(frames), self._dataset)
            yield Frame(image, index, time.monotonic(), str(self._path))


def _rate(dataset: Any) -> float:
    for name in ("CineRate", "RecommendedDisplayFrameRate"):
        if dataset.get(name):
            return float(dataset.get(name))
    return 1000 / float(dataset.FrameTime) if dataset.get("FrameTime") else _DEFAULT_RATE


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


@contextmanager
def _reading_dicom(path: Path) -> Iterator[None]:
    """Turn whatever pydicom, or a decoder that it calls, raises into a :class:`SourceError`; keep its remarks back."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except Exception as cause:
            raise _no_frames(path, str(cause) or "fewer frames than it announces") from None


def _no_frames(path: Path, received: str) -> SourceError:
    return SourceError(expected=f"frames in the DICOM file {path}", received=received, remedy="export it again")
