"""The images of a folder as they come and go: a thread looks at each of them once."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import SourceError
from ..imaging.images import SUFFIXES, read_image
from ..imaging.media import files_in
from ..imaging.preprocess import to_grey

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ..classifier import PlaneClassifier

    View = Callable[[NDArray[np.uint8]], "Look"]

_PAUSE_SECONDS = 1.0  # between two looks at the folder
_SIDE = 16  # pixels of a thumbnail


@dataclass(frozen=True, slots=True)
class Look:
    """What is known of a frame before it is labelled.

    Attributes:
        vector: what it is compared with others by, float32 [D].
        probabilities: of the model's classes, float32 [M]; None without a model.
    """

    vector: NDArray[np.float32]
    probabilities: NDArray[np.float32] | None


def by_thumbnail(image: NDArray[np.uint8]) -> Look:
    """Look at an image without a model."""
    small = cv2.resize(to_grey(image), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return Look(small.astype(np.float32).ravel(), None)


def by_model(classifier: PlaneClassifier, names: Sequence[str]) -> View:
    """Return how a model looks at images: by its embedding, with probabilities of its classes in the order of names."""
    places = [classifier.contract.labels.index(name) for name in names]

    def look(image: NDArray[np.uint8]) -> Look:
        prediction = classifier(image)
        return Look(prediction.embedding, prediction.probabilities[places])

    return look


def images_in(folder: Path) -> dict[Path, tuple[int, int]]:
    """Return the image files of a folder, and of all folders in it, each with what changes when its content does.

    A name that a table cannot hold, as it is not UTF-8 or begins or ends with a blank, is left out.

    Raises:
        SourceError: a folder cannot be read.
    """
    found = {}
    for path in files_in(folder):
        if path.suffix.lower() in SUFFIXES and _is_nameable(path.relative_to(folder).as_posix()):
            try:
                status = path.stat()
            except OSError:  # it has just gone
                continue
            found[path] = (status.st_mtime_ns, status.st_size)
    return found


def _is_nameable(name: str) -> bool:
    return name == name.strip() and name == name.encode("utf-8", "replace").decode()


class Frames:
    """Looks at the images of a folder until it is closed.

    Args:
        folder: an absolute path.
        view: how to look at an image.

    Raises:
        SourceError: the folder cannot be read.

    Attributes:
        error: what ended it, if something did: the folder is gone, or the model fails.
    """

    def __init__(self, folder: Path, view: View) -> None:
        self.error: Exception | None = None
        self._folder = folder
        self._view = view
        self._files = images_in(folder)
        self._looks: dict[Path, Look] = {}
        self._unreadable: set[Path] = set()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        # A daemon: a file on a network that is gone may hold it up.
        self._thread = threading.Thread(target=self._run, name="metfa frames", daemon=True)

    def start(self) -> None:
        """Begin to look at the images."""
        self._thread.start()

    def close(self) -> None:
        """Look at nothing more."""
        self._closing.set()

    def files(self) -> list[Path]:
        """Return the image files that are there, but for those that cannot be read; sorted."""
        with self._lock:
            return sorted(self._files.keys() - self._unreadable)

    def looks(self) -> dict[Path, Look]:
        """Return the frames that were looked at and are still there."""
        with self._lock:
            return dict(self._looks)

    def unreadable(self) -> int:
        """Return how many image files cannot be read."""
        with self._lock:
            return len(self._unreadable)

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                began = time.monotonic()
                self._look_around()
                # A folder that takes long to list is listed less often.
                self._closing.wait(max(_PAUSE_SECONDS, 5 * (time.monotonic() - began)))
        except Exception as error:
            self.error = error

    def _look_around(self) -> None:
        files = images_in(self._folder)
        with self._lock:
            same = {path for path, stamp in files.items() if self._files.get(path) == stamp}
            self._looks = {path: look for path, look in self._looks.items() if path in same}
            self._unreadable &= same
            self._files = files
            new = files.keys() - self._looks.keys() - self._unreadable
        for path in sorted(new, reverse=True):  # names of collected frames begin with what they are worth
            if self._closing.is_set():
                return
            try:
                look = self._view(read_image(path))
            except SourceError:
                with self._lock:
                    self._unreadable.add(path)  # until it changes; perhaps it has just gone
                continue
            with self._lock:
                self._looks[path] = look
