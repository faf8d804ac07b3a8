"""The rule that chooses a candidate, on candidates made by hand."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metfa.training.selection.rule import ACCURACY_MARGIN, LEAST_DIVERSITY, choose
from metfa.training.selection.validators import Validators

NOTHING = Validators(**{field.name: 0.0 for field in fields(Validators)})


def candidate(accuracy: float, ami: float, diversity: float = 1.0) -> Validators:
    return replace(NOTHING, supervised_accuracy=accuracy, ami=ami, diversity=diversity)


@pytest.mark.parametrize(
    ("candidates", "chosen"),
    [
        ([candidate(0.9, 0.5)], 0),
        ([candidate(0.9, 0.5), candidate(0.9, 0.7), candidate(0.9, 0.6)], 1),
        ([candidate(0.9, 0.5), candidate(0.9, 0.9, diversity=0.49), candidate(0.9, 0.6)], 2),
        ([candidate(0.9, 0.5), candidate(0.9, 0.9, diversity=0.5), candidate(0.9, 0.6)], 1),
        ([candidate(0.9, 0.5), candidate(0.87, 0.9), candidate(0.9, 0.4)], 0),
        ([candidate(0.9, 0.5), candidate(0.89, 0.9), candidate(0.9, 0.4)], 1),
        ([candidate(0.9, 0.7), candidate(0.9, 0.7), candidate(0.9, 0.6)], 1),
        ([candidate(0.8, 0.9, 0.1), candidate(0.9, 0.5, 0.2), candidate(0.7, 0.95, 0.3)], 1),
        ([candidate(0.9, 0.9, 0.1), candidate(0.9, 0.5, 0.2), candidate(0.7, 0.95, 0.3)], 1),
        ([candidate(0.99, 0.9, 0.1), candidate(0.5, 0.8), candidate(0.5, 0.9)], 0),
        ([candidate(0.9, -0.2), candidate(0.9, -0.1)], 1),
    ],
    ids=[
        "one",
        "the best agreement",
        "a collapsed one is refused",
        "a nearly collapsed one is not",
        "an inaccurate one is refused",
        "a slightly less accurate one is not",
        "of equals the latest",
        "all collapsed: the most accurate",
        "all collapsed: of equals the latest",
        "none both accurate and diverse: the most accurate",
        "worse than chance",
    ],
)
def test_the_rule_for_methods_that_adapt(candidates: list[Validators], chosen: int) -> None:
    assert choose(candidates, adapts=True) == chosen


@pytest.mark.parametrize(
    ("candidates", "chosen"),
    [
        ([candidate(0.8, 0.9), candidate(0.9, 0.1), candidate(0.85, 0.95)], 1),
        ([candidate(0.9, 0.9), candidate(0.9, 0.1), candidate(0.85, 0.95)], 1),
        ([candidate(0.9, 0.9), candidate(0.91, 0.1, diversity=0.0)], 1),
    ],
    ids=["the most accurate", "of equals the latest", "whatever the target's predictions are"],
)
def test_methods_that_do_not_adapt_go_by_accuracy_alone(candidates: list[Validators], chosen: int) -> None:
    assert choose(candidates, adapts=False) == chosen


unit = st.floats(0, 1)


@given(st.lists(st.builds(candidate, unit, unit, unit), min_size=1, max_size=8))
def test_nothing_sound_is_better_than_what_is_chosen(candidates: list[Validators]) -> None:
    chosen = choose(candidates, adapts=True)
    best = max(each.supervised_accuracy for each in candidates)
    sound = [
        index
        for index, each in enumerate(candidates)
        if each.supervised_accuracy >= best - ACCURACY_MARGIN and each.diversity >= LEAST_DIVERSITY
    ]
    if sound:
        assert chosen in sound
        assert all(candidates[index].ami <= candidates[chosen].ami for index in sound)
        assert all(candidates[index].ami < candidates[chosen].ami for index in sound if index > chosen)
    else:
        assert candidates[chosen].supervised_accuracy == best
