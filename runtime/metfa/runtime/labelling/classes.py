"""The classes that frames are sorted into, and the key of each."""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..bundle.contract import LABEL_RULE, is_label
from ..errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable

_BACKGROUND = "background"  # as metfa-train recognises it
_NO_PLANE = "0"
_UNDO = "u"
_KEYS = string.digits.replace(_NO_PLANE, "") + string.ascii_lowercase.replace(_UNDO, "")


@dataclass(frozen=True, slots=True)
class LabelClass:
    """A class.

    Attributes:
        name: as it is written into the table.
        key: that gives it to a frame.
    """

    name: str
    key: str


def assign_keys(labels: Iterable[str], background: Iterable[str] = ()) -> tuple[LabelClass, ...]:
    """Return the classes with keys: 1 to 9, then letters; 0 of the class that stands for no plane, which comes last.

    Args:
        labels: the classes.
        background: which of them are no planes.

    Raises:
        DataError: there are fewer than two or too many, one is there twice, or one is no name.
    """
    names = tuple(labels)
    for name in names:
        if not is_label(name):
            raise _wrong(f"names of classes {LABEL_RULE}", repr(name))
        if names.count(name) > 1:
            raise _wrong("different classes", f"{name!r} {names.count(name)} times")
    no_plane = next((name for name in names if name in background or name.lower() == _BACKGROUND), None)
    planes = [name for name in names if name != no_plane]
    if len(names) < 2 or len(planes) > len(_KEYS):
        raise _wrong(f"2 to {len(_KEYS)} classes, and one for no plane", f"{len(names)}")
    keyed = [LabelClass(name, key) for name, key in zip(planes, _KEYS, strict=False)]
    return (*keyed, *([LabelClass(no_plane, _NO_PLANE)] if no_plane else []))


def _wrong(expected: str, received: str) -> DataError:
    return DataError(expected=expected, received=received, remedy="give for example --classes Femur,Lips,Background")
