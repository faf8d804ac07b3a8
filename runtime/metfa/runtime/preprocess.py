"""Any frame → uint8 [1, H, W], the tensor that the model takes. Training and the edge both call this, nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from .errors import SourceError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .contract import Region


def preprocess(image: NDArray[np.uint8], *, height: int, width: int, region: Region | None = None) -> NDArray[np.uint8]:
    """Crop to ``region``, convert to grey and resize to the model's input.

    The aspect ratio is not kept: the crop fills the input. Grey is the luma that OpenCV computes (Rec. 601), which
    leaves grey pictures as they are. Shrinking averages pixel areas, after halvings while the picture is at least twice
    as large as the input both ways: OpenCV halves many times faster than it shrinks by any other factor. An axis that
    is shorter than the input's is interpolated linearly; averaging areas would only repeat its pixels.

    Args:
        image: uint8 [H, W], [H, W, 1], [H, W, 3] (BGR) or [H, W, 4] (BGRA).
        height: rows of the result.
        width: columns of the result.
        region: what to keep; None keeps everything.

    Returns:
        uint8 [1, height, width], contiguous.

    Raises:
        SourceError: the image is of another type or shape, or the region reaches beyond it.
    """
    grey = _grey(_crop(image, region))
    while grey.shape[0] >= 2 * height and grey.shape[1] >= 2 * width:
        rows, columns = grey.shape[0] // 2, grey.shape[1] // 2
        grey = _resize(grey[: 2 * rows, : 2 * columns], columns, rows, cv2.INTER_AREA)
    shrunk = _resize(grey, min(grey.shape[1], width), min(grey.shape[0], height), cv2.INTER_AREA)
    return _resize(shrunk, width, height, cv2.INTER_LINEAR)[np.newaxis]


def _resize(image: NDArray[np.uint8], width: int, height: int, interpolation: int) -> NDArray[np.uint8]:
    if image.shape == (height, width):
        return image
    return np.asarray(cv2.resize(image, (width, height), interpolation=interpolation), np.uint8)


def _crop(image: NDArray[np.uint8], region: Region | None) -> NDArray[np.uint8]:
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or 0 in image.shape:
        raise SourceError(
            expected="a frame of 8-bit pixels [height, width] or [height, width, colours]",
            received=f"{image.dtype} {list(image.shape)}",
            remedy="convert it to 8-bit grey or BGR",
        )
    if region is None:
        return image
    rows, columns = image.shape[:2]
    if region.x + region.width > columns or region.y + region.height > rows:
        raise SourceError(
            expected=f"a region inside the frame of {columns}x{rows} pixels",
            received=f"x,y,width,height = {region}",
            remedy="correct --roi or leave it out",
        )
    return image[region.y : region.y + region.height, region.x : region.x + region.width]


def _grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if image.ndim == 2:
        return np.ascontiguousarray(image)
    conversions = {3: cv2.COLOR_BGR2GRAY, 4: cv2.COLOR_BGRA2GRAY}
    colours = image.shape[2]
    if colours == 1:
        return np.ascontiguousarray(image[:, :, 0])
    if colours not in conversions:
        raise SourceError(
            expected="a frame of 1, 3 or 4 colours", received=f"{colours} colours", remedy="convert it to grey or BGR"
        )
    return np.asarray(cv2.cvtColor(image, conversions[colours]), np.uint8)
