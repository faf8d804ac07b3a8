"""What cameras and pipelines share: a ``cv2.VideoCapture`` to read from until it is lost."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import cv2
import numpy as np

from .live import LostError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..imaging.coded import Image

_DEFAULT_RATE = 30.0  # where the source does not tell
_LOGIN = re.compile("//[^/]*@")
_SECRET = re.compile(
    r"\b((?:user|proxy)-(?:id|pw)|passphrase|password|passwd|pwd|token)(\s*=\s*)(\"[^\"]*\"|'[^']*'|\S+)"
)
_ATTEMPTS = 3  # one frame that cannot be decoded is no reason to reconnect


class OpenCVConnection:
    """An open ``cv2.VideoCapture``; see :class:`~metfa.runtime.sources.live.Connection`.

    Args:
        capture: what OpenCV opened.
        description: what that is; the format is added.
    """

    def __init__(self, capture: cv2.VideoCapture, description: str) -> None:
        self.rate = rate_of(capture)
        self.description = f"{description}, {format_of(capture)}"
        self._capture = capture

    def read(self) -> Image:
        """Wait for the next picture.

        Raises:
            LostError: OpenCV has none.
        """
        for _ in range(_ATTEMPTS):
            received, delivered = self._capture.read()
            image = self.decode(np.asarray(delivered, np.uint8)) if received else None
            if image is not None:
                return image
        raise LostError("it delivers nothing any more")

    def decode(self, delivered: NDArray[np.uint8]) -> Image | None:
        """Return the picture in what OpenCV delivers, which usually is one; None where it is damaged."""
        return delivered

    def close(self) -> None:
        """Release the camera."""
        self._capture.release()


def rate_of(capture: cv2.VideoCapture) -> float:
    """Return the frames per second that ``capture`` announces, or a plausible number where it does not."""
    rate = capture.get(cv2.CAP_PROP_FPS)
    return rate if 0 < rate < 1000 else _DEFAULT_RATE


def format_of(capture: cv2.VideoCapture) -> str:
    """Return size and rate in words."""
    width, height = capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
    return f"{width:.0f}x{height:.0f} pixels, {rate_of(capture):.4g} frames/s"


def without_credentials(text: str) -> str:
    """Return a URL or pipeline without users and passwords, which must not end up in files and on screens.

    Rather too much is left out than too little: of a URL all up to the last ``@`` of its host, of ``user-pw=…`` and
    its like in a pipeline or a query all up to the next space.
    """
    return _SECRET.sub(r"\1\2***", _LOGIN.sub("//", text))
