"""Images as video codes them: their luma at once, their colours when somebody asks for them."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

_BLACK, _WHITE = 16, 235  # luma of limited range
_SCALE = 255 / (_WHITE - _BLACK)


class CodedImage:
    """An image of a video.

    Attributes:
        luma: uint8 [H, W], as it was coded; it may be the decoder's own memory, and must not be changed.
        is_limited: whether black is 16 and white 235, as in broadcasting; otherwise they are 0 and 255.
    """

    __slots__ = ("_colours", "_decode", "_decoding", "is_limited", "luma")

    def __init__(self, luma: NDArray[np.uint8], decode: Callable[[], NDArray[np.uint8]], *, is_limited: bool) -> None:
        """Take the luma, and what returns the colours, as :meth:`colours` does."""
        self.luma = luma
        self.is_limited = is_limited
        self._decode: Callable[[], NDArray[np.uint8]] | None = decode
        self._colours: NDArray[np.uint8] | None = None
        self._decoding = threading.Lock()

    @property
    def shape(self) -> tuple[int, ...]:
        """Height and width."""
        return self.luma.shape

    @property
    def black(self) -> int:
        """Luma of black."""
        return _BLACK if self.is_limited else 0

    def clip(self, luma: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return luma of this image, or of a part of it, none of it darker than black or brighter than white; uint8."""
        return np.clip(luma, np.uint8(_BLACK), np.uint8(_WHITE)) if self.is_limited else luma

    def to_full_range(self, luma: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return clipped luma, or what is made of it, rounded such that black is 0 and white 255; uint8."""
        if not self.is_limited:
            return luma
        return np.asarray(cv2.convertScaleAbs(luma, alpha=_SCALE, beta=-_SCALE * _BLACK), np.uint8)

    def colours(self) -> NDArray[np.uint8]:
        """Return uint8 [H, W, 3] (BGR), or [H, W] of an image without colours. Decoded once, for any thread."""
        with self._decoding:
            if self._colours is None:
                assert self._decode is not None
                self._colours = self._decode()
                self._decode = None  # what it held of the decoder's is no longer needed
            return self._colours

    def __reduce__(self) -> tuple[object, ...]:
        """Let it pass to other processes, with its colours."""
        return _restore, (np.ascontiguousarray(self.luma), self.colours(), self.is_limited)


Image: TypeAlias = NDArray[np.uint8] | CodedImage
"""Uint8 [H, W] or [H, W, 1] (grey), [H, W, 3] (BGR) or [H, W, 4] (BGRA), or an image of a video."""


def to_colours(image: Image) -> NDArray[np.uint8]:
    """Return an image to draw or save: uint8 [H, W], [H, W, 1], [H, W, 3] (BGR) or [H, W, 4] (BGRA)."""
    return image.colours() if isinstance(image, CodedImage) else image


def _restore(luma: NDArray[np.uint8], colours: NDArray[np.uint8], is_limited: bool) -> CodedImage:
    return CodedImage(luma, partial(np.asarray, colours), is_limited=is_limited)
