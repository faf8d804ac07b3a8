"""Where in a bundle the files for TensorBoard are. The tensorboard package is not needed to clear them away."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from metfa.runtime.files import writing_to

if TYPE_CHECKING:
    from pathlib import Path

EVENTS = "tensorboard"
"""The directory in a bundle that holds a directory of such files for each method. The manifest does not name it."""

EVENT_FILE = "events.out.tfevents."
"""What the name of an event file begins with; a number follows."""

EMBEDDINGS, METADATA, PROJECTOR = "embeddings.tsv", "embeddings-metadata.tsv", "projector_config.pbtxt"
"""What the projector shows, what is told of each point, and the file that names both to it."""


def clear_events(bundle: Path) -> None:
    """Remove the files for TensorBoard of an earlier run, and nothing else.

    Raises:
        OutputError: they cannot be removed.
    """
    directory = bundle / EVENTS
    with writing_to(directory):
        for run in directory.glob("*/"):
            for pattern in (f"{EVENT_FILE}*", EMBEDDINGS, METADATA, PROJECTOR):
                for path in run.glob(pattern):
                    path.unlink()
            with suppress(OSError):  # somebody keeps other files there
                run.rmdir()
    with suppress(OSError):
        directory.rmdir()
