"""Labels as text files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metfa.runtime.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Sequence


def join_labels(labels: Sequence[str], separator: str) -> str:
    """Return the labels in one text, in the order of the logits.

    Raises:
        ExportError: a label holds the separator or a line break, and could not be told from two.
    """
    for label in labels:
        if separator in label or len(label.splitlines()) != 1:
            raise ExportError(
                expected=f"class names without {separator!r} and line breaks, for a file of labels",
                received=repr(label),
                remedy="rename the class and train again",
            )
    return separator.join(labels) + "\n"
