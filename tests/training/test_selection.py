"""The rule that chooses a candidate, on candidates made by hand."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metfa.training.selection.rule import ACCURACY_MARGIN, MIN_DIVERSITY, choose
from metfa.training.selection.validators import Validators

NOTHING = Validators(**{field.name: 0.0 for field in fields(Validators)})


def candidate(accuracy: float, diversity: float = 1.0, error: float = 0.0) -> Validators:
    return replace(NOTHING, supervised_accuracy=accuracy, accuracy_error=error, diversity=diversity)


@pytest.mark.parametrize(
    ("candidates", "chosen"),
    [
        ([candidate(0.9)], 0),
        ([candidate(0.9), candidate(0.9), candidate(0.9)], 2),
        ([candidate(0.9), candidate(0.9), candidate(0.9, diversity=0.09)], 1),
        ([candidate(0.9), candidate(0.9), candidate(0.9, diversity=0.1)], 2),
        ([candidate(0.9), candidate(0.9), candidate(0.79)], 1),
        ([candidate(0.9), candidate(0.9), candidate(0.81)], 2),
        ([candidate(0.9), candidate(0.9), candidate(0.78, error=0.11)], 1),
        ([candidate(0.9), candidate(0.9), candidate(0.78, error=0.13)], 2),
        ([candidate(0.8, 0.01), candidate(0.9, 0.02), candidate(0.7, 0.03)], 1),
        ([candidate(0.9, 0.01), candidate(0.9, 0.02), candidate(0.7, 0.03)], 1),
        ([candidate(0.99, 0.01), candidate(0.5), candidate(0.5)], 0),
    ],
    ids=[
        "one",
        "the last",
        "a collapsed one is refused",
        "a nearly collapsed one is not",
        "an inaccurate one is refused",
        "a slightly less accurate one is not",
        "one that is less accurate by more than chance is refused",
        "one that is less accurate by chance is not",
        "all collapsed: the most accurate",
        "all collapsed: of equals the latest",
        "none both accurate and diverse: the most accurate",
    ],
)
def test_the_rule_for_methods_that_adapt(candidates: list[Validators], chosen: int) -> None:
    assert choose(candidates, adapts=True) == chosen


@pytest.mark.parametrize(
    ("candidates", "chosen"),
    [
        ([candidate(0.8), candidate(0.9), candidate(0.85)], 1),
        ([candidate(0.9), candidate(0.9), candidate(0.85)], 1),
        ([candidate(0.9), candidate(0.91, diversity=0.0)], 1),
    ],
    ids=["the most accurate", "of equals the latest", "whatever the target's predictions are"],
)
def test_methods_that_do_not_adapt_go_by_accuracy_alone(candidates: list[Validators], chosen: int) -> None:
    assert choose(candidates, adapts=False) == chosen


unit = st.floats(0, 1)


@given(st.lists(st.builds(candidate, unit, unit, unit), min_size=1, max_size=8))
def test_nothing_sound_comes_after_what_is_chosen(candidates: list[Validators]) -> None:
    chosen = choose(candidates, adapts=True)
    best = max(each.supervised_accuracy for each in candidates)
    sound = [
        index
        for index, each in enumerate(candidates)
        if each.supervised_accuracy + max(each.accuracy_error, ACCURACY_MARGIN) >= best
        and each.diversity >= MIN_DIVERSITY
    ]
    if sound:
        assert chosen == max(sound)
    else:
        assert candidates[chosen].supervised_accuracy == best
