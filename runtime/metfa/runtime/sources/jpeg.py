"""JPEG images of a stream: MJPEG from a camera or a pipe."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ..imaging.coded import CodedImage

if TYPE_CHECKING:
    from numpy.typing import NDArray


def decode_jpeg(content: NDArray[np.uint8]) -> CodedImage | None:
    """Decode the luma of an image, and its colours where they are asked for; None where it is damaged.

    Args:
        content: the bytes of the image, which must not change any more.
    """
    try:
        luma = cv2.imdecode(content, cv2.IMREAD_GRAYSCALE)
    except cv2.error:  # of a size that cannot be
        return None
    if luma is None:
        return None
    return CodedImage(np.asarray(luma, np.uint8), partial(_decode_colours, content), is_limited=False)


def _decode_colours(content: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.imdecode(content, cv2.IMREAD_ANYCOLOR), np.uint8)
