"""Text for a terminal: safe to print, wherever it came from, and aligned."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# What controls a terminal (C0, DEL, C1), ends a line, turns the direction of writing, or stands for undecodable bytes.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""Return ``text`` as one line in which characters that control a terminal are escaped, such as ``\x1b``."""
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def aligned(rows: Sequence[Sequence[str]], indent: int) -> Iterator[str]:
    """Yield the rows of a table, the first column aligned to the left, the others to the right, indented by spaces."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *cells in rows:
        padded = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        yield " " * indent + "  ".join([name.ljust(widths[0]), *padded])
