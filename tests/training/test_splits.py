"""What is held out: whole groups, some of every class, never all of one."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metfa.runtime.errors import DataError
from metfa.training.data.domain import FilePicture, Item, Split
from metfa.training.data.splits import TEST_FRACTION, VALIDATION_FRACTION, split

seeds = st.integers(0, 2**32 - 1)


def make_item(number: int, label: str | None = None, group: str | None = None, part: Split | None = None) -> Item:
    return Item(FilePicture(Path(f"{number}.png")), label, part, group)


def single(counts: list[int]) -> list[Item]:
    """So many items of each class, each by itself."""
    labels = [f"class {label}" for label, count in enumerate(counts) for _ in range(count)]
    return [make_item(number, label) for number, label in enumerate(labels)]


def grouped(sizes: list[list[int]]) -> list[Item]:
    """Of each class, groups of so many items; each group is of one class."""
    pairs = [
        (f"class {label}", f"{label}-{group}")
        for label, groups in enumerate(sizes)
        for group, size in enumerate(groups)
        for _ in range(size)
    ]
    return [make_item(number, label, group) for number, (label, group) in enumerate(pairs)]


def parts_of(items: list[Item]) -> dict[str | None, set[str | None]]:
    """The splits of each group."""
    parts: dict[str | None, set[str | None]] = defaultdict(set)
    for item in items:
        if item.group is not None:
            parts[item.group].add(item.split)
    return parts


def divide(items: list[Item], seed: int = 0, *, by_class: bool = True) -> list[Item]:
    return split("B", items, seed, by_class=by_class)


@given(st.lists(st.integers(2, 60), min_size=1, max_size=4), seeds)
def test_single_pictures_are_held_out_class_by_class_in_the_same_proportion(counts: list[int], seed: int) -> None:
    result = divide(single(counts), seed)
    for label, count in enumerate(counts):
        parts = Counter(item.split for item in result if item.label == f"class {label}")
        assert parts["test"] == max(1, round(TEST_FRACTION * count))
        rest = count - parts["test"]
        assert parts["val"] == (max(1, round(VALIDATION_FRACTION * rest)) if rest > 1 else 0)
        assert parts["train"] == rest - parts["val"] >= 1


@given(st.lists(st.lists(st.integers(1, 6), min_size=2, max_size=8), min_size=1, max_size=4), seeds)
def test_no_group_is_divided_and_every_class_is_trained_and_tested_on(sizes: list[list[int]], seed: int) -> None:
    result = divide(grouped(sizes), seed)
    assert all(len(parts) == 1 for parts in parts_of(result).values())
    for label, groups in enumerate(sizes):
        parts = Counter(item.split for item in result if item.label == f"class {label}")
        assert parts["train"] >= 1
        # About the share: the group that reaches it may go beyond, and one always stays.
        wanted = max(1, round(TEST_FRACTION * sum(groups)))
        assert 1 <= parts["test"] < wanted + max(groups)
        assert parts["test"] >= min(wanted, sum(groups) - max(groups))


def patients(shown: list[set[int]]) -> list[Item]:
    """Two items of each class that a patient shows."""
    pairs = [(f"class {label}", f"{patient}") for patient, labels in enumerate(shown) for label in labels] * 2
    return [make_item(number, label, group) for number, (label, group) in enumerate(pairs)]


@given(st.lists(st.sets(st.integers(0, 3), min_size=1), min_size=1, max_size=10), seeds)
def test_patients_who_show_several_classes_are_not_divided_either(shown: list[set[int]], seed: int) -> None:
    """Where that cannot be, it is said."""
    items = patients(shown)
    try:
        result = divide(items, seed)
    except DataError:
        return
    assert all(len(parts) == 1 for parts in parts_of(result).values())
    for label in {item.label for item in items}:
        assert {item.split for item in result if item.label == label} >= {"train", "test"}


@given(st.integers(2, 12), seeds)
def test_two_patients_who_show_every_class_are_enough(classes: int, seed: int) -> None:
    result = divide(patients([set(range(classes))] * 2), seed)
    assert sorted(len(parts) for parts in parts_of(result).values()) == [1, 1]
    assert Counter(item.split for item in result) == {"train": 2 * classes, "test": 2 * classes}


@given(seeds)
def test_a_class_of_few_patients_keeps_one_however_many_another_holds_out(seed: int) -> None:
    """Class 1 is shown by two of the many patients of class 0, who could both be held out for its sake."""
    result = divide(patients([{0, 1}, {0, 1}, *[{0}] * 6]), seed)
    assert {item.split for item in result if item.label == "class 1"} == {"train", "test"}


@given(st.lists(st.integers(2, 20), min_size=2, max_size=4), seeds)
def test_a_target_is_split_whatever_its_labels(counts: list[int], seed: int) -> None:
    items = single(counts)
    unlabelled = [make_item(number) for number in range(len(items))]
    parts = [[item.split for item in divide(each, seed, by_class=False)] for each in (items, unlabelled)]
    assert parts[0] == parts[1]
    assert parts[0].count("test") == max(1, round(TEST_FRACTION * len(items)))


@given(st.lists(st.lists(st.integers(1, 4), min_size=2, max_size=4), min_size=1, max_size=3), seeds, st.booleans())
def test_the_seed_decides(sizes: list[list[int]], seed: int, by_class: bool) -> None:
    items = grouped(sizes)
    assert divide(items, seed, by_class=by_class) == divide(list(items), seed, by_class=by_class)


def test_another_seed_is_another_split() -> None:
    items = single([40, 40])
    assert divide(items, 0) != divide(items, 1)


def test_all_but_the_split_of_an_item_stays() -> None:
    items = grouped([[1, 2], [3, 1]])
    assert [(item.picture, item.label, item.group) for item in divide(items)] == [
        (item.picture, item.label, item.group) for item in items
    ]


def test_what_comes_split_keeps_its_split() -> None:
    parts: list[Split] = ["train", "test", "val", "test", "train"]
    items = [make_item(number, "a", part=part) for number, part in enumerate(parts)]
    assert divide(items) == items


def test_validation_is_taken_from_training_where_there_is_none() -> None:
    items = [make_item(number, "a", part="test" if number < 5 else "train") for number in range(25)]
    result = divide(items)
    assert [item.split for item in result[:5]] == ["test"] * 5
    assert Counter(item.split for item in result[5:]) == {"train": 18, "val": 2}


def test_items_that_come_split_among_others_keep_their_split_and_decide_for_their_group() -> None:
    given_parts: list[Split] = ["train", "val", "test"]
    items = [make_item(number, "a", f"patient {number}", part) for number, part in enumerate(given_parts)]
    items += [make_item(10 + number, "a", f"patient {number}") for number in range(3)]
    items += [make_item(20 + number, "a") for number in range(8)]
    for seed in range(10):
        result = divide(items, seed)
        assert [item.split for item in result[:6]] == given_parts * 2
        assert Counter(item.split for item in result[6:]) == {"train": 6, "test": 2}


@pytest.mark.parametrize("by_class", [False, True], ids=["a target", "a source"])
@pytest.mark.parametrize(
    "items",
    [single([1]), grouped([[9]]), [make_item(number, "a", "patient") for number in range(5)]],
    ids=["one picture", "one group", "one patient"],
)
def test_what_cannot_be_divided_is_refused(items: list[Item], by_class: bool) -> None:
    with pytest.raises(DataError, match=r"expected at least 2 images, or patients, in B.* received 1;"):
        divide(items, by_class=by_class)


def test_the_class_that_cannot_be_divided_is_named() -> None:
    with pytest.raises(DataError, match="in B, class class 1, one to train on"):
        divide(single([5, 1]))
