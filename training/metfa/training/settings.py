"""What a field of a configuration is called outside, what it may be, and what it means: written beside its default."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from metfa.runtime.plugins import names_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from metfa.runtime.plugins import Group

Section = Literal["Data", "Method", "Model", "Optimisation", "Augmentation", "Run"]
"""Under which title ``--help`` lists an option."""

_SETTING = "setting"
_FIELDS: dict[type, tuple[SettableField, ...]] = {}  # reading type hints takes long


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
        names: what text it may be; None where it may be any.
    """

    option: str
    section: Section
    help: str
    shown: str | None = None
    low: float | None = None
    high: float | None = None
    low_open: bool = False
    high_open: bool = False
    names: Names | None = None

    @property
    def name(self) -> str:
        """The option's name in a file of options."""
        return self.option.partition("/")[0].removeprefix("--")


class Names(NamedTuple):
    """What a field of text may be: metfa's own names, or one that an installed package adds.

    Attributes:
        group: where packages add theirs.
        own: metfa's.
    """

    group: Group
    own: tuple[str, ...]


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


def settable_fields(configuration: type) -> tuple[SettableField, ...]:
    """Return the fields of a dataclass that have settings, and those of dataclasses in it, in their order."""
    if configuration not in _FIELDS:
        _FIELDS[configuration] = tuple(_settable_fields(configuration, None))
    return _FIELDS[configuration]


def check(configuration: object) -> None:
    """Make sure that every field with a setting is what that allows; None is, where the method has its own value.

    Raises:
        ValueError: one is not.
    """
    for settable in settable_fields(type(configuration)):
        value, setting = settable.value_in(configuration), settable.setting
        if value is None and (settable.default is None or setting.shown):
            continue
        allowed = choices(settable.kind)
        if setting.names is not None and value not in setting.names.own:
            allowed = (*setting.names.own, *names_in(setting.names.group))
        if allowed and value not in allowed:
            raise ValueError(f"expected {settable.name} to be one of {', '.join(allowed)}, received {value!r}")
        if settable.kind is str and not isinstance(value, str):
            raise ValueError(f"expected {settable.name} to be text, received {value!r}")
        if setting.low is not None or setting.high is not None:
            _check_bounds(settable.name, value, setting)


def choices(kind: Any) -> tuple[str, ...]:
    """Return the words that a field of this type may be; none where it is not one of some words, or None."""
    members = (kind,) if get_origin(kind) is Literal else get_args(kind)
    kinds = [each for each in members if each is not type(None)]
    of_words = all(get_origin(each) is Literal for each in kinds)
    return tuple(word for each in kinds for word in get_args(each)) if of_words else ()


def _check_bounds(name: str, value: float, setting: Setting) -> None:
    low = -math.inf if setting.low is None else setting.low
    high = math.inf if setting.high is None else setting.high
    beyond = value < low or value > high or (setting.low_open and value == low) or (setting.high_open and value == high)
    if beyond or not math.isfinite(value):
        bounds = f"{'(' if setting.low_open else '['}{low:g}, {high:g}{')' if setting.high_open else ']'}"
        raise ValueError(f"expected {name} in {bounds}, received {value!r}")


def _settable_fields(configuration: type, group: str | None) -> Iterator[SettableField]:
    kinds = get_type_hints(configuration)
    for each in fields(configuration):
        kind = kinds[each.name]
        if _SETTING in each.metadata:
            yield SettableField(group, each.name, kind, each.default, each.metadata[_SETTING])
        elif is_dataclass(kind):
            yield from _settable_fields(kind, each.name)  # type: ignore[arg-type]  # a type, as hints are
