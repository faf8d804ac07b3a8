"""The frames on which an artefact is furthest from PyTorch, as a picture."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from metfa.runtime.files import replacing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from metfa.runtime.backends import Inference

    from .frames import FrameSet
    from .parity import Differences

FRAMES = 8
"""So many are shown of each artefact."""

_TILE = 240  # pixels, both sides of a frame's place
_TEXT = 18  # the height of a line
_LINES = 4  # below a frame
_MARGIN = 10
_COLUMNS = 4
_GROUND, _INK, _ALARM = (32, 32, 32), (235, 235, 235), (90, 140, 255)


@dataclass(frozen=True, slots=True)
class DifferingFrame:
    """A frame and what is said of it.

    Attributes:
        frame: uint8 [H, W], as the model sees it.
        lines: what to write below it.
        differs: whether the top classes differ.
        distance: largest |Δp|.
    """

    frame: NDArray[np.uint8]
    lines: tuple[str, ...]
    differs: bool
    distance: float


def find_largest(
    frames: FrameSet, labels: Sequence[str], expected: Inference, received: Inference, differences: Differences
) -> list[DifferingFrame]:
    """Return the frames of a domain on which the probabilities differ most, the furthest first.

    Args:
        frames: the domain's.
        labels: the class names, in the order of the logits.
        expected: what PyTorch computed on them.
        received: what the artefact did.
        differences: between the two.
    """
    # Where the top classes differ comes first, then the largest difference; the index decides between equals.
    order = np.lexsort((-differences.probability, differences.agrees))[:FRAMES]
    truth = [""] * len(differences.agrees) if frames.labels is None else [f": {labels[true]}" for true in frames.labels]
    return [
        DifferingFrame(
            frame=frames.frames[index, 0],
            lines=(
                f"{frames.name}, frame {index}{truth[index]}",
                f"PyTorch: {_answer(expected, index, labels)}",
                f"here: {_answer(received, index, labels)}",
                f"dp {differences.probability[index]:.2g}, embedding {differences.embedding[index]:.2g}",
            ),
            differs=not differences.agrees[index],
            distance=float(differences.probability[index]),
        )
        for index in order
    ]


def draw_largest(directory: Path, artefact: str, computed_by: str, worst: Sequence[DifferingFrame]) -> Path:
    """Write the furthest of ``worst`` as a PNG file into ``directory``, in place of an earlier export's.

    Returns:
        Its path, named after the artefact and what computed it.

    Raises:
        OutputError: the file cannot be written.
    """
    chosen = sorted(worst, key=lambda frame: (not frame.differs, -frame.distance))[:FRAMES]
    words = re.sub(r"[^a-z0-9]+", "-", computed_by.lower()).strip("-")
    path = directory / f"{artefact}.{words}.png"
    _, content = cv2.imencode(".png", _draw(f"{artefact}, {computed_by}", chosen))
    with replacing(path) as temporary:
        temporary.write_bytes(content.tobytes())
    return path


def _answer(inference: Inference, index: int, labels: Sequence[str]) -> str:
    if not np.isfinite(inference.logits[index]).all():
        return "not finite"
    probabilities = inference.probabilities[index]
    best = int(probabilities.argmax())
    return f"{labels[best]} {probabilities[best]:.1%}"


def _draw(title: str, worst: Sequence[DifferingFrame]) -> NDArray[np.uint8]:
    rows, columns = -(-len(worst) // _COLUMNS), min(_COLUMNS, max(2, len(worst)))
    place = _TILE + _LINES * _TEXT + _MARGIN
    heading = _TEXT + 2 * _MARGIN
    canvas = np.full((heading + rows * place, _MARGIN + columns * (_TILE + _MARGIN), 3), _GROUND, np.uint8)
    _write(canvas, title, _MARGIN, heading - _MARGIN - 4, _INK)
    for number, worst_frame in enumerate(worst):
        row, column = divmod(number, _COLUMNS)
        y, x = heading + row * place, _MARGIN + column * (_TILE + _MARGIN)
        scale = _TILE / max(worst_frame.frame.shape)
        size = tuple(max(1, round(side * scale)) for side in worst_frame.frame.shape[::-1])
        picture = cv2.resize(worst_frame.frame, size, interpolation=cv2.INTER_NEAREST if scale > 1 else cv2.INTER_AREA)
        canvas[y : y + picture.shape[0], x : x + picture.shape[1]] = picture[..., np.newaxis]
        for line, text in enumerate(worst_frame.lines):
            colour = _ALARM if worst_frame.differs and line in {1, 2} else _INK
            _write(canvas, text, x, y + picture.shape[0] + (line + 1) * _TEXT - 4, colour)
    return canvas


def _write(canvas: NDArray[np.uint8], text: str, x: int, y: int, colour: tuple[int, int, int]) -> None:
    letters = text.encode("ascii", "replace").decode()  # OpenCV's font has no others
    cv2.putText(canvas, letters, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)
