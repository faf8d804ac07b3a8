"""Frames of a scanner, for ``metfa-train --target``: few alike, the least certain and most novel, in bounded space."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, get_args

import cv2
import numpy as np

from ..decisions.uncertainty import uncertainty
from ..errors import OutputError
from ..files import make_directory, remove_empty, replacing, writing_to
from ..frame import Unusable
from ..lock import alone_in
from .base import Sink

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from ..frame import Observation

INTERVAL_SECONDS = 0.5
"""Of the stream's time, between two frames that are considered."""

_ALIKE = 6  # bits of 63; hashes of different anatomy differ by more, those of successive frames mostly by less
_NOVEL = 32  # bits; random hashes differ by as much
_NAME = re.compile(r"(?P<worth>\d{4})-(?P<hash>[0-9a-f]{16})\.png")
_HALF_WRITTEN = re.compile(r"\.\d{4}-[0-9a-f]{16}-.*\.png")  # left by a process that was killed


@dataclass(frozen=True, slots=True)
class CollectionLimit:
    """How much may be collected; at least one is not None.

    Attributes:
        frames: number of files, ≥ 1.
        bytes: of all files together, ≥ 1.
    """

    frames: int | None = None
    bytes: int | None = None

    def __str__(self) -> str:
        return f"{self.frames} frames" if self.frames is not None else f"{(self.bytes or 0) / 1e6:g} MB"


class _Kept(NamedTuple):
    worth: int  # thousandths
    hash: int
    size: int  # bytes

    @property
    def name(self) -> str:
        return f"{self.worth:04}-{self.hash:016x}.png"


class CollectionSink(Sink):
    """Unlabelled frames as PNG in one folder: in grey, as the model sees them, and whole, so that training crops them.

    Twice a second of the stream's time, a frame that shows something is considered. It is left out if its perceptual
    hash is within 6 bits of that of a frame in the folder. Its worth is the mean of its uncertainty (the entropy of the
    probabilities over its maximum) and its novelty (the distance to the nearest hash over 32 bits). Where the limit is
    reached, it takes the place of the frames of least worth, if it is worth more. Worth and hash are in the file's name
    (``0734-9f3c….png``): a folder that was collected earlier is gone on with. Streams that collect into one folder take
    turns, and keep its limit together.

    Args:
        directory: made if it is missing; otherwise empty, or of an earlier collection.
        limit: how much it may hold.

    Raises:
        OutputError: the directory holds something else, or cannot be written.
    """

    name = "collection"
    kind = "pictures"
    required = True

    def __init__(self, directory: Path, limit: CollectionLimit) -> None:
        self._directory = directory
        self._limit = limit
        with writing_to(directory):
            self._made = make_directory(directory)
            self._require_own()
            with alone_in(self._directory, wait=True):
                self._kept = self._look()
        self._considered_at = -math.inf
        self._session = 0

    def write(self, observation: Observation) -> None:
        """Collect the observation's frame, if it is time and it is worth it."""
        if observation.decision.status in get_args(Unusable):
            return
        since = observation.time - self._considered_at
        if observation.frame.session == self._session and 0 <= since < INTERVAL_SECONDS:
            return
        self._considered_at, self._session = observation.time, observation.frame.session
        with writing_to(self._directory), alone_in(self._directory, wait=True):
            self._kept = self._look()
            self._consider(observation)

    def _consider(self, observation: Observation) -> None:
        perceived = perceptual_hash(observation.prediction.picture)
        distance = min(((perceived ^ kept.hash).bit_count() for kept in self._kept), default=_NOVEL)
        if distance <= _ALIKE:
            return
        worth = round(500 * (float(uncertainty(observation.prediction.probabilities)) + min(distance / _NOVEL, 1)))
        if self._is_full() and worth <= min(self._kept).worth:
            return
        content = cv2.imencode(".png", observation.frame.grey)[1].tobytes()
        frame = _Kept(worth, perceived, len(content))
        going = self._room_for(frame)
        if going is None:
            return
        with replacing(self._directory / frame.name) as temporary:
            temporary.write_bytes(content)
        self._kept.add(frame)
        for kept in going:  # now that the new one is there, as a full disk may have kept it away
            (self._directory / kept.name).unlink(missing_ok=True)
            self._kept.discard(kept)

    def close(self) -> None:
        """Leave no folder behind that was made for nothing."""
        remove_empty(self._made)

    def __len__(self) -> int:
        return len(self._kept)

    def _is_full(self) -> bool:
        return self._limit.frames is not None and len(self._kept) >= self._limit.frames

    def _room_for(self, frame: _Kept) -> list[_Kept] | None:
        """Return which frames must go for ``frame``; None where one of them is worth as much.

        Raises:
            OutputError: it alone is over the limit.
        """
        going: list[_Kept] = []
        number, size = len(self._kept) + 1, sum(kept.size for kept in self._kept) + frame.size
        for kept in sorted(self._kept):
            if self._fits(number, size):
                break
            if kept.worth >= frame.worth:
                return None
            going.append(kept)
            number, size = number - 1, size - kept.size
        if not self._fits(number, size):
            raise OutputError(
                expected=f"room for a frame within the limit of the collection, {self._limit}",
                received=f"one of {frame.size / 1e6:g} MB",
                remedy="raise --collect-limit",
            )
        return going

    def _fits(self, number: int, size: int) -> bool:
        return (self._limit.frames is None or number <= self._limit.frames) and (
            self._limit.bytes is None or size <= self._limit.bytes
        )

    def _require_own(self) -> None:
        for path in self._directory.iterdir():
            if not (_NAME.fullmatch(path.name) or _HALF_WRITTEN.fullmatch(path.name)):
                raise OutputError(
                    expected=f"an empty folder, or one of collected frames, at {self._directory}",
                    received=f"one that holds {path.name}",
                    remedy="name another folder with --collect",
                )

    def _look(self) -> set[_Kept]:
        """Return what is in the folder, of an earlier collection or another stream's, too."""
        kept: set[_Kept] = set()
        for path in self._directory.iterdir():
            if _HALF_WRITTEN.fullmatch(path.name):  # by a process that was killed: this one is alone
                path.unlink()
            elif parts := _NAME.fullmatch(path.name):
                with suppress(FileNotFoundError):
                    kept.add(_Kept(int(parts["worth"]), int(parts["hash"], 16), path.stat().st_size))
        return kept


def perceptual_hash(picture: NDArray[np.uint8]) -> int:
    """Return 63 bits that pictures share as far as they look alike.

    Which of the 63 lowest frequencies of the picture at 32 × 32, but for the mean, are above their median (pHash:
    Zauner, *Implementation and benchmarking of perceptual image hash functions*, 2010).

    Args:
        picture: uint8 [H, W].
    """
    small = cv2.resize(picture, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    frequencies = cv2.dct(small)[:8, :8].ravel()[1:]
    return int.from_bytes(np.packbits(frequencies > np.median(frequencies)).tobytes(), "big")
