"""Files that TensorBoard reads, without TensorFlow, threads or the machine's name in the name of a file.

Each is a sequence of records (TFRecord) of the message ``Event``.
"""

from __future__ import annotations

import io
import re
import time
from typing import TYPE_CHECKING

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from metfa.runtime.files import replacing, write_text, writing_to

from .event_directory import EMBEDDINGS, EVENT_FILE, METADATA, PROJECTOR

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL.Image import Image

_CONFIG = f"""\
embeddings {{
  tensor_name: "embeddings"
  tensor_path: "{EMBEDDINGS}"
  metadata_path: "{METADATA}"
}}
"""


class EventFiles:
    """Writes the event files of one run; a process that goes on with it writes a further file.

    Nothing is written before there is something to show. What an earlier process wrote of later steps then counts no
    more: its points are replaced.

    Args:
        directory: of the run; made if it is missing.

    Raises:
        OutputError: from every method: the file cannot be written.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path: Path | None = None

    def add_scalars(self, points: Mapping[int, Mapping[str, float]]) -> None:
        """Add points to curves: by step, the value of each curve by its name."""
        self._write(
            *(
                Event(step=step, summary=Summary(value=[Summary.Value(tag=t, simple_value=v) for t, v in of.items()]))
                for step, of in points.items()
            )
        )

    def add_picture(self, step: int, name: str, picture: Image) -> None:
        """Add a picture."""
        content = io.BytesIO()
        picture.save(content, "png")
        image = Summary.Image(
            width=picture.width, height=picture.height, colorspace=3, encoded_image_string=content.getvalue()
        )
        self._write(Event(step=step, summary=Summary(value=[Summary.Value(tag=name, image=image)])))

    def write_embeddings(self, embeddings: NDArray[np.float32], metadata: Mapping[str, Sequence[str]]) -> None:
        """Write embeddings for the projector, in place of earlier ones.

        Args:
            embeddings: float32 [N, D].
            metadata: columns of N texts each, by their names.
        """
        rows = zip(*([_cell(text) for text in (name, *column)] for name, column in metadata.items()), strict=True)
        with replacing(self._directory / EMBEDDINGS) as temporary:
            np.savetxt(temporary, embeddings, fmt="%.5g", delimiter="\t")
        write_text(self._directory / METADATA, "".join("\t".join(row) + "\n" for row in rows))
        write_text(self._directory / PROJECTOR, _CONFIG)

    def _write(self, *events: Event) -> None:
        """Append records to the file; it is open no longer than that, as the file of metrics is."""
        with writing_to(self._directory):
            if self._path is None:
                events = (*self._begin(events[0].step), *events)
            assert self._path is not None
            with self._path.open("ab") as file:
                for event in events:
                    event.wall_time = time.time()
                    RecordWriter(file).write(event.SerializeToString())

    def _begin(self, step: int) -> Iterator[Event]:
        """Name a further file, and yield how TensorBoard expects it to begin where it goes on at a step."""
        self._directory.mkdir(parents=True, exist_ok=True)
        earlier = [path.name for path in self._directory.iterdir() if re.fullmatch(rf"{EVENT_FILE}\d+", path.name)]
        number = max((int(name.removeprefix(EVENT_FILE)) for name in earlier), default=0) + 1
        self._path = self._directory / f"{EVENT_FILE}{number:06}"
        yield Event(file_version="brain.Event:2")
        if earlier:
            yield Event(step=step, session_log=SessionLog(status=SessionLog.START))


def _cell(text: str) -> str:
    return " ".join(text.split())
