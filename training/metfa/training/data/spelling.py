"""What a user may have meant."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

_COMPARED = 2000  # words that are compared letter by letter; of more, only case may differ


def did_you_mean(word: str, known: Collection[str]) -> str:
    """Return a question with the known word that is most like another, and a blank after it; or nothing."""
    folded = {each.casefold(): each for each in known}
    close = [word.casefold()] if word.casefold() in folded else []
    if not close and len(folded) <= _COMPARED:
        close = get_close_matches(word.casefold(), folded, 1)
    return f"did you mean {folded[close[0]]!r}? " if close else ""
