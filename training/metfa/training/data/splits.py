"""Which pictures are held out: whole groups, class by class where labels may be looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from metfa.runtime.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .listing import Split

TEST_FRACTION = 0.25
"""Share that is held out for testing where a domain does not come split."""

VALIDATION_FRACTION = 0.1
"""Share of the training pictures that is held out for model selection where a domain has no such split."""


def split(
    name: str,
    groups: Sequence[int],
    given: Sequence[Split | None],
    seed: int,
    *,
    labels: Sequence[str | None] | None,
) -> list[Split]:
    """Give every picture its split; those that come with one keep it, and decide for the others of their group.

    Args:
        name: of the domain, for messages.
        groups: the group of each picture, which is not divided, in an order that is the same on every run.
        given: the split that each comes with, if any.
        seed: of the choice.
        labels: the class of each, so that every class is held out in the same proportion; None where labels may not be
            looked at.

    Raises:
        DataError: a class, or the domain, has too few groups to hold one out for testing.
    """
    generator = np.random.default_rng(seed)
    classes = [None] * len(groups) if labels is None else labels
    result = list(given)
    if None in result:
        decided: dict[int, Split] = {}
        for group, part in zip(groups, given, strict=True):
            if part is not None and decided.get(group) != "train":  # what is trained on decides for the whole group
                decided[group] = part
        result = [part or decided.get(group) for group, part in zip(groups, given, strict=True)]
        positions = [n for n, part in enumerate(result) if part is None]
        held_out = _hold_out(positions, classes, groups, TEST_FRACTION, generator)
        for n in positions:
            result[n] = "test" if n in held_out else "train"
        _require_both(name, classes, result)
    if "val" not in result:
        positions = [n for n, part in enumerate(result) if part == "train"]
        for n in _hold_out(positions, classes, groups, VALIDATION_FRACTION, generator):
            result[n] = "val"
    return [part for part in result if part is not None]


def _hold_out(
    positions: Sequence[int],
    labels: Sequence[str | None],
    groups: Sequence[int],
    fraction: float,
    generator: np.random.Generator,
) -> set[int]:
    """Return up to ``fraction`` of the positions: what groups fit, in random order, or else the smallest of a class.

    Some group of every class is held out, where more than one can be, and one always stays.
    """
    classes: dict[str | None, dict[int, int]] = {}  # of each, its groups and how many of its pictures they hold
    members: dict[int, list[int]] = {}
    shown: dict[int, set[str | None]] = {}  # the classes of each group
    for position in positions:
        group, label = groups[position], labels[position]
        of_class = classes.setdefault(label, {})
        of_class[group] = of_class.get(group, 0) + 1
        members.setdefault(group, []).append(position)
        shown.setdefault(group, set()).add(label)
    staying = {label: len(of_class) for label, of_class in classes.items()}
    held_out: set[int] = set()

    def may_go(group: int) -> bool:
        return group not in held_out and all(staying[label] > 1 for label in shown[group])

    def hold_out(group: int) -> None:
        held_out.add(group)
        for label in shown[group]:
            staying[label] -= 1

    for of_class in classes.values():
        wanted = max(1, round(fraction * sum(of_class.values())))
        taken = sum(count for group, count in of_class.items() if group in held_out)
        numbers = list(of_class)
        order = [numbers[n] for n in generator.permutation(len(numbers))]
        for group in order:
            if taken + of_class[group] <= wanted and may_go(group):
                hold_out(group)
                taken += of_class[group]
        remaining = [group for group in order if may_go(group)]
        if not taken and remaining:
            hold_out(min(remaining, key=of_class.__getitem__))
    return {position for group in held_out for position in members[group]}


def _require_both(name: str, labels: Sequence[str | None], splits: Sequence[Split | None]) -> None:
    present: dict[str | None, set[Split | None]] = {}
    for label, part in zip(labels, splits, strict=True):
        present.setdefault(label, set()).add(part)
    for label, parts in present.items():
        if not parts.issuperset(("train", "test")):
            raise DataError(
                expected=f"at least 2 images, or patients, in {name}{f', class {label}' if label else ''}, "
                f"one to train on and one to test on",
                received="1 (images of one recording, and those that are nearly the same, count as one)",
                remedy="add images, or split the folder yourself into train/ and test/",
            )
