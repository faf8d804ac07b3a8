"""What a field of a configuration is called outside, what it may be, and what it means: written beside its default."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Iterator

Section = Literal["Data", "Method", "Model", "Optimisation", "Augmentation", "Run"]
"""Under which title ``--help`` lists an option."""

_SETTING = "setting"


@dataclass(frozen=True, slots=True)
class Setting:
    """How a field is set from outside.

    Attributes:
        option: as one types it, such as ``--steps``; ``--flip/--no-flip`` for one that is on or off.
        section: where it is listed.
        help: what it means, in a sentence or two.
        shown: the default in words, where the field's own says nothing.
        low: the least value.
        high: the greatest.
        low_open: whether the least value is itself too small.
        high_open: whether the greatest is itself too large.
    """

    option: str
    section: Section
    help: str
    shown: str | None = None
    low: float | None = None
    high: float | None = None
    low_open: bool = False
    high_open: bool = False

    @property
    def name(self) -> str:
        """The option's name in a file of options."""
        return self.option.partition("/")[0].removeprefix("--")


class SettableField(NamedTuple):
    """A field that has a setting, of a configuration or of a group of fields in it.

    Attributes:
        group: the field that holds the group; None where the configuration itself has it.
        name: of the field.
        kind: its type.
        default: its value unless the user says otherwise.
        setting: how it is set.
    """

    group: str | None
    name: str
    kind: Any
    default: Any
    setting: Setting

    def value_in(self, configuration: object) -> Any:
        """Return the field's value."""
        return getattr(configuration if self.group is None else getattr(configuration, self.group), self.name)


def setting(default: Any, option: str, section: Section, text: str, **bounds: Any) -> Any:
    """Return a dataclass field that is set by an option; ``bounds`` are further attributes of :class:`Setting`."""
    return field(default=default, metadata={_SETTING: Setting(option, section, text, **bounds)})


def settable_fields(configuration: type, group: str | None = None) -> Iterator[SettableField]:
    """Yield the fields of a dataclass that have settings, and those of dataclasses in it, in their order."""
    kinds = get_type_hints(configuration)
    for each in fields(configuration):
        kind = kinds[each.name]
        if _SETTING in each.metadata:
            assert each.default is not MISSING
            yield SettableField(group, each.name, kind, each.default, each.metadata[_SETTING])
        elif is_dataclass(kind):
            yield from settable_fields(kind, each.name)  # type: ignore[arg-type]  # a type, as hints are
