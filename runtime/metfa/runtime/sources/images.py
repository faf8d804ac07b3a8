"""Image files, one frame each."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ..errors import SourceError
from ..frame import Frame
from ..images import SUFFIXES, read_image
from .base import Source

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


class Images(Source):
    """A row of image files; ``frame.source`` is the name of the file.

    Args:
        paths: the files, in the order of the frames.
        description: what they are.
    """

    live = False
    continuous = False
    rate = 5.0  # images have no time of their own; in a video one can still look at each

    def __init__(self, paths: Sequence[Path], description: str) -> None:
        self.description = description
        self._paths = paths

    @classmethod
    def in_folder(cls, folder: Path) -> Images:
        """Open the images in ``folder``, sorted by name; other files are left alone.

        Raises:
            SourceError: there is none.
        """
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
        if not paths:
            raise SourceError(
                expected=f"images ({', '.join(sorted(SUFFIXES))}) in {folder}",
                received="a folder without any",
                remedy="name the folder that holds the images themselves",
            )
        return cls(paths, f"{len(paths)} images in {folder}")

    @classmethod
    def single(cls, path: Path) -> Images:
        """Open one image."""
        return cls([path], f"image {path}")

    def __iter__(self) -> Iterator[Frame]:
        """Yield one frame for each file."""
        for index, path in enumerate(self._paths):
            yield Frame(read_image(path), index, time.monotonic(), path.name)
