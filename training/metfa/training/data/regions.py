"""Which part of each picture of a domain the model sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metfa.runtime.sector import find_sector

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from metfa.runtime.contract import Region, Roi

SAMPLE = 24
"""So many pictures of a domain show where its sectors are; each layout in use is among them."""


def find_regions(
    pictures: Sequence[Callable[[], NDArray[np.uint8]]], region: Roi
) -> Callable[[NDArray[np.uint8]], Region | None]:
    """Return what says of any picture of a domain which part of it the model sees.

    Pictures of one size are taken for one layout, and have one region: where the sector is to be found, it is the one
    that a sample of them, evenly spread, shows together. A picture of a size that is not in the sample shows its own.

    Args:
        pictures: how to get each picture of the domain, uint8 [H, W] or [H, W, 3]; a sample of them is read.
        region: a region, ``auto`` for the sector, or None for all of a picture.

    Raises:
        SourceError: a picture of the sample cannot be read.
    """
    if region != "auto":
        return lambda _: region
    by_size: dict[tuple[int, ...], list[NDArray[np.uint8]]] = {}
    for number in range(0, len(pictures), max(1, -(-len(pictures) // SAMPLE))):
        image = pictures[number]()
        by_size.setdefault(image.shape[:2], []).append(image)
    sectors = {size: find_sector(images) for size, images in by_size.items()}
    return lambda image: sectors[image.shape[:2]] if image.shape[:2] in sectors else find_sector([image])
