"""Folders of images, recordings and DICOM files."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import SourceError
from ..files import utf8
from .base import Source
from .images import STILL_RATE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from ..frame import Frame
    from .base import Notify

_NAMED = 3  # files that cannot be used are named, so many of them; all are counted


class Folder(Source):
    """The frames of files in a folder and in its folders, one file after another; each frame stands for itself.

    What cannot be used is skipped and counted, as in training. ``frame.source`` is the path of a file in the folder.

    Args:
        folder: where the files are.
        paths: the files, in the order of the frames.
        open_file: returns the source of a file, or raises a :class:`SourceError`.
        notify: told what is skipped.

    Raises:
        SourceError: there is no file.
    """

    live = False
    continuous = False
    rate = STILL_RATE

    def __init__(
        self, folder: Path, paths: Iterable[Path], open_file: Callable[[Path], Source], notify: Notify
    ) -> None:
        self._folder, self._open_file, self._notify = folder, open_file, notify
        self._paths = list(paths)
        if not self._paths:
            raise SourceError(
                expected=f"images, recordings or DICOM files in {folder}",
                received="a folder without any",
                remedy="name another folder",
            )
        self.description = f"{len(self._paths)} files in {folder}"

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames of one file after another."""
        count = skipped = 0
        for path in self._paths:
            name = str(path.relative_to(self._folder))
            try:
                with self._open_file(path) as source:
                    for frame in source:
                        yield replace(frame, index=count, source=name, session=0, time=None)
                        count += 1
            except SourceError as error:
                skipped += 1
                if skipped <= _NAMED:
                    self._notify(f"skipped {utf8(name)}: {error.received}")
                if skipped == len(self._paths):
                    raise SourceError(
                        expected=f"images, recordings or DICOM files in {self._folder}",
                        received=f"{skipped}, none of which can be used: {name} is skipped ({error.received})",
                        remedy="replace the files, or name another folder",
                    ) from None
        if skipped:
            self._notify(f"skipped {skipped} of {len(self._paths)} files")
