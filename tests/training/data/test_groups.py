"""Groups against a naive oracle: every link followed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from tests.training.data.links import follow

from metfa.training.data.groups import join

if TYPE_CHECKING:
    from collections.abc import Sequence


keys = st.lists(st.tuples(*[st.one_of(st.none(), st.integers(0, 6))] * 3), min_size=1, max_size=25)


@given(keys)
def test_pictures_that_share_any_key_are_joined(rows: list[tuple[int | None, ...]]) -> None:
    def linked(one: int, other: int) -> bool:
        return any(a is not None and a == b for a, b in zip(rows[one], rows[other], strict=True))

    of_kind: Sequence[Sequence[int | None]] = list(zip(*rows, strict=True))
    assert join(*of_kind).tolist() == follow(len(rows), linked)


def test_there_may_be_none() -> None:
    assert join([]).tolist() == []
