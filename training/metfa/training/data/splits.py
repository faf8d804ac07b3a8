"""Which pictures are held out: whole groups (a patient, a recording), class by class where labels may be looked at."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from metfa.runtime.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .domain import Item, Split

TEST_FRACTION = 0.25
"""Share that is held out for testing where a domain does not come split."""

VALIDATION_FRACTION = 0.1
"""Share of the training pictures that is held out for model selection where a domain has no such split."""


def split(name: str, items: Sequence[Item], seed: int, *, by_class: bool) -> list[Item]:
    """Give every item its split; those that come with one keep it, and decide for the others of their group.

    Args:
        name: of the domain, for messages.
        items: in an order that is the same on every run.
        seed: of the choice.
        by_class: whether labels may be looked at, so that every class is held out in the same proportion.

    Raises:
        DataError: a class, or the domain, has too few groups to hold one out for testing.
    """
    generator = np.random.default_rng(seed)
    result = list(items)
    if any(item.split is None for item in items):
        decided: dict[str | None, Split] = {item.group: item.split for item in items if item.group and item.split}
        result = [item if item.split else replace(item, split=decided.get(item.group)) for item in items]
        positions = [n for n, item in enumerate(result) if item.split is None]
        held_out = _hold_out([result[n] for n in positions], TEST_FRACTION, generator, by_class=by_class)
        for index, n in enumerate(positions):
            result[n] = replace(result[n], split="test" if index in held_out else "train")
        _require_both(name, result, by_class=by_class)
    if all(item.split != "val" for item in result):
        positions = [n for n, item in enumerate(result) if item.split == "train"]
        training = [result[n] for n in positions]
        for n in _hold_out(training, VALIDATION_FRACTION, generator, by_class=by_class):
            result[positions[n]] = replace(training[n], split="val")
    return result


def _hold_out(items: Sequence[Item], fraction: float, generator: np.random.Generator, *, by_class: bool) -> set[int]:
    """Return the positions of about ``fraction`` of the items, at least one group of each class, and never all."""
    classes: dict[str | None, dict[str, int]] = {}  # of each, its groups and how many of its items they hold
    members: dict[str, list[int]] = {}
    shown: dict[str, set[str | None]] = {}  # the classes of each group
    for position, item in enumerate(items):
        group = f"{position}" if item.group is None else f"group {item.group}"
        label = item.label if by_class else None
        groups = classes.setdefault(label, {})
        groups[group] = groups.get(group, 0) + 1
        members.setdefault(group, []).append(position)
        shown.setdefault(group, set()).add(label)
    staying = {label: len(groups) for label, groups in classes.items()}
    held_out: set[str] = set()
    for groups in classes.values():
        wanted = max(1, round(fraction * sum(groups.values())))
        taken = sum(count for group, count in groups.items() if group in held_out)
        names = list(groups)
        for group in (names[n] for n in generator.permutation(len(names))):
            if taken >= wanted:
                break
            if group not in held_out and all(staying[label] > 1 for label in shown[group]):
                taken += groups[group]
                held_out.add(group)
                for label in shown[group]:
                    staying[label] -= 1
    return {position for group in held_out for position in members[group]}


def _require_both(name: str, items: Sequence[Item], *, by_class: bool) -> None:
    splits: dict[str | None, set[str | None]] = {}
    for item in items:
        splits.setdefault(item.label if by_class else None, set()).add(item.split)
    for label, present in splits.items():
        if not present.issuperset(("train", "test")):
            raise DataError(
                expected=f"at least 2 images, or patients, in {name}{f', class {label}' if label else ''}, "
                f"one to train on and one to test on",
                received="1",
                remedy="add images, or split the folder yourself into train/ and test/",
            )
