from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from metfa.export.sensitivity import find_layers_to_keep

if TYPE_CHECKING:
    from collections.abc import Sequence

LAYERS = tuple("abcdef")


@given(damage=st.lists(st.integers(0, 20), min_size=6, max_size=6), allowed=st.integers(0, 60))
def test_as_few_layers_as_suffice_where_damage_adds_up(damage: list[int], allowed: int) -> None:
    of = dict(zip(LAYERS, damage, strict=True))

    def distance(kept: Sequence[str]) -> float:
        return sum(of[layer] for layer in LAYERS if layer not in kept)

    kept = find_layers_to_keep(LAYERS, distance, lambda kept: distance(kept) <= allowed)
    fewest = next(
        (count for count in range(1, len(LAYERS)) if sum(sorted(damage)[: len(LAYERS) - count]) <= allowed), None
    )
    assert (None if kept is None else len(kept)) == fewest
    if kept is not None:
        assert distance(kept) <= allowed
        assert min(of[layer] for layer in kept) >= max(of[layer] for layer in LAYERS if layer not in kept)
