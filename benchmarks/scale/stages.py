"""The stages that are measured, in the order in which a user meets them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import data, results

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Stage:
    """Something that is done with N images.

    Attributes:
        prepare: makes its inputs for N in a folder, and returns the work.
        counts: what N is.
        smallest: the least N that is measured.
        largest: the greatest, whatever is asked for.
    """

    prepare: Callable[[int, Path], Callable[[], object]]
    counts: str = "images"
    smallest: int = 1000
    largest: int | None = None


STAGES: Mapping[str, Stage] = {
    "list a folder": Stage(data.list_folder),
    "list a manifest": Stage(data.list_manifest),
    "fill the store": Stage(data.fill_store),
    "find in the store": Stage(data.find_stored),
    "near-duplicates": Stage(data.group),
    "split": Stage(data.divide),
    "first batches": Stage(data.begin_sampling),
    "20 further batches": Stage(data.sample),
    "augment 20 batches": Stage(data.augment),
    "validators": Stage(results.validators, "frames"),
    "judge a method": Stage(results.between_methods, "frames"),
    "evaluate": Stage(results.evaluate, "frames"),
    "t-SNE": Stage(results.draw_embedding, "frames"),
    "one more trial": Stage(results.search, "trials", 10, 1000),
    "collect": Stage(results.collect, "frames"),
}
