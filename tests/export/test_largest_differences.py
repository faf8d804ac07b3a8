from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from metfa.export.frames import FrameSet
from metfa.export.largest_differences import FRAMES, DifferingFrame, draw_largest, find_largest
from metfa.export.parity import measure
from metfa.runtime.backends import Inference
from metfa.runtime.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path

LABELS = ("4CH", "Fémur")


def worst_of(received: np.ndarray, labels: np.ndarray | None = None) -> list[DifferingFrame]:
    """Compare logits with those of an even network that is a little surer of the first class."""
    count = len(received)
    frames = np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1).repeat(28, 2).repeat(40, 3)
    embedding = np.ones((count, 2), np.float32)
    expected = Inference(np.tile(np.array([[0.5, 0]], np.float32), (count, 1)), embedding)
    inference = Inference(received.astype(np.float32), embedding)
    differences = measure(expected, inference, tie=0.0)
    return find_largest(FrameSet("target", "", frames, labels), LABELS, expected, inference, differences)


def test_frames_of_another_class_come_first_then_the_furthest() -> None:
    logits = np.tile([[0.5, 0]], (12, 1))
    logits[3], logits[7], logits[9] = [9, 0], [0, 0.1], [2, 0]
    worst = worst_of(logits)
    assert [int(frame.frame[0, 0]) for frame in worst] == [7, 3, 9, 0, 1, 2, 4, 5]
    assert [frame.differs for frame in worst] == [True] + [False] * 7
    assert worst[0].lines[:3] == ("target, frame 7", "PyTorch: 4CH 62.2%", "here: Fémur 52.5%")


def test_the_true_class_is_told_where_it_is_known_and_what_is_not_finite_is() -> None:
    (worst,) = worst_of(np.array([[np.nan, 0]]), np.array([1]))
    assert worst.lines[0] == "target, frame 0: Fémur"
    assert worst.lines[2] == "here: not finite"


@pytest.mark.parametrize("count", [1, 5, 30])
def test_the_picture_holds_the_furthest_frames(count: int, tmp_path: Path) -> None:
    worst = worst_of(np.tile([[0, 0.5]], (count, 1)))
    path = draw_largest(tmp_path / "new", "model.onnx", "Half, in PyTorch", worst * 2)
    assert path.name == "model.onnx.half-in-pytorch.png"
    picture = cv2.imread(str(path))
    assert picture is not None
    rows = -(-min(2 * count, FRAMES) // 4)
    assert picture.shape[0] > rows * 240
    assert np.unique(picture.reshape(-1, 3), axis=0).shape[0] > 3


def test_a_picture_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="to be able to write"):
        draw_largest(tmp_path / "file", "model.onnx", "a test", worst_of(np.zeros((1, 2))))
