"""Text that is safe to print, wherever it came from."""

from __future__ import annotations

import re

# What controls a terminal (C0, DEL, C1), ends a line, turns the direction of writing, or stands for undecodable bytes.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""Return ``text`` as one line in which characters that control a terminal are escaped, such as ``\x1b``."""
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
