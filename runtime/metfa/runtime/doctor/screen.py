"""The screen: titled sections of aligned rows, without anything that tells whose machine it is."""

from __future__ import annotations

import re
import textwrap
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..bundle.contract import software
from . import packages, surroundings, system

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .looks import Row


def _backends() -> Iterable[Row]:
    from . import backends  # here, as it needs NumPy, which may be what does not work

    return backends.rows()


_SECTIONS: dict[str, Callable[[], Iterable[Row]]] = {
    "Machine": system.rows,
    "Packages": packages.libraries,
    "Extras": packages.extras,
    "Backends": _backends,
    "Surroundings": surroundings.rows,
}
_NAME_WIDTH, _WIDTH = 12, 110
_LONG_PATH = re.compile(r"(?:~|\b[A-Za-z]:)?(?:[/\\][^\s/\\:,;'\"()]+){2,}[/\\]([^\s/\\:,;'\"()]+)")  # Windows', too


def describe_host() -> Iterator[str]:
    """Yield the lines on this machine."""
    yield software()
    for title, look in _SECTIONS.items():
        try:
            rows = list(look())
        except Exception as cause:  # the other sections are all the more worth reading
            rows = [("", f"fails: {type(cause).__name__}: {cause}")]
        yield from section(title, rows)


def section(title: str, rows: Iterable[Row]) -> Iterator[str]:
    """Yield the lines of a section: names in one column, and beside it what was seen, wrapped."""
    yield ""
    yield title
    for name, seen in rows:
        yield from textwrap.wrap(
            without_places(" ".join(seen.split())),
            _WIDTH,
            initial_indent=f"  {name.ljust(_NAME_WIDTH)}  ",
            subsequent_indent=" " * (_NAME_WIDTH + 4),
            break_long_words=False,
            break_on_hyphens=False,
        )


def without_places(text: str) -> str:
    """Return ``text`` without the names of folders, which may be those of people: a long path is its last part."""
    with suppress(RuntimeError):  # this user has no home
        text = text.replace(str(Path.home()), "~")
    return _LONG_PATH.sub(r"…/\1", text)
