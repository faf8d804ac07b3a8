from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from metfa.export.parity import TOLERANCES, compare
from metfa.runtime.backends import Inference
from metfa.runtime.errors import ExportError

EMBEDDING = np.eye(3, dtype=np.float32)
LOGITS = np.array([[5, 0, 0], [0, 5, 0], [0, 0, 5]], np.float32)
EXPECTED = Inference(LOGITS, EMBEDDING)


@given(
    logits=hnp.arrays(np.float32, (4, 3), elements=st.floats(-20, 20, width=32)),
    shift=st.floats(-10, 10, width=32),
    scale=st.floats(0.5, 2, width=32),
)
def test_what_changes_no_probability_and_no_direction_is_no_difference(
    logits: np.ndarray, shift: float, scale: float
) -> None:
    embedding = np.ones((4, 2), np.float32)
    comparison = compare(
        "model.fp16.onnx",
        "fp16",
        "a test",
        expected=Inference(logits, embedding),
        received=Inference(logits + np.float32(shift), embedding * np.float32(scale)),
    )
    assert comparison.agreement == 1
    assert comparison.probability_difference < 1e-4
    assert comparison.embedding_distance < 1e-6


@pytest.mark.parametrize("number", [np.nan, np.inf])
@pytest.mark.parametrize("output", ["logits", "embedding"])
def test_a_number_that_is_not_finite_is_refused(number: float, output: str) -> None:
    arrays = {"logits": LOGITS.copy(), "embedding": EMBEDDING.copy()}
    arrays[output][1, 1] = number
    with pytest.raises(ExportError, match=r"model\.onnx \(a test\).* 1 numbers that are not finite"):
        compare("model.onnx", "fp32", "a test", expected=EXPECTED, received=Inference(**arrays))


def test_another_top_class_is_refused() -> None:
    with pytest.raises(ExportError, match=r"received 66\.7%"):
        compare("a", "fp16", "a test", expected=EXPECTED, received=Inference(LOGITS[[0, 1, 1]], EMBEDDING))


def test_another_direction_of_the_embedding_is_refused() -> None:
    with pytest.raises(ExportError, match=r"received 100\.0%, 0 and 1,"):
        compare("a", "fp16", "a test", expected=EXPECTED, received=Inference(LOGITS, EMBEDDING[[0, 2, 1]]))


def test_fp32_must_be_closer_than_fp16() -> None:
    near = Inference(LOGITS + np.array([0.02, 0, 0], np.float32), EMBEDDING)
    compare("a", "fp16", "a test", expected=EXPECTED, received=near)
    with pytest.raises(ExportError):
        compare("a", "fp32", "a test", expected=EXPECTED, received=near)


def test_classes_that_pytorch_cannot_tell_apart_are_a_tie() -> None:
    expected = Inference(np.array([[1.001, 1.0, 0]], np.float32), EMBEDDING[:1])
    received = Inference(np.array([[1.0, 1.001, 0]], np.float32), EMBEDDING[:1])
    assert compare("a", "fp16", "a test", expected=expected, received=received).agreement == 1
    assert TOLERANCES["fp16"].probability_difference > 1e-3
