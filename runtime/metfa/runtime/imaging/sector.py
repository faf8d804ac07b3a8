"""Finds the ultrasound in a screen capture: by its texture, and where there are several frames, by its motion.

What a scanner draws around its picture is flat (panels, bars, borders) or hard (text, rulers, icons: strokes on a flat
ground). Ultrasound is neither: speckle changes from pixel to pixel nearly everywhere, and rarely by much. So each pixel
is judged by the range of grey levels in its 3 × 3 neighbourhood, at full resolution, and the shares of textured and of
hard pixels in small cells tell the sector from the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from ..bundle.contract import Region
from .preprocess import to_grey

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from ..bundle.contract import Roi
    from .coded import Image

_LONGEST = 1200  # pixels; larger screens show nothing finer, and are halved (or more)
_CELLS = 256  # about as many along the longer side
_SMALLEST = 16  # pixels; what is smaller shows no speckle
_LOOKS = (0, 1, 3, 7, 15, 31)  # frames of a stream that are looked at

_FLAT = 1  # grey levels; neighbours on a panel differ by no more
_HARD = 60  # grey levels; neighbours on the edge of a letter differ by more
_MOVED = 6  # grey levels; compression alone changes a cell by less
_BLACK, _PANEL = 12, 25  # grey levels; what is black on a panel of at least this level belongs to the image

# Shares of the pixels of a cell, 0 … 255.
_TEXTURED = 128  # a cell where more of the pixels are textured may be ultrasound …
_TEXT = 64  # … unless more of the pixels around it are hard …
_SOLID = 247  # … and not all of them textured: between letters the ground shows
_RAMP = 20  # where fewer pixels differ from their neighbours in one direction, it is a bar that fades
_SQUARE = np.ones((5, 5), np.uint8)  # cells; what is around one

_OPENING = 0.03  # of the shorter side; thinner structures (rulers, grey bars, lines) are no ultrasound
_SLACK = 0.05  # of the longer side; so far may parts of one image reach beyond each other
_MIN_BOX_SHARE = 0.08  # of the screen; a smaller box is a sliver of something else
_LIVE = 0.3  # of a part; where more of it moves, the frames are of a live image, and what stands still is not
_MIN_PART_SHARE = 0.02  # of the main part; smaller ones are marks …
_WIDE = 0.8  # … unless they are about as wide, above or below it
_TWIN = 0.4  # of the main part; what is this large beside it is another image


def find_sector(images: Sequence[Image]) -> Region | None:
    """Return the part of the screen that holds the ultrasound: the box around its fan or rectangle.

    Several frames help: what is dark in one may be bright in another, and of several candidates the one that moves is
    the live image. Of two images side by side the moving one is taken, or else the one with more texture.

    Args:
        images: one or more frames of one scanner in one layout, uint8 [H, W] or [H, W, C] (C: 1, BGR or BGRA) or of a
            video, all of one size.

    Returns:
        A region inside the frame, all of it where the ultrasound fills it; None where nothing looks like ultrasound.
    """
    screen = _Screen(*images[0].shape[:2])
    for image in images:
        screen.add(image)
    return screen.sector()


class SectorTracker:
    """Says which part of a stream's frames the model sees.

    Where that is the sector, it is looked for in the first frame and in those that are 1, 3, 7, 15 and 31 frames later,
    which is a second at common rates. Then it stays, until the size of the frames changes or :meth:`restart` is called.
    Counting frames, not seconds, makes the answer depend on the frames alone.

    Args:
        region: a fixed region, None for all of each frame, or ``auto``.

    Attributes:
        report: called with each sector that was found in frames of one width and height, None where there was none:
            once after the first frame, and again where the later ones have changed it.
    """

    def __init__(self, region: Roi) -> None:
        self.report: Callable[[Region | None, int, int], None] = lambda region, width, height: None
        self._region = region
        self._screen: _Screen | None = None
        self._sector: Region | None = None
        self._frames = 0
        self._reported: dict[tuple[int, int], Region | None] = {}

    def restart(self) -> None:
        """Forget the frames seen so far: others follow, from another scanner or layout perhaps."""
        self._screen = None

    def region(self, image: Image, declared: Region | None = None) -> Region | None:
        """Return what the model sees of the stream's next frame; None for all of it.

        Args:
            image: uint8 [H, W] or [H, W, C], or an image of a video.
            declared: the sector as the source tells it, which is then not looked for.
        """
        if self._region != "auto":
            return self._region
        height, width = image.shape[:2]
        if declared is not None:
            self._announce(declared, width, height)
            return declared
        if self._screen is None or self._screen.size != (height, width):
            self._screen = _Screen(height, width)
            self._frames = 0
        if self._frames in _LOOKS:
            self._screen.add(image)
            self._sector = self._screen.sector()
            if self._frames in (_LOOKS[0], _LOOKS[-1]):
                self._announce(self._sector, width, height)
        self._frames += 1
        return self._sector

    def _announce(self, sector: Region | None, width: int, height: int) -> None:
        if ((width, height), sector) not in self._reported.items():
            self._reported[width, height] = sector
            self.report(sector, width, height)


class _Screen:
    """What frames of one layout have shown up to now, in square cells.

    Attributes:
        size: height and width of a frame in pixels.
    """

    def __init__(self, height: int, width: int) -> None:
        self.size = (height, width)
        self._shrink = -(-max(self.size) // _LONGEST)
        self._step = max(1, round(max(self.size) / self._shrink / _CELLS))
        cell = self._shrink * self._step
        shape = (height // cell, width // cell)
        self._texture = np.zeros(shape, bool)
        self._darkest = np.full(shape, 255, np.uint8)
        self._brightest = np.zeros(shape, np.uint8)

    def add(self, image: Image) -> None:
        """Take in one more frame."""
        if not self._texture.size or min(self.size) < _SMALLEST:
            return
        grey = _shrink(to_grey(image), self._shrink)
        across = cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, np.ones((1, 3), np.uint8))
        down = cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, np.ones((3, 1), np.uint8))
        either = cv2.max(across, down)
        textured = self._share(either > _FLAT)
        sparse = _around(textured) < _SOLID
        letters = (_around(self._share(either > _HARD)) > _TEXT) & sparse
        text = cv2.dilate(letters.astype(np.uint8), _SQUARE).astype(bool) & sparse
        ramp = cv2.min(_around(self._share(across > _FLAT)), _around(self._share(down > _FLAT))) < _RAMP
        rows, columns = self._texture.shape
        self._texture |= ((textured > _TEXTURED) & ~text & ~ramp)[:rows, :columns]
        level = _shrink(grey, self._step)[:rows, :columns]
        self._darkest = np.minimum(self._darkest, level)
        self._brightest = np.maximum(self._brightest, level)

    def sector(self) -> Region | None:
        """Return the region of the frame that holds the ultrasound."""
        moved = self._brightest - self._darkest > _MOVED
        box = _join(_parts(self._texture), moved) if self._texture.any() else None
        if box is not None and _on_panel(self._brightest, box):
            # What is too dark to have texture is told from a panel by being black.
            box = _join(_parts(self._texture | _beside(self._brightest < _BLACK, box)), moved)
        if box is None or box.width * box.height < _MIN_BOX_SHARE * self._texture.size:
            return None
        cell = self._shrink * self._step
        height, width = self.size
        # The last cells stand for the pixels beyond them, too, that are too few for a cell.
        right = width if box.right == self._texture.shape[1] else box.right * cell
        bottom = height if box.bottom == self._texture.shape[0] else box.bottom * cell
        return Region(box.x * cell, box.y * cell, right - box.x * cell, bottom - box.y * cell)

    def _share(self, mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """Return the share of set pixels in each cell, 0 … 255."""
        return _shrink(mask.view(np.uint8) * np.uint8(255), self._step)


class _Box(NamedTuple):
    """A rectangle of cells, up to but without ``right`` and ``bottom``."""

    x: int
    y: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        return self.right - self.x

    @property
    def height(self) -> int:
        return self.bottom - self.y


def _around(share: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the mean over each cell's neighbourhood."""
    return np.asarray(cv2.blur(share, _SQUARE.shape), np.uint8)


def _shrink(image: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Average squares of ``factor`` × ``factor`` pixels; rows and columns that do not fill one are left out."""
    if factor == 1:
        return image
    rows, columns = image.shape[0] // factor, image.shape[1] // factor
    whole = image[: rows * factor, : columns * factor]
    return np.asarray(cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8)


class _Parts(NamedTuple):
    """Connected parts of a mask.

    Attributes:
        numbers: int32 [rows, columns], the number of each cell's part, 0 where there is none.
        boxes: the box of each part; the first is no part's.
        areas: float [parts + 1], cells of each part; the first is 0.
    """

    numbers: NDArray[np.int32]
    boxes: list[_Box]
    areas: NDArray[np.float64]


def _parts(mask: NDArray[np.bool_]) -> _Parts:
    """Return the connected parts of ``mask`` without whatever is thin."""
    size = max(3, round(_OPENING * min(mask.shape)) | 1)
    closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    # The picture goes on beyond the border, or its corners would be rounded off.
    framed = cv2.copyMakeBorder(closed, size, size, size, size, cv2.BORDER_REPLICATE)
    opened = cv2.morphologyEx(framed, cv2.MORPH_OPEN, np.ones((size, size), np.uint8))[size:-size, size:-size]
    _, numbers, statistics, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(opened))
    boxes = [_Box(x, y, x + width, y + height) for x, y, width, height, _ in statistics.tolist()]
    areas = statistics[:, cv2.CC_STAT_AREA].astype(float)
    areas[0] = 0
    return _Parts(np.asarray(numbers, np.int32), boxes, areas)


def _join(parts: _Parts, moved: NDArray[np.bool_]) -> _Box | None:
    """Return the box around the main part and what belongs to it."""
    if len(parts.boxes) < 2:
        return None
    motion = np.bincount(parts.numbers[moved], minlength=len(parts.areas)).astype(float)
    motion[0] = 0
    live = motion.max() > _LIVE * parts.areas[motion.argmax()]
    weights = motion if live else parts.areas
    main = int(weights.argmax())
    belonging = [
        box
        for number, box in enumerate(parts.boxes)
        if number and _belongs(box, weights[number] / weights[main], parts.boxes[main], _SLACK * max(moved.shape))
    ]
    x, y, right, bottom = zip(*belonging, strict=True)
    return _Box(min(x), min(y), max(right), max(bottom))


def _belongs(part: _Box, share: float, main: _Box, slack: float) -> bool:
    """Return whether a part that weighs ``share`` of the main one shows the same image, which shadows divide."""
    stacked = part.x >= main.x - slack and part.right <= main.right + slack
    if stacked:
        return share >= _MIN_PART_SHARE or part.width > _WIDE * main.width
    near = max(part.x - main.right, main.x - part.right) < slack
    beside = near and part.y >= main.y - slack and part.bottom <= main.bottom + slack
    return beside and _MIN_PART_SHARE <= share < _TWIN


def _beside(mask: NDArray[np.bool_], box: _Box) -> NDArray[np.bool_]:
    """Return ``mask`` without what is neither above, below nor beside the box."""
    result = np.zeros_like(mask)
    result[box.y : box.bottom] = mask[box.y : box.bottom]
    result[:, box.x : box.right] = mask[:, box.x : box.right]
    return result


def _on_panel(level: NDArray[np.uint8], box: _Box) -> bool:
    """Return whether what lies left and right of the box is not black."""
    rows = level[box.y : box.bottom]
    sides = np.hstack([rows[:, max(0, box.x - 3) : box.x], rows[:, box.right : box.right + 3]])
    return sides.size > 0 and bool(np.median(sides) >= _PANEL)
