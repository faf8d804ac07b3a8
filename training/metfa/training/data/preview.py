"""A contact sheet: pictures of each domain and class with the region that the model sees, and what it sees of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from metfa.runtime.bundle.contract import Region
from metfa.runtime.errors import OutputError
from metfa.runtime.files import replacing
from metfa.runtime.imaging.coded import Image, to_colours
from metfa.runtime.imaging.preprocess import preprocess

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from .prepared import PreparedDomain

PICTURES = 8
"""Of each class; they are spread evenly over it."""

_TILE = 170  # pixels, both sides of a picture's place
_MARGIN = 10
_HEADING = 30
_COLUMNS = 4  # pairs of pictures side by side
_GROUND, _INK, _FRAME = (32, 32, 32), (235, 235, 235), (0, 215, 255)


@dataclass(frozen=True, slots=True)
class Group:
    """Pictures of one class of one domain.

    Attributes:
        title: the heading, with how many pictures there are.
        pictures: uint8 [H, W] or [H, W, 3] (BGR), or of a video; of any sizes.
        regions: which part of each the model sees; None for all of it.
    """

    title: str
    pictures: tuple[Image, ...]
    regions: tuple[Region | None, ...]


def sample_groups(role: str, domain: PreparedDomain) -> Iterator[Group]:
    """Yield the classes of a domain, a few pictures of each; one group where it is not labelled.

    Args:
        role: what the domain is called in the headings; file names, which may tell of patients, are not.
        domain: its pictures, prepared; those that are drawn are decoded once more.

    Raises:
        SourceError: a picture cannot be read any more.
    """
    for label in sorted(set(domain.labels), key=lambda label: (label is None, label)):
        members = [row for row, each in enumerate(domain.labels) if each == label]
        shown = members[:: max(1, -(-len(members) // PICTURES))]
        images = "image" if len(members) == 1 else "images"
        yield Group(
            f"{role}: {label or 'without labels'}, {len(members)} {images}",
            tuple(domain.image(row) for row in shown),
            tuple(domain.pictures.region(row) for row in shown),
        )


def draw_sheet(groups: Sequence[Group], *, height: int, width: int) -> NDArray[np.uint8]:
    """Draw a contact sheet: of each picture the whole with its region framed, and beside it the model's input.

    Args:
        groups: what to draw, from top to bottom.
        height: rows of the model's input.
        width: columns of the model's input.

    Returns:
        uint8 [H, W, 3] (BGR).

    Raises:
        SourceError: a region reaches beyond its picture.
    """
    return np.vstack([_draw_group(group, height, width) for group in groups])


def write_sheet(path: Path, groups: Sequence[Group], *, height: int, width: int) -> None:
    """Write the sheet as a PNG file.

    Raises:
        OutputError: the file cannot be written, or is not named as a PNG.
        SourceError: a region reaches beyond its picture.
    """
    if path.suffix.lower() != ".png":
        raise OutputError(expected="a PNG file for the preview", received=str(path), remedy="name it FILE.png")
    _, content = cv2.imencode(".png", draw_sheet(groups, height=height, width=width))
    with replacing(path) as temporary:
        temporary.write_bytes(content.tobytes())


def _draw_group(group: Group, height: int, width: int) -> NDArray[np.uint8]:
    pair = 2 * _TILE + _MARGIN
    rows = -(-len(group.pictures) // _COLUMNS)
    canvas = np.full((_HEADING + rows * (_TILE + _MARGIN), _MARGIN + _COLUMNS * (pair + _MARGIN), 3), _GROUND, np.uint8)
    text = group.title.encode("ascii", "replace").decode()  # OpenCV's font has no other letters
    cv2.putText(canvas, text, (_MARGIN, _HEADING - 10), cv2.FONT_HERSHEY_SIMPLEX, 0.55, _INK, 1, cv2.LINE_AA)
    for number, (picture, region) in enumerate(zip(group.pictures, group.regions, strict=True)):
        row, column = divmod(number, _COLUMNS)
        y, x = _HEADING + row * (_TILE + _MARGIN), _MARGIN + column * (pair + _MARGIN)
        _place(canvas, x, y, _framed(to_colours(picture), region))
        seen = preprocess(picture, height=height, width=width, region=region)[0]
        _place(canvas, x + _TILE + _MARGIN // 2, y, _reduced(_coloured(seen)))
    return canvas


def _framed(picture: NDArray[np.uint8], region: Region | None) -> NDArray[np.uint8]:
    """Return the picture, reduced, with its region framed."""
    small = _reduced(picture if picture.ndim == 3 else _coloured(picture))
    if region is not None:
        scale = small.shape[0] / picture.shape[0], small.shape[1] / picture.shape[1]
        top, left = round(region.y * scale[0]), round(region.x * scale[1])
        bottom, right = round((region.y + region.height) * scale[0]), round((region.x + region.width) * scale[1])
        cv2.rectangle(small, (left, top), (right - 1, bottom - 1), _FRAME, 1)
    return small


def _coloured(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(grey[..., np.newaxis], 3, axis=2)


def _reduced(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the picture as large as its place allows."""
    scale = _TILE / max(picture.shape[:2])
    size = tuple(max(1, round(side * scale)) for side in picture.shape[1::-1])
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _place(canvas: NDArray[np.uint8], x: int, y: int, picture: NDArray[np.uint8]) -> None:
    canvas[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
