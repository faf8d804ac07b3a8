"""What other packages add to metfa: entry points, one group a kind; docs/plugins.md shows each.

They are looked for only where a name is none of metfa's own, as reading every package's metadata takes a while.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from .errors import MetfaError, PluginError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from importlib.metadata import EntryPoint

Group = Literal["metfa.sources", "metfa.sinks", "metfa.backends", "metfa.methods", "metfa.encoders"]

_Kind = TypeVar("_Kind")


def names_in(group: Group) -> tuple[str, ...]:
    """Return the names that installed packages add to a group, sorted."""
    return tuple(sorted(point.name for point in _points(group)))


def load(group: Group, name: str) -> Any:
    """Return what an installed package adds under a name; None where none does.

    Raises:
        PluginError: it cannot be imported.
    """
    point = next((point for point in _points(group) if point.name == name), None)
    if point is None:
        return None
    try:
        return point.load()
    except Exception as cause:
        raise PluginError(
            expected=f"the {name} of {group} in {point.value}",
            received=f"{type(cause).__name__}: {cause}",
            remedy="mend the package that adds it, or uninstall it",
        ) from None


def call(group: Group, name: str, opens: Callable[..., _Kind], *arguments: object) -> _Kind:
    """Return what ``opens``, which an installed package adds, makes of the arguments.

    Raises:
        MetfaError: as the package raises it.
        PluginError: anything else that it raises.
    """
    try:
        return opens(*arguments)
    except MetfaError:
        raise
    except Exception as cause:
        raise PluginError(
            expected=f"the {name} of {group} to open",
            received=f"{type(cause).__name__}: {cause}",
            remedy="correct what it was given, or mend the package that adds it",
        ) from cause


def _points(group: Group) -> Iterable[EntryPoint]:
    from importlib.metadata import entry_points  # here, as it takes as long to import as click

    return entry_points(group=group)


class Registry(Mapping[str, _Kind]):
    """What metfa has of a kind, by name; asked for another name, what an installed package adds.

    Args:
        group: of the entry points.
        own: metfa's, which are what it counts and iterates over.
    """

    def __init__(self, group: Group, own: Mapping[str, _Kind]) -> None:
        self._group = group
        self._own = own

    def __getitem__(self, name: str) -> _Kind:
        if name in self._own:
            return self._own[name]
        if (added := load(self._group, name)) is None:
            raise KeyError(name)
        return added  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[str]:
        return iter(self._own)

    def __len__(self) -> int:
        return len(self._own)
