"""Groups by every link, one after another: what faster ways must come to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def follow(count: int, linked: Callable[[int, int], bool]) -> list[int]:
    """Number the groups by first appearance, link by link."""
    numbers: list[int | None] = [None] * count
    following = 0
    for start in range(count):
        if numbers[start] is None:
            reached = [start]
            while reached:
                one = reached.pop()
                numbers[one] = following
                reached += [other for other in range(count) if numbers[other] is None and linked(one, other)]
            following += 1
    return [number for number in numbers if number is not None]
