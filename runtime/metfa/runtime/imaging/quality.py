"""What can be said of a stream's pictures without knowing any plane: is there a signal, does it move, is it sharp?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ..frame import Unusable

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLACK = 24  # grey levels; what is no brighter is the ground of an ultrasound picture
_MIN_SIGNAL_SHARE = 0.002  # of the pixels are brighter than that, where there is a signal
_MIN_CONTRAST = 4.0  # grey levels of standard deviation; a screen that says "no signal" in one colour has less
_WHITE = 250  # grey levels; what is no darker is at the end of the scale
_MAX_SATURATED_SHARE = 0.5  # of what is not black

_SAME = 2  # grey levels; compression alone changes a pixel by as much
_MIN_CHANGED_SHARE = 0.001  # of the pixels differ by more between two pictures of a live image
_FROZEN_SECONDS = 1.0

_THUMBNAIL = (18, 14)  # width, height
_MIN_CORRELATION = 0.6  # of the thumbnails of two successive pictures of one scene; in real clips it is above 0.9


@dataclass(frozen=True, slots=True)
class PictureState:
    """What a picture is worth.

    Attributes:
        unusable: why it must not be labelled; None where it may be.
        cut: whether it shows another scene than the picture before it.
    """

    unusable: Unusable | None
    cut: bool


def signal(picture: NDArray[np.uint8]) -> Unusable | None:
    """Return what is wrong with one picture, uint8 [H, W]: no signal, or saturated; None where nothing is."""
    visible = _above(picture, _BLACK)
    if visible < _MIN_SIGNAL_SHARE * picture.size:
        return "no signal"
    if _above(picture, _WHITE - 1) > _MAX_SATURATED_SHARE * visible:
        return "saturated"
    _, deviation = cv2.meanStdDev(picture)
    return "no signal" if deviation.item() < _MIN_CONTRAST else None


def sharpness(picture: NDArray[np.uint8]) -> float:
    """Return the standard deviation of the Laplacian of ``picture``, uint8 [H, W], in grey levels.

    Its square is the focus measure of Pech-Pacheco et al., ICPR 2000.
    """
    laplacian = np.asarray(cv2.Laplacian(picture, cv2.CV_16S))
    # A tenth of the time of cv2.meanStdDev, which has no fast path for this type.
    mean_square = cv2.norm(laplacian, cv2.NORM_L2SQR) / laplacian.size
    return math.sqrt(max(mean_square - cv2.mean(laplacian)[0] ** 2, 0.0))


class PictureWatch:
    """Follows the pictures of a stream, uint8 [H, W], all of one size."""

    def __init__(self) -> None:
        self._last: NDArray[np.uint8] | None = None
        self._thumbnail = np.zeros(0, np.float32)
        self._changed_at = 0.0

    def restart(self) -> None:
        """Forget the pictures up to now."""
        self._last = None

    def __call__(self, picture: NDArray[np.uint8], time: float) -> PictureState:
        """Return the state of the stream's next picture.

        A picture is frozen where hardly a pixel has changed for a second: a paused machine, a lost signal whose last
        picture stays. It is a cut where its thumbnail and the one before hardly correlate.

        Args:
            picture: kept, and not to be changed afterwards.
            time: seconds on any clock.
        """
        thumbnail = _thumbnail(picture)
        cut = False
        if self._last is None or _above(_difference(picture, self._last), _SAME) > _MIN_CHANGED_SHARE * picture.size:
            cut = self._last is not None and float(thumbnail @ self._thumbnail) < _MIN_CORRELATION
            self._changed_at = time
        self._last, self._thumbnail = picture, thumbnail
        is_frozen = time - self._changed_at >= _FROZEN_SECONDS
        return PictureState(signal(picture) or ("frozen" if is_frozen else None), cut)


def _above(picture: NDArray[np.uint8], level: int) -> int:
    return int(np.count_nonzero(picture > level))


def _difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.absdiff(one, other), np.uint8)


def _thumbnail(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return a small version of mean 0 and norm 1, float32 [N]; zeros where it has one level."""
    small = cv2.resize(picture, _THUMBNAIL, interpolation=cv2.INTER_AREA).ravel().astype(np.float32)
    small -= small.mean()
    norm = float(np.linalg.norm(small))
    return small / norm if norm else small
