"""Any image → uint8 [1, H, W], the tensor that the model takes. Training and the edge both call this, nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from ..errors import SourceError
from .coded import CodedImage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..bundle.contract import Region
    from .coded import Image


def preprocess(image: Image, *, height: int, width: int, region: Region | None = None) -> NDArray[np.uint8]:
    """Crop to ``region``, convert to grey and resize to the model's input.

    Grey is the luma of an image of a video, as it was coded; what is resized of it becomes 0 to 255 in the end, where
    it was 16 to 235. Of other images it is the luma that OpenCV computes of their colours (Rec. 601).

    The aspect ratio is not kept: the crop fills the input. An axis that is at least twice as long as the input's is
    halved, by averaging pairs of pixels (of an odd number the last is left out), until it no longer is. What remains,
    less than twice as long or shorter, is interpolated linearly: from there on that weighs every pixel, as averaging
    areas does, in a fraction of the time, and it does not enlarge blockily.

    Args:
        image: uint8 [H, W], [H, W, 1], [H, W, 3] (BGR) or [H, W, 4] (BGRA), or an image of a video.
        height: rows of the result.
        width: columns of the result.
        region: what to keep; None keeps everything.

    Returns:
        uint8 [1, height, width], contiguous.

    Raises:
        SourceError: the image is of another type or shape, or the region reaches beyond it.
    """
    if isinstance(image, CodedImage):
        luma = image.clip(_crop(image.luma, region))
        return image.to_full_range(_resize(luma, height, width))[np.newaxis]
    return _resize(_grey(_crop(image, region)), height, width)[np.newaxis]


def to_grey(image: Image) -> NDArray[np.uint8]:
    """Return the grey levels of all of an image, uint8 [H, W], 0 to 255; a view where the image holds them.

    Raises:
        SourceError: the image is of another type or shape.
    """
    if isinstance(image, CodedImage):
        return image.to_full_range(image.clip(image.luma))
    return _grey(_crop(image, None))


def _resize(grey: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    while True:
        rows, columns = grey.shape
        if rows >= 2 * height:
            across = 2 if columns >= 2 * width else 1
            half = columns // across, rows // 2
            whole = grey[: 2 * half[1], : across * half[0]]
            grey = np.asarray(cv2.resize(whole, half, interpolation=cv2.INTER_LINEAR), np.uint8)
        elif columns >= 2 * width:
            grey = _halve_columns(grey[:, : columns // 2 * 2])
        else:
            return np.asarray(cv2.resize(grey, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def _halve_columns(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Average pairs of columns, of which there is an even number. OpenCV does the same in twice the time."""
    pairs = np.ascontiguousarray(grey).view(np.uint16)
    sums = pairs >> 8
    sums += pairs & 255
    sums += 1
    sums >>= 1
    return sums.astype(np.uint8)


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
        return image
    conversions = {3: cv2.COLOR_BGR2GRAY, 4: cv2.COLOR_BGRA2GRAY}
    colours = image.shape[2]
    if colours == 1:
        return np.ascontiguousarray(image[:, :, 0])
    if colours not in conversions:
        raise SourceError(
            expected="a frame of 1, 3 or 4 colours", received=f"{colours} colours", remedy="convert it to grey or BGR"
        )
    return np.asarray(cv2.cvtColor(image, conversions[colours]), np.uint8)
