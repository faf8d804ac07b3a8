"""A look at one thing: it says what is there, and no failure keeps the next look from happening."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from ..errors import MetfaError

if TYPE_CHECKING:
    from collections.abc import Callable

Row: TypeAlias = tuple[str, str]
"""What was looked at, and what was seen."""


def result_of(look: Callable[[], str]) -> str:
    """Return what a look says, or why it cannot say anything."""
    try:
        return look()
    except MetfaError as refusal:
        return f"no: needs {refusal.expected}; {refusal.remedy}"
    except Exception as cause:  # a package that is broken, in whatever way, is what users want to hear of
        return f"fails: {type(cause).__name__}: {cause}"
