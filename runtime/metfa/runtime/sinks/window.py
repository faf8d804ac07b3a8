"""Observations in a window."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ..errors import OutputError
from ..streaming.annotate import annotate
from .base import Sink

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..frame import Observation

_INTERVAL_SECONDS = 1 / 15  # drawing costs time that inference could have


class WindowSink(Sink):
    """The annotated frames in a window, up to 15 a second.

    It is drawn with Tk, which says so where there is no display; OpenCV's own window would end the process. Tk wants
    one thread for all that it does: open the window, ``refresh`` it and ``destroy`` it in the main thread. ``write``
    may be called from any other.

    Args:
        title: of the window.
        labels: the class names, in the order of the probabilities.

    Raises:
        OutputError: no window can be opened here; the message says why.
    """

    name = "window"

    def __init__(self, title: str, labels: Sequence[str]) -> None:
        if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise _impossible("no display: neither DISPLAY nor WAYLAND_DISPLAY is set")
        try:
            import tkinter
        except ImportError:
            raise _impossible("a Python without tkinter") from None
        try:
            self._root = tkinter.Tk(className="metfa")
        except tkinter.TclError as cause:
            raise _impossible(f"a display that refuses it ({cause})") from None
        self._root.title(title)
        self._root.resizable(width=False, height=False)
        self._root.protocol("WM_DELETE_WINDOW", self.destroy)
        self._largest = self._root.winfo_screenwidth() * 9 // 10, self._root.winfo_screenheight() * 8 // 10
        self._picture = tkinter.PhotoImage(master=self._root)
        tkinter.Label(self._root, image=self._picture, borderwidth=0).pack()
        self._labels = labels
        self._shown_at = -_INTERVAL_SECONDS
        self._next: bytes | None = None  # what to show; a reference is replaced in one step
        self._open = True

    def write(self, observation: Observation) -> None:
        """Draw the annotated frame, if it is time, for the next refresh to show."""
        if observation.decided_at - self._shown_at < _INTERVAL_SECONDS or not self._open:
            return
        self._shown_at = observation.decided_at
        picture = annotate(observation, self._labels)
        self._next = _to_ppm(_shrunk(picture, *self._largest))

    def close(self) -> None:
        """Nothing is kept; the window stays until it is destroyed."""

    def refresh(self) -> None:
        """Show what was drawn last, and let the window answer the user."""
        if self._open:
            picture, self._next = self._next, None
            if picture is not None:
                self._picture.configure(data=picture)
            self._root.update()

    @property
    def was_closed(self) -> bool:
        """Whether the user closed the window."""
        return not self._open

    def destroy(self) -> None:
        """Take the window away."""
        if self._open:
            self._open = False
            self._root.destroy()


def _shrunk(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    scale = min(width / image.shape[1], height / image.shape[0])
    if scale >= 1:
        return image
    return np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


def _to_ppm(image: NDArray[np.uint8]) -> bytes:
    """Return uint8 [H, W, 3] (BGR) in the one format that Tk takes without decompressing."""
    height, width = image.shape[:2]
    return b"P6 %d %d 255 " % (width, height) + cv2.cvtColor(image, cv2.COLOR_BGR2RGB).tobytes()


def _impossible(received: str) -> OutputError:
    return OutputError(
        expected="to open a window", received=received, remedy="start it on a desktop, or use --no-window"
    )
