"""What a user may have meant."""

from __future__ import annotations

import pytest

from metfa.training.data.spelling import did_you_mean


@pytest.mark.parametrize(
    ("word", "known", "question"),
    [
        ("devise", ["path", "device"], "did you mean 'device'? "),
        ("EPIQ 7", ["epiq 7", "EPIQ 5"], "did you mean 'epiq 7'? "),
        ("heart", ["lung", "muscle"], ""),
        ("heart", [], ""),
        ("HEART", [*map(str, range(5000)), "heart"], "did you mean 'heart'? "),
    ],
)
def test_the_word_that_is_most_alike_is_asked_for(word: str, known: list[str], question: str) -> None:
    assert did_you_mean(word, known) == question
