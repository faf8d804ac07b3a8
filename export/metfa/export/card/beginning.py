"""What a network began with: the lines of the card that name weights and the bundles that it came through."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from metfa.training.config import TrainingConfig


def initial_weights(config: TrainingConfig) -> str:
    """Return which weights the run began with, their licence, and whether they stayed."""
    initial, kept = config.initial_weights, "the encoder kept them" if config.freeze_encoder else "trained further"
    published = ""
    if initial is not None:
        licence = "its licence is not stated" if initial.licence is None else f"licence {initial.licence}"
        published = f"{initial.origin}; {licence}; SHA-256 {initial.sha256}"
    if config.origin:
        return f"those of the last bundle below; {kept}" + (f"; the first began with {published}" if published else "")
    return f"{published}; {kept}" if published else "random"


def ancestors(config: TrainingConfig) -> Iterator[tuple[str, str]]:
    """Yield the bundles that the network came through, the first one first."""
    for number, bundle in enumerate(config.origin.chain if config.origin else (), 1):
        yield (
            f"Came from, {number}",
            f"{bundle.method}, source {bundle.source}, target {bundle.target or 'none'}, "
            f"weights of SHA-256 {bundle.sha256}",
        )
