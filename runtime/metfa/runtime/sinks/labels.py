"""What the model says of images, as a table."""

from __future__ import annotations

import csv
import errno
import io
import os
from typing import TYPE_CHECKING

from ..errors import OutputError
from ..files import replacing, require_writable, writing_to
from .base import Sink

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ..frame import Observation


class LabelsSink(Sink):
    """A CSV with a row for each image, in their order; it is written whole when the stream ends.

    ::

        name,label,confidence,status,P(Abdominal),P(Femur)
        scan 1.png,Femur,0.981204,plane,0.018796,0.981204

    ``label`` is the most probable class and ``confidence`` its calibrated probability. ``status`` says whether a stream
    would show it: that of :class:`~metfa.runtime.frame.Decision`. Without an image nothing is written.

    Args:
        path: the file, ``….csv``.
        labels: the class names, in the order of the probabilities.

    Raises:
        OutputError: the file cannot be written, or is not to be a CSV.
    """

    name = "table of labels"
    kind = "records"
    required = True

    def __init__(self, path: Path, labels: Sequence[str]) -> None:
        if path.suffix.lower() != ".csv":
            raise OutputError(expected="a table that ends in .csv", received=str(path), remedy="choose another name")
        with writing_to(path):
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        require_writable(path.parent)
        self._path = path
        self._text = io.StringIO()
        self._table = csv.writer(self._text, lineterminator="\n")
        self._table.writerow(["name", "label", "confidence", "status", *(f"P({label})" for label in labels)])
        self._is_empty = True

    def write(self, observation: Observation) -> None:
        """Append the image."""
        prediction, status = observation.prediction, observation.decision.status
        numbers = [f"{value:.6f}" for value in (prediction.confidence, *prediction.probabilities.tolist())]
        self._table.writerow([observation.frame.source, prediction.label, numbers[0], status, *numbers[1:]])
        self._is_empty = False

    def close(self) -> None:
        """Write the table."""
        if self._is_empty:
            return
        self._is_empty = True
        # Bytes of a file name that are no UTF-8 become \udcxx, as in --events.
        content = self._text.getvalue().encode("utf-8", "backslashreplace")
        with replacing(self._path) as temporary:
            temporary.write_bytes(content)
