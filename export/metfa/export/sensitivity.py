"""Which layers to keep in float32 so that an INT8 model passes the gate."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def find_layers_to_keep(
    layers: Sequence[str], distance: Callable[[Sequence[str]], float], passes: Callable[[Sequence[str]], bool]
) -> tuple[str, ...] | None:
    """Return the fewest layers to keep, taken in the order of the damage that each does alone.

    Args:
        layers: what is quantised now.
        distance: how far from the network in PyTorch a model is that keeps some of the layers.
        passes: whether a model that keeps some of the layers passes the gate.

    Returns:
        Their names, the most sensitive first; None where it takes all of them.
    """
    damage = {layer: distance([other for other in layers if other != layer]) for layer in layers}
    # Sorting is stable: of two that do the same damage, the earlier layer is kept.
    order = sorted(layers, key=lambda layer: -damage[layer])
    for count in range(1, len(order)):
        if passes(order[:count]):
            return tuple(order[:count])
    return None
