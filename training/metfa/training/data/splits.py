"""Which pictures are held out: whole groups (a patient, a recording), class by class where labels may be looked at."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from metfa.runtime.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .domain import Item

TEST_FRACTION = 0.25
"""Share that is held out for testing where a domain does not come split."""

VALIDATION_FRACTION = 0.1
"""Share of the training pictures that is held out for model selection where a domain has no such split."""


def split(name: str, items: Sequence[Item], seed: int, *, by_class: bool) -> list[Item]:
    """Give every item its split; those that come with one keep it.

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
        held_out = _hold_out(items, TEST_FRACTION, generator, by_class=by_class)
        result = [replace(item, split="test" if n in held_out else "train") for n, item in enumerate(items)]
        _require_both(name, result, by_class=by_class)
    if all(item.split != "val" for item in result):
        positions = [n for n, item in enumerate(result) if item.split == "train"]
        training = [result[n] for n in positions]
        for n in _hold_out(training, VALIDATION_FRACTION, generator, by_class=by_class):
            result[positions[n]] = replace(training[n], split="val")
    return result


def _hold_out(items: Sequence[Item], fraction: float, generator: np.random.Generator, *, by_class: bool) -> set[int]:
    """Return the positions of about ``fraction`` of the items, at least one group of each class, and never all."""
    classes: dict[str | None, dict[str, list[int]]] = {}
    everywhere: dict[str, list[int]] = {}
    for position, item in enumerate(items):
        group = f"{position}" if item.group is None else f"group {item.group}"
        classes.setdefault(item.label if by_class else None, {}).setdefault(group, []).append(position)
        everywhere.setdefault(group, []).append(position)
    held_out: set[int] = set()
    for groups in classes.values():
        wanted = max(1, round(fraction * sum(map(len, groups.values()))))
        names = list(groups)
        free = [names[n] for n in generator.permutation(len(names)) if not held_out.issuperset(groups[names[n]])]
        taken = sum(len(groups[name]) for name in names if name not in free)
        for name in free[:-1]:  # one stays
            if taken >= wanted:
                break
            taken += len(groups[name])
            held_out.update(everywhere[name])
    return held_out


def _require_both(name: str, items: Sequence[Item], *, by_class: bool) -> None:
    splits: dict[str | None, set[str | None]] = {}
    for item in items:
        splits.setdefault(item.label if by_class else None, set()).add(item.split)
    for label, present in splits.items():
        if present != {"train", "test"}:
            raise DataError(
                expected=f"at least 2 images, or patients, in {name}{f', class {label}' if label else ''}, "
                f"one to train on and one to test on",
                received="1",
                remedy="add images, or split the folder yourself into train/ and test/",
            )
