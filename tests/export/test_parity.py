from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from metfa.export.frames import FrameSet
from metfa.export.parity import DomainComparison, measure, summarise
from metfa.runtime.backends import Inference

EMBEDDING = np.eye(3, dtype=np.float32)
LOGITS = np.array([[5, 0, 0], [0, 5, 0], [0, 0, 5]], np.float32)
EXPECTED = Inference(LOGITS, EMBEDDING)
LABELS = ("4CH", "Femur", "Lips")


def summary(received: Inference, *, labels: list[int] | None = None) -> DomainComparison:
    frames = np.zeros((len(LOGITS), 1, 28, 28), np.uint8)
    domain = FrameSet("target", "", frames, None if labels is None else np.array(labels))
    return summarise(domain, LABELS, EXPECTED, received, measure(EXPECTED, received, tie=0.02))


@given(
    logits=hnp.arrays(np.float32, (4, 3), elements=st.floats(-20, 20, width=32)),
    shift=st.floats(-10, 10, width=32),
    scale=st.floats(0.5, 2, width=32),
)
def test_what_changes_no_probability_and_no_direction_is_no_difference(
    logits: np.ndarray, shift: float, scale: float
) -> None:
    embedding = np.ones((4, 2), np.float32)
    received = Inference(logits + np.float32(shift), embedding * np.float32(scale))
    differences = measure(Inference(logits, embedding), received, tie=0.02)
    assert differences.agrees.all()
    assert differences.probability.max() < 1e-4
    assert differences.embedding.max() < 1e-6


@given(
    expected=hnp.arrays(np.float32, (5, 3), elements=st.floats(-9, 9, width=32)),
    received=hnp.arrays(np.float32, (5, 3), elements=st.floats(-9, 9, width=32)),
)
def test_differences_are_those_of_a_naive_loop(expected: np.ndarray, received: np.ndarray) -> None:
    differences = measure(Inference(expected, expected), Inference(received, received), tie=0.1)
    for row, (a, b) in enumerate(zip(expected.astype(float), received.astype(float), strict=True)):
        p, q = (np.exp(logits) / np.exp(logits).sum() for logits in (a, b))
        assert differences.probability[row] == pytest.approx(max(abs(p - q)), abs=1e-6)
        assert differences.agrees[row] == (p[b.argmax()] >= p.max() - 0.1)
        if min(np.linalg.norm(a), np.linalg.norm(b)) > 1e-6:
            cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
            assert differences.embedding[row] == pytest.approx(1 - cosine, abs=1e-6)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("output", ["logits", "embedding"])
def test_a_frame_with_a_number_that_is_not_finite_is_as_far_off_as_can_be(number: float, output: str) -> None:
    arrays = {"logits": LOGITS.copy(), "embedding": EMBEDDING.copy()}
    arrays[output][1, 1] = number
    differences = measure(EXPECTED, Inference(**arrays), tie=0.02)
    assert differences.agrees.tolist() == [True, False, True]
    assert differences.probability.tolist() == [0, 1, 0]
    assert differences.embedding.tolist() == [0, 2, 0]
    assert differences.non_finite.tolist() == [0, 1, 0]


def test_classes_that_pytorch_cannot_tell_apart_are_a_tie() -> None:
    expected = Inference(np.array([[1.001, 1.0, 0]], np.float32), EMBEDDING[:1])
    received = Inference(np.array([[1.0, 1.001, 0]], np.float32), EMBEDDING[:1])
    assert measure(expected, received, tie=0.02).agrees.all()
    assert not measure(expected, received, tie=1e-5).agrees.any()


@pytest.mark.parametrize("length", [0, 1])
def test_an_embedding_that_vanished_is_as_far_as_a_right_angle(length: int) -> None:
    zeros = np.zeros((1, 3), np.float32)
    differences = measure(Inference(LOGITS[:1], zeros + length), Inference(LOGITS[:1], zeros), tie=0)
    assert differences.embedding.tolist() == [length]


def test_unlabelled_frames_are_of_the_class_that_pytorch_says() -> None:
    compared = summary(Inference(LOGITS[[0, 1, 1]], EMBEDDING))
    assert compared.accuracy is None
    assert {label: (part.frames, part.top1) for label, part in compared.classes.items()} == {
        "4CH": (1, 1),
        "Femur": (1, 1),
        "Lips": (1, 0),
    }
    assert compared.overall.top1 == pytest.approx(2 / 3)


def test_labelled_frames_are_of_their_own_class_and_show_the_accuracy() -> None:
    compared = summary(Inference(LOGITS[[0, 1, 1]], EMBEDDING), labels=[1, 1, 1])
    assert compared.accuracy == pytest.approx(2 / 3)
    assert list(compared.classes) == ["Femur"]
    assert compared.classes["Femur"] == compared.overall
