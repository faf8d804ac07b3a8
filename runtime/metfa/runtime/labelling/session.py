"""A folder that is being labelled: what is known of each frame, what is shown next, what is answered."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ..errors import SourceError
from ..imaging.images import read_image
from .order import OPEN, SKIPPED, Order
from .table import ChangedError

if TYPE_CHECKING:
    from pathlib import Path

    from .classes import LabelClass
    from .frames import Frames, Look
    from .table import Table

SKIP = ""
"""The answer that a frame is to be left out; the others are names of classes, which are not empty."""

_QUEUE = 4  # frames that a page knows of beforehand, so that it can load their pictures
_FIRST_LOOKS = 64  # that are waited for, so that the first frames to be labelled are good ones
_MAX_SIDE = 2048  # pixels of a picture that a browser is sent


class GoneError(Exception):
    """A frame is no longer in the folder, or never was."""


@dataclass(frozen=True, slots=True)
class State:
    """What the page shows.

    Attributes:
        counts: labelled frames of each class that are there.
        queue: names of the frames to show next, relative to the folder.
        open: frames without an answer.
        skipped: frames that were left out.
        unsorted: frames that were not looked at yet.
        unreadable: image files that cannot be read.
    """

    counts: list[int]
    queue: list[str]
    open: int
    skipped: int
    unsorted: int
    unreadable: int


class Session:
    """What several pages and processes do to one folder. Its methods may be called by several threads.

    Args:
        folder: of the frames, an absolute path.
        classes: that they are sorted into.
        wanted: labels of each class.
        frames: of the folder.
        labels: where the labels are kept.
        skipped: where it is kept which frames were left out.
    """

    def __init__(
        self,
        folder: Path,
        classes: tuple[LabelClass, ...],
        wanted: int,
        frames: Frames,
        *,
        labels: Table,
        skipped: Table,
    ) -> None:
        self.folder = folder
        self.classes = classes
        self.wanted = wanted
        self.labels = labels
        self._frames = frames
        self._skipped = skipped
        self._indices = {each.name: index for index, each in enumerate(classes)}
        self._ordering = threading.Lock()
        self._ordered: tuple[Path, ...] = ()
        self._order: Order | None = None

    def state(self) -> State:
        """Return what is known now.

        Raises:
            DataError, SourceError: a table was damaged in the meantime.
        """
        files, looks, answers = self._frames.files(), self._frames.looks(), self._answers()
        counts = [0] * len(self.classes)
        for file in files:
            if (index := self._indices.get(answers.get(file, SKIP))) is not None:
                counts[index] += 1
        unsorted = sum(file not in looks for file in files)
        ready = len(files) - unsorted >= min(len(files), _FIRST_LOOKS)
        return State(
            counts=counts,
            queue=[self._name(file) for file in self._next(looks, answers)] if ready else [],
            open=sum(file not in answers for file in files),
            skipped=sum(answers.get(file) == SKIP for file in files),
            unsorted=unsorted,
            unreadable=self._frames.unreadable(),
        )

    def answer(self, name: str, answer: str | None, *, before: str | None) -> None:
        """Write down an answer, or that there is none any more; it survives a power cut from here on.

        Args:
            name: of the frame, as in :class:`State`.
            answer: the name of a class, ``SKIP``, or None to take an answer back.
            before: the same until now; None of it and the answer.

        Raises:
            GoneError: there is no such frame.
            ChangedError: there is another answer already.
            OutputError, DataError, SourceError: a table cannot be written or read.
        """
        file = self._file(name)
        if answer is not None and file in self._answers():
            raise ChangedError
        if SKIP in {answer, before}:
            self._skipped.change(file, None if answer is None else "yes", before=None if before is None else "yes")
        else:
            self.labels.change(file, answer, before=before)

    def picture(self, name: str) -> bytes:
        """Return a frame as PNG, whatever its file is; of a large one, fewer pixels.

        Raises:
            GoneError: there is no such frame, or it cannot be read.
        """
        try:
            image = read_image(self._file(name))
        except SourceError:
            raise GoneError from None
        scale = _MAX_SIDE / max(image.shape[:2])
        if scale < 1:
            image = np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
        return cv2.imencode(".png", image)[1].tobytes()

    def _file(self, name: str) -> Path:
        """Return a frame of the folder; only of those that were found in it, so that no name leads elsewhere."""
        for file in self._frames.files():
            if self._name(file) == name and file.exists():
                return file
        raise GoneError

    def _name(self, file: Path) -> str:
        return file.relative_to(self.folder).as_posix()

    def _answers(self) -> dict[Path, str]:
        """Return the answers; a frame that was both labelled and skipped is labelled."""
        return {**dict.fromkeys(self._skipped.read(), SKIP), **self.labels.read()}

    def _next(self, looks: dict[Path, Look], answers: dict[Path, str]) -> list[Path]:
        files = tuple(sorted(looks))
        if not files:
            return []
        with self._ordering:
            if self._order is None or files != self._ordered:
                self._ordered, self._order = files, self._sort(looks, files)
            order = self._order
        known = np.array([self._known(answers.get(file)) for file in files], np.int64)
        chosen = [files[index] for index in order.first(_QUEUE, known, self.wanted)]
        return [file for file in chosen if file.exists()]

    def _sort(self, looks: dict[Path, Look], files: tuple[Path, ...]) -> Order:
        equal = np.full(len(self.classes), 1 / len(self.classes), np.float32)
        probabilities = [looks[file].probabilities for file in files]
        return Order(
            np.stack([looks[file].vector for file in files]),
            np.stack([equal if each is None else each for each in probabilities]),
        )

    def _known(self, answer: str | None) -> int:
        """Return what an answer is to the order; a label that is none of the classes is of no use to it."""
        return OPEN if answer is None else self._indices.get(answer, SKIPPED)
