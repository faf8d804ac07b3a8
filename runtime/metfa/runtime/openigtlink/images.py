"""The content of IMAGE messages: 72 bytes that describe the pixels, then the pixels, row by row from the top.

Source: ``Documents/Protocol/image.md`` of the OpenIGTLink library.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from .messages import MalformedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DESCRIPTION = struct.Struct(">HBBBB3H12f3H3H")
_SCALARS = {2: "i1", 3: "u1", 4: "i2", 5: "u2", 6: "i4", 7: "u4", 10: "f4", 11: "f8"}
_UINT8 = 3
_BYTE_ORDERS = {1: ">", 2: "<"}
_LITTLE_ENDIAN = 2
_RAS = 1
_COLOURS = (1, 3)  # components of grey and of RGB
_MAX_WHITE = (1 << 32) - 1  # of numbers that are larger, the rest is white
# Columns to the patient's left and rows to the back, a millimetre a pixel: 3D Slicer's axial view shows it upright.
_UPRIGHT = (-1, 0, 0, 0, -1, 0, 0, 0, 1, 0, 0, 0)


def read_pixels(content: memoryview) -> NDArray[Any]:
    """Return the pixels of one image, [H, W] or [H, W, 3] (RGB), of any number type; a view of ``content``.

    Raises:
        MalformedError: it is a volume, a part of an image, has other components, or does not hold what it describes.
    """
    if len(content) < _DESCRIPTION.size:
        raise MalformedError(f"{len(content)} bytes, too short for an image")
    _, components, scalar, order, _, *numbers = _DESCRIPTION.unpack_from(content)
    size, offset, part = numbers[:3], numbers[15:18], numbers[18:]
    if offset != [0, 0, 0] or part != size:
        raise MalformedError(f"a part of an image, {_times(part)} of {_times(size)} pixels")
    if 0 in size or 1 not in size:
        raise MalformedError(f"{_times(size)} pixels, which is no image of one slice")
    if components not in _COLOURS or scalar not in _SCALARS or order not in _BYTE_ORDERS:
        raise MalformedError(f"{components} components of scalar type {scalar} in byte order {order}")
    # Of one slice in any direction: programs that send an array [H, W] often have the width in the second place.
    height, width = _slice(size)
    shape = (height, width, components) if components > 1 else (height, width)
    number = np.dtype(_BYTE_ORDERS[order] + _SCALARS[scalar])
    pixels = content[_DESCRIPTION.size :]
    if len(pixels) != number.itemsize * math.prod(shape):
        raise MalformedError(f"{len(pixels)} bytes for {_times(size)} pixels of {components * number.itemsize} bytes")
    return np.frombuffer(pixels, number).reshape(shape)


def image_content(image: NDArray[np.uint8]) -> bytes:
    """Return the content of an IMAGE message with ``image``, uint8 [H, W] or [H, W, 3] (BGR).

    A pixel is a millimetre wide, as nothing tells how wide it is.
    """
    height, width = image.shape[:2]
    size = (width, height, 1)
    components = 1 if image.ndim == 2 else 3
    description = _DESCRIPTION.pack(1, components, _UINT8, _LITTLE_ENDIAN, _RAS, *size, *_UPRIGHT, 0, 0, 0, *size)
    pixels = image if components == 1 else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return description + pixels.tobytes()


class GreyLevels:
    """Brings the pixels of a stream to 8 bits, by the range that they have used up to now.

    Numbers of 8 bits without a sign are kept. The range of others is the smallest that no pixel has exceeded: 0 to 1
    of floating-point numbers, or 0 to 2 ^ n − 1, n ≥ 8. It only ever grows, so the brightness does not flicker.
    Negative numbers and NaN are black.
    """

    def __init__(self) -> None:
        self._white = 0.0

    def __call__(self, pixels: NDArray[Any]) -> NDArray[np.uint8]:
        """Return uint8 [H, W], or [H, W, 3] (BGR) of RGB."""
        grey = pixels if pixels.dtype == np.uint8 else self._scaled(pixels)
        return grey if grey.ndim == 2 else np.asarray(cv2.cvtColor(grey, cv2.COLOR_RGB2BGR), np.uint8)

    def _scaled(self, pixels: NDArray[Any]) -> NDArray[np.uint8]:
        values = pixels.astype(np.promote_types(pixels.dtype, np.float32))
        values[~np.isfinite(values)] = 0
        self._white = max(self._white, _white_for(float(values.max()), are_fractions=pixels.dtype.kind == "f"))
        return np.asarray(np.rint(np.clip(values * (255 / self._white), 0, 255)), np.uint8)


def _white_for(peak: float, *, are_fractions: bool) -> float:
    if are_fractions and peak <= 1:
        return 1.0
    bits = math.ceil(min(peak, _MAX_WHITE)).bit_length()
    return float((1 << max(8, bits)) - 1)


def _slice(size: list[int]) -> tuple[int, int]:
    """Return height and width of the slice that ``size`` is, whichever of its axes is one pixel long."""
    axis = 2 - size[::-1].index(1)
    width, height = (length for place, length in enumerate(size) if place != axis)
    return height, width


def _times(size: list[int]) -> str:
    return "x".join(map(str, size))
