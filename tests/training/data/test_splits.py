"""What is held out: whole groups, some of every class, never all of one."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metfa.runtime.errors import DataError
from metfa.training.data.splits import TEST_FRACTION, VALIDATION_FRACTION, split

if TYPE_CHECKING:
    from metfa.training.data.listing import Split

seeds = st.integers(0, 2**32 - 1)
Row = tuple[str, int]
"""A picture: its class and its group."""


def single(counts: list[int]) -> list[Row]:
    """So many pictures of each class, each by itself."""
    labels = [f"class {label}" for label, count in enumerate(counts) for _ in range(count)]
    return [(label, number) for number, label in enumerate(labels)]


def grouped(sizes: list[list[int]]) -> list[Row]:
    """Of each class, groups of so many pictures; each group is of one class."""
    return [
        (f"class {label}", 100 * label + group)
        for label, groups in enumerate(sizes)
        for group, size in enumerate(groups)
        for _ in range(size)
    ]


def patients(shown: list[set[int]]) -> list[Row]:
    """Two pictures of each class that a patient shows."""
    return [(f"class {label}", patient) for patient, labels in enumerate(shown) for label in labels] * 2


def divide(
    rows: list[Row], seed: int = 0, *, by_class: bool = True, given: list[Split | None] | None = None
) -> list[Split]:
    labels, groups = [label for label, _ in rows], [group for _, group in rows]
    return split("B", groups, given or [None] * len(rows), seed, labels=labels if by_class else None)


def parts_of(rows: list[Row], splits: list[Split]) -> dict[int, set[Split]]:
    """The splits of each group."""
    parts: dict[int, set[Split]] = defaultdict(set)
    for (_, group), part in zip(rows, splits, strict=True):
        parts[group].add(part)
    return parts


def of_class(rows: list[Row], splits: list[Split], wanted: str) -> Counter[Split]:
    return Counter(part for (label, _), part in zip(rows, splits, strict=True) if label == wanted)


@given(st.lists(st.integers(2, 60), min_size=1, max_size=4), seeds)
def test_single_pictures_are_held_out_class_by_class_in_the_same_proportion(counts: list[int], seed: int) -> None:
    rows = single(counts)
    result = divide(rows, seed)
    for label, count in enumerate(counts):
        parts = of_class(rows, result, f"class {label}")
        assert parts["test"] == max(1, round(TEST_FRACTION * count))
        rest = count - parts["test"]
        assert parts["val"] == (max(1, round(VALIDATION_FRACTION * rest)) if rest > 1 else 0)
        assert parts["train"] == rest - parts["val"] >= 1


@given(st.lists(st.lists(st.integers(1, 6), min_size=2, max_size=8), min_size=1, max_size=4), seeds)
def test_no_group_is_divided_and_every_class_is_trained_and_tested_on(sizes: list[list[int]], seed: int) -> None:
    rows = grouped(sizes)
    result = divide(rows, seed)
    assert all(len(parts) == 1 for parts in parts_of(rows, result).values())
    for label, groups in enumerate(sizes):
        parts = of_class(rows, result, f"class {label}")
        assert parts["train"] >= 1
        # As much as fits into the share, or the smallest group; one always stays.
        wanted = max(1, round(TEST_FRACTION * sum(groups)))
        assert 1 <= parts["test"] <= max(wanted, min(groups))
        staying = [
            size for group, size in enumerate(groups) if "test" not in parts_of(rows, result)[100 * label + group]
        ]
        assert len(staying) == 1 or parts["test"] + min(staying) > wanted


@given(st.lists(st.sets(st.integers(0, 3), min_size=1), min_size=1, max_size=10), seeds)
def test_patients_who_show_several_classes_are_not_divided_either(shown: list[set[int]], seed: int) -> None:
    """Where that cannot be, it is said."""
    rows = patients(shown)
    try:
        result = divide(rows, seed)
    except DataError:
        return
    assert all(len(parts) == 1 for parts in parts_of(rows, result).values())
    for label in {label for label, _ in rows}:
        assert set(of_class(rows, result, label)) >= {"train", "test"}


@given(st.integers(2, 12), seeds)
def test_two_patients_who_show_every_class_are_enough(classes: int, seed: int) -> None:
    rows = patients([set(range(classes))] * 2)
    result = divide(rows, seed)
    assert sorted(len(parts) for parts in parts_of(rows, result).values()) == [1, 1]
    assert Counter(result) == {"train": 2 * classes, "test": 2 * classes}


@given(seeds)
def test_a_class_of_few_patients_keeps_one_however_many_another_holds_out(seed: int) -> None:
    """Class 1 is shown by two of the many patients of class 0, who could both be held out for its sake."""
    rows = patients([{0, 1}, {0, 1}, *[{0}] * 6])
    assert {"train", "test"} == set(of_class(rows, divide(rows, seed), "class 1"))


@given(st.lists(st.integers(2, 20), min_size=2, max_size=4), seeds)
def test_a_target_is_split_whatever_its_labels(counts: list[int], seed: int) -> None:
    rows = single(counts)
    result = divide(rows, seed, by_class=False)
    assert result == divide([("other", group) for _, group in rows], seed, by_class=False)
    assert result.count("test") == max(1, round(TEST_FRACTION * len(rows)))


@given(st.lists(st.lists(st.integers(1, 4), min_size=2, max_size=4), min_size=1, max_size=3), seeds, st.booleans())
def test_the_seed_decides(sizes: list[list[int]], seed: int, by_class: bool) -> None:
    rows = grouped(sizes)
    assert divide(rows, seed, by_class=by_class) == divide(list(rows), seed, by_class=by_class)


def test_another_seed_is_another_split() -> None:
    assert divide(single([40, 40]), 0) != divide(single([40, 40]), 1)


def test_what_comes_split_keeps_its_split() -> None:
    parts: list[Split | None] = ["train", "test", "val", "test", "train"]
    assert divide([("a", 0)] * 5, given=parts) == parts


def test_validation_is_taken_from_training_where_there_is_none() -> None:
    parts: list[Split | None] = ["test" if number < 5 else "train" for number in range(25)]
    result = divide(single([25]), given=parts)
    assert result[:5] == ["test"] * 5
    assert Counter(result[5:]) == {"train": 18, "val": 2}


def test_pictures_that_come_split_among_others_keep_their_split_and_decide_for_their_group() -> None:
    parts: list[Split | None] = ["train", "val", "test", "test", "train"]
    groups = [0, 1, 2, 3, 3]  # the last came divided: what is trained on decides
    rows = [("a", group) for group in [*groups, 0, 1, 2, 3, *range(20, 28)]]
    given_parts = parts + [None] * 12
    for seed in range(10):
        result = divide(rows, seed, given=given_parts)
        assert result[:5] == parts
        assert result[5:9] == ["train", "val", "test", "train"]
        assert Counter(result[9:]) == {"train": 6, "test": 2}


@pytest.mark.parametrize("by_class", [False, True], ids=["a target", "a source"])
@pytest.mark.parametrize("rows", [single([1]), grouped([[9]])], ids=["one picture", "one group"])
def test_what_cannot_be_divided_is_refused(rows: list[Row], by_class: bool) -> None:
    with pytest.raises(DataError, match=r"expected at least 2 images, or patients, in B.* received 1 \("):
        divide(rows, by_class=by_class)


def test_the_class_that_cannot_be_divided_is_named() -> None:
    with pytest.raises(DataError, match="in B, class class 1, one to train on"):
        divide(single([5, 1]))
