"""Frozen dataclasses to JSON and strictly back: an unknown, missing or mistyped field is refused, never defaulted."""

from __future__ import annotations

import json
import types
from dataclasses import asdict, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..errors import MetfaError

Record = TypeVar("Record")


def to_json(record: object, *, indent: int | None = 2) -> str:
    """Return ``record``, a dataclass instance, as JSON with the fields in the order of their declaration.

    Args:
        record: what to write.
        indent: blanks before each level; None for one line, where there are thousands of numbers.
    """
    return json.dumps(asdict(record), indent=indent, ensure_ascii=False) + "\n"  # type: ignore[call-overload]


def from_json(cls: type[Record], text: str | bytes, *, origin: str, remedy: str, error: type[MetfaError]) -> Record:
    """Rebuild a ``cls`` from ``text``.

    Supports nested dataclasses, ``tuple[T, ...]``, ``dict[str, T]``, ``Literal``, ``T | None``, unions of a
    dataclass and one other kind, ``str``, ``bool``, ``int`` and ``float`` (which takes an integer too). Values are
    checked by the dataclass's own ``__post_init__``.

    Args:
        cls: a frozen dataclass.
        text: the JSON document.
        origin: where it came from, for the message.
        remedy: what the user should do about a document that does not fit.
        error: the class of error to raise.

    Raises:
        MetfaError: an ``error`` when the document is no JSON, or a field is unknown, missing or of another type.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as cause:  # the latter where brackets are nested without end
        raise error(expected=f"JSON in {origin}", received=f"text that is not JSON ({cause})", remedy=remedy) from None
    try:
        return _build(cls, document, "")  # type: ignore[no-any-return]
    except _MismatchError as mismatch:
        raise error(expected=f"{mismatch.expected} in {origin}", received=mismatch.received, remedy=remedy) from None


class _MismatchError(Exception):
    def __init__(self, expected: str, received: str) -> None:
        self.expected, self.received = expected, received


def _build(kind: Any, value: Any, path: str) -> Any:
    """Return ``value`` as a ``kind``; ``path`` names the field for the message."""
    if is_dataclass(kind):
        return _build_dataclass(kind, value, path)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        if value in arguments and type(value) in {type(argument) for argument in arguments}:
            return value
        raise _MismatchError(f"{path} to be one of {', '.join(map(repr, arguments))}", repr(value))
    if origin in (Union, types.UnionType):
        return _build_union(arguments, value, path)
    if origin is tuple:
        if not isinstance(value, list):
            raise _MismatchError(f"{path} to be a list", repr(value))
        return tuple(_build(arguments[0], item, f"{path}[{index}]") for index, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise _MismatchError(f"{path} to be an object", repr(value))
        return {name: _build(arguments[1], item, f"{path}.{name}") for name, item in value.items()}
    if kind is float and type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise _MismatchError(f"{path} to be a number", f"one of {value.bit_length()} bits") from None
    if type(value) is not kind:
        raise _MismatchError(f"{path} to be {kind.__name__}", repr(value))
    return value


def _build_union(kinds: tuple[Any, ...], value: Any, path: str) -> Any:
    """Return ``value`` as the one of ``kinds`` that its JSON is of: null, a dataclass's object, or the other kind."""
    if value is None and types.NoneType in kinds:
        return None
    present = [kind for kind in kinds if kind is not types.NoneType]
    if len(present) > 1:
        present = [kind for kind in present if is_dataclass(kind) == isinstance(value, dict)]
    if len(present) != 1:
        names = ", ".join(getattr(kind, "__name__", str(kind)) for kind in kinds)
        raise _MismatchError(f"{path} to be one of {names}", repr(value))
    return _build(present[0], value, path)


def _build_dataclass(cls: Any, value: Mapping[str, Any], path: str) -> Any:
    if not isinstance(value, dict):
        raise _MismatchError(f"{path or 'the document'} to be an object", repr(value))
    names = {field.name for field in fields(cls)}
    for name in value:
        if name not in names:
            raise _MismatchError(
                f"only the fields {', '.join(sorted(names))}", f"an unknown field {_join(path, name)!r}"
            )
    for name in names:
        if name not in value:
            raise _MismatchError(f"the field {_join(path, name)!r}", "none")
    hints = get_type_hints(cls)
    try:
        return cls(**{name: _build(hints[name], item, _join(path, name)) for name, item in value.items()})
    except ValueError as cause:  # raised by __post_init__
        raise _MismatchError(f"valid values of {path or cls.__name__}", str(cause)) from None


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
