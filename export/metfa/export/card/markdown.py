"""Markdown whose cells hold whatever a user called a class, a scanner or a file."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

from metfa.runtime.files import utf8

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|~-])")


def plain(text: str) -> str:
    """Return ``text`` so that Markdown and HTML show it as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", html.escape(" ".join(utf8(text).split()), quote=False))


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of plain texts; numbers, that is all columns but the first, are to the right."""
    lines = [heading, ["---", *["---:"] * (len(heading) - 1)], *([plain(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """Return a list of plain texts, each under its name."""
    return "\n".join(f"- **{name}**: {plain(value)}" for name, value in rows)
