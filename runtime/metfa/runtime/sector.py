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

from .contract import Region

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_LONGEST = 1200  # pixels; larger screens show nothing finer, and are halved (or more)
_CELLS = 256  # about as many cells along the longer side
_SMALLEST = 16  # pixels; what is smaller shows no speckle

_FLAT = 1  # grey levels; neighbours on a panel differ by no more
_HARD = 60  # grey levels; neighbours on the edge of a letter differ by more
_TEXTURED = 128  # of 255: a cell where more of the pixels are textured may be ultrasound …
_TEXT = 64  # of 255: … unless more of the pixels around it are hard …
_SOLID = 247  # of 255: … and not all of them textured: between letters the ground shows
_RAMP = 20  # of 255: where fewer pixels differ from their neighbours in one direction, it is a bar that fades
_SQUARE = np.ones((5, 5), np.uint8)  # cells; what is around one
_MOVED = 6  # grey levels; compression alone changes a cell by less

_OPENING = 0.03  # of the shorter side: thinner structures (rulers, grey bars, lines) are no ultrasound
_LEAST_BOX = 0.08  # of the screen; a smaller box is a sliver of something else
_LEAST_PART = 0.04  # of the largest part: smaller ones beside it are marks
_WIDE = 0.8  # of the largest part: what is about as wide above or below it belongs to it
_TWIN = 0.4  # of the largest part: a part of this size beside it is another image
_SLACK = 0.05  # of the longer side: how far parts of one image reach beyond each other
_BLACK, _PANEL = 12, 25  # grey levels: what is black on a panel of at least this level belongs to the image


def find_sector(images: Sequence[NDArray[np.uint8]]) -> Region | None:
    """Return the part of the screen that holds the ultrasound: the box around its fan or rectangle.

    Several frames help: what is dark in one may be bright in another, and of several candidates the one that moves is
    the live image. Of two images side by side the moving one is taken, or the one with more texture.

    Args:
        images: one or more frames of one device in one layout, uint8 [H, W] or [H, W, C] (BGR, BGRA), all of one size.

    Returns:
        A region inside the frame, all of it where the ultrasound fills it; None where nothing looks like ultrasound.
    """
    height, width = images[0].shape[:2]
    if min(height, width) < _SMALLEST:
        return None
    screen = _look(images)
    box = _join(_parts(screen.texture), screen.moved)
    if box is not None and _on_panel(screen.level, box):
        # What is too dark to have texture is told from a panel by being black.
        box = _join(_parts(screen.texture | (_inside(screen.level < _BLACK, box))), screen.moved)
    if box is None:
        return None
    x, y, columns, rows = box
    if columns * rows < _LEAST_BOX * screen.texture.size:
        return None
    x, y, right, bottom = (screen.cell * edge for edge in (x, y, x + columns, y + rows))
    # The last cells stand for the pixels beyond them, too, that are too few for a cell.
    right = width if right > width - screen.cell else right
    bottom = height if bottom > height - screen.cell else bottom
    return Region(x, y, right - x, bottom - y)


class _Screen(NamedTuple):
    """Frames of one layout in cells of ``cell`` × ``cell`` pixels, arrays of [rows, columns]."""

    cell: int
    texture: NDArray[np.bool_]
    moved: NDArray[np.bool_]
    level: NDArray[np.uint8]


def _look(images: Sequence[NDArray[np.uint8]]) -> _Screen:
    shrink = -(-max(images[0].shape[:2]) // _LONGEST)
    step = max(1, round(max(images[0].shape[:2]) / shrink / _CELLS))
    texture: NDArray[np.bool_] | None = None
    levels = []
    for image in images:
        grey = _shrink(_luma(image), shrink)
        across = cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, np.ones((1, 3), np.uint8))
        down = cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, np.ones((3, 1), np.uint8))
        either = cv2.max(across, down)
        textured = _share(either > _FLAT, step)
        sparse = _around(textured) < _SOLID
        letters = (_around(_share(either > _HARD, step)) > _TEXT) & sparse
        text = cv2.dilate(letters.astype(np.uint8), _SQUARE).astype(bool) & sparse
        ramp = cv2.min(_around(_share(across > _FLAT, step)), _around(_share(down > _FLAT, step))) < _RAMP
        found = (textured > _TEXTURED) & ~text & ~ramp
        texture = found if texture is None else texture | found
        levels.append(_shrink(grey, step))
    assert texture is not None
    level = np.maximum.reduce(levels)
    return _Screen(shrink * step, texture, level - np.minimum.reduce(levels) > _MOVED, level)


def _around(share: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.blur(share, _SQUARE.shape), np.uint8)


def _luma(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if image.ndim == 2:
        return image
    if image.shape[2] == 1:
        return image[:, :, 0]
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY if image.shape[2] == 3 else cv2.COLOR_BGRA2GRAY), np.uint8)


def _shrink(image: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Average squares of ``factor`` × ``factor`` pixels; rows and columns that do not fill one are left out."""
    if factor == 1:
        return image
    rows, columns = image.shape[0] // factor, image.shape[1] // factor
    whole = image[: rows * factor, : columns * factor]
    return np.asarray(cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8)


def _share(mask: NDArray[np.bool_], step: int) -> NDArray[np.uint8]:
    """Return the share of set pixels in each cell, 0 … 255."""
    return _shrink(mask.view(np.uint8) * np.uint8(255), step)


class _Parts(NamedTuple):
    """Connected parts of a mask: ``map`` holds the number of each cell's part, ``boxes[number]`` x, y, width, height, area."""

    map: NDArray[np.int32]
    boxes: NDArray[np.int32]


def _parts(mask: NDArray[np.bool_]) -> _Parts:
    """Return the connected parts of ``mask`` without whatever is thin."""
    size = max(3, round(_OPENING * min(mask.shape)) | 1)
    closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    # The picture goes on beyond the border, or its corners would be rounded off.
    framed = cv2.copyMakeBorder(closed, size, size, size, size, cv2.BORDER_REPLICATE)
    opened = cv2.morphologyEx(framed, cv2.MORPH_OPEN, np.ones((size, size), np.uint8))[size:-size, size:-size]
    _, numbers, boxes, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(opened))
    return _Parts(np.asarray(numbers, np.int32), np.asarray(boxes, np.int32))


def _join(parts: _Parts, moved: NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    """Return the box (x, y, width, height) around the main part and what belongs to it, in cells."""
    if len(parts.boxes) < 2:
        return None
    areas = parts.boxes[:, cv2.CC_STAT_AREA].astype(float)
    motion = np.bincount(parts.map[moved], minlength=len(areas)).astype(float)
    areas[0] = motion[0] = 0
    moves = motion.max() > 0.3 * areas[motion.argmax()]
    weights = motion if moves else areas
    main = int(weights.argmax())
    left, top, width, height = parts.boxes[main, :4]
    slack = _SLACK * max(parts.map.shape)

    def within(start: int, length: int, outer: int, outer_length: int) -> bool:
        return start >= outer - slack and start + length <= outer + outer_length + slack

    box = [left, top, left + width, top + height]
    for number in range(1, len(areas)):
        x, y, columns, rows = parts.boxes[number, :4]
        share = weights[number] / weights[main]
        stacked = within(x, columns, left, width)
        gap = max(x - left - width, left - x - columns)
        beside = within(y, rows, top, height) and gap < slack and share < _TWIN
        if (share >= _LEAST_PART or columns > _WIDE * width) and (stacked or beside):
            box = [min(box[0], x), min(box[1], y), max(box[2], x + columns), max(box[3], y + rows)]
    return int(box[0]), int(box[1]), int(box[2] - box[0]), int(box[3] - box[1])


def _inside(mask: NDArray[np.bool_], box: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    """Return ``mask`` without what is neither above, below nor beside the box."""
    x, y, columns, rows = box
    result = np.zeros_like(mask)
    result[y : y + rows] = mask[y : y + rows]
    result[:, x : x + columns] = mask[:, x : x + columns]
    return result


def _on_panel(level: NDArray[np.uint8], box: tuple[int, int, int, int]) -> bool:
    """Return whether what lies left and right of the box is not black."""
    x, y, columns, rows = box
    sides = np.hstack([level[y : y + rows, max(0, x - 3) : x], level[y : y + rows, x + columns : x + columns + 3]])
    return sides.size > 0 and bool(np.median(sides) >= _PANEL)
