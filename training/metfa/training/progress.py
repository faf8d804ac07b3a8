"""How far something has come: a bar on a terminal, elsewhere a plain line now and then, so that a log is not silent."""

from __future__ import annotations

import os
import sys
from time import monotonic
from typing import TYPE_CHECKING, NoReturn

from tqdm import tqdm

if TYPE_CHECKING:
    from collections.abc import Mapping

INTERVAL = 10.0
"""Seconds between two lines, at least, and before the first: what is over sooner says nothing."""

_LINE = "{desc}{n_fmt} of {total_fmt} ({percentage:.0f} %), {rate_fmt}, {remaining} left{postfix}"


def progress(
    title: str, *, total: int, unit: str, initial: int = 0, leave: bool | None = None, shown: bool = True
) -> tqdm[NoReturn] | ProgressLines:
    """Return what is told of each of ``total`` units and shows it on stderr; a context manager.

    Args:
        title: what is going on.
        total: how many units there are.
        unit: what one is called.
        initial: how many were done before.
        leave: whether a bar stays when all is done; None where it is the only one.
        shown: False for the processes of a run that are not to speak.
    """
    if sys.stderr.isatty() or not shown or os.environ.get("TQDM_DISABLE"):
        return tqdm(total=total, initial=initial, desc=title, unit=unit, leave=leave, disable=None if shown else True)
    return ProgressLines(title, total=total, unit=unit, initial=initial)


class ProgressLines:
    """The part of tqdm's interface that is used here, in lines without control characters; see :func:`progress`."""

    def __init__(self, title: str, *, total: int, unit: str, initial: int = 0) -> None:
        self._title, self._total, self._unit = title, total, unit
        self._initial = self._done = initial
        self._begun = self._told = monotonic()
        self._postfix = ""

    def __enter__(self) -> ProgressLines:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, units: int = 1) -> None:
        """Count units as done."""
        self._done += units
        now = monotonic()
        if now - self._told < INTERVAL:
            return
        self._told = now
        line = tqdm.format_meter(
            self._done,
            self._total,
            now - self._begun,
            prefix=f"{self._title}: ",
            unit=self._unit,
            bar_format=_LINE,
            postfix=self._postfix,
            initial=self._initial,
        )
        sys.stderr.write(" ".join(line.split()) + "\n")  # without tqdm's columns
        sys.stderr.flush()

    def set_postfix(self, values: Mapping[str, str]) -> None:
        """Say these after the next lines."""
        self._postfix = ", ".join(f"{name} {value}" for name, value in values.items())
