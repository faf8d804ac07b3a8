"""A sheet of frames that a model labels wrongly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from metfa.runtime.backends import Inference

    from ..data.store import FrameStore

SHOWN = 20
"""Frames on a sheet, at most: those that the model is surest of."""

_COLUMNS = 5
_TILE, _MARGIN, _LINE, _HEADING = 200, 14, 22, 46  # pixels
_SIZE, _HEADING_SIZE = 16, 20
_GROUND, _INK, _WRONG = "#ffffff", "#1f2933", "#b3261e"


def draw_mistakes(frames: FrameStore, labels: Sequence[str], said: Inference) -> Image.Image:
    """Draw the frames whose most probable class is not theirs, each with both.

    Args:
        frames: uint8 [N, 1, H, W], all labelled.
        labels: the class names.
        said: what the model says of the frames.

    Returns:
        RGB; a line of text where there are none.
    """
    predicted, confidence = said.logits.argmax(axis=1), said.probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != frames.labels)
    shown = wrong[np.argsort(-confidence[wrong], kind="stable")][:SHOWN]
    height, width = frames.frames[:1].shape[-2:]
    size = (_TILE, max(1, round(_TILE * height / width)))
    place = (_TILE + _MARGIN, size[1] + 2 * _LINE + _MARGIN)
    rows = -(-len(shown) // _COLUMNS)
    canvas = (_MARGIN + _COLUMNS * place[0], _HEADING + rows * place[1] + _MARGIN)
    sheet = Image.new("RGB", canvas, _GROUND)
    draw = ImageDraw.Draw(sheet)
    heading = f"{len(wrong)} of {len(frames.labels)} validation frames of the source are taken for another class"
    draw.text((_MARGIN, _HEADING // 2), heading, _INK, ImageFont.load_default(_HEADING_SIZE), "lm")
    for number, index in enumerate(shown.tolist()):
        row, column = divmod(number, _COLUMNS)
        x, y = _MARGIN + column * place[0], _HEADING + row * place[1]
        sheet.paste(_picture(frames.frames[np.array([index])][0, 0], size), (x, y))
        answer = f"taken for {labels[predicted[index]]}, {confidence[index]:.0%}"
        for line, (text, colour) in enumerate(((f"is {labels[frames.labels[index]]}", _INK), (answer, _WRONG))):
            _write(draw, (x, y + size[1] + (line + 1) * _LINE - 4), text, colour)
    return sheet


def _picture(frame: NDArray[np.uint8], size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC)


def _write(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, colour: str) -> None:
    """Write as much of ``text`` as a tile is wide."""
    font = ImageFont.load_default(_SIZE)
    shown = text
    while shown and font.getlength(shown) > _TILE:
        text = text[:-1]
        shown = f"{text}..."
    draw.text(place, shown, colour, font, "ls")
