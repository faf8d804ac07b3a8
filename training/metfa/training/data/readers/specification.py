"""How a domain is named: ``PATH``, ``PATH?option=value&option=value``, or either after ``SCHEME:``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

from metfa.runtime.errors import DataError

from ..spelling import did_you_mean

SCHEMES = ("phantom", "fetal-planes-db")

_MAX_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Specification:
    """A domain as the user named it, in parts.

    Attributes:
        name: all of it.
        scheme: what stands before the colon, where that is no part of a path; otherwise empty.
        path: of a file or folder, or the name of a phantom.
        options: what follows ``?``; of each, the values that were given.
    """

    name: str
    scheme: str
    path: str
    options: Mapping[str, frozenset[str]]

    def refuse_options(self, *known: str) -> None:
        """Make sure that there are no options but the known ones; ``label=none`` is one of every form.

        Raises:
            DataError: there is another.
        """
        for option in self.options:
            if option not in known:
                forms = [f"{each}=…" for each in known] + ["label=none"] * ("label" not in known)
                raise DataError(
                    expected=f"{' or '.join(forms)} after '?' in {self.name}",
                    received=repr(option),
                    remedy=f"{did_you_mean(option, ('label', *known))}correct it or leave it out",
                )

    @property
    def is_unlabelled(self) -> bool:
        """Whether the domain is named without its labels."""
        return "none" in self.options.get("label", ())

    def labelled(self) -> Specification:
        """Return the specification of the same media with their labels."""
        options = {**self.options, "label": self.options.get("label", frozenset()) - {"none"}}
        return replace(self, options={name: values for name, values in options.items() if values})

    def count(self, option: str, least: int) -> int:
        """Return an option that is a number of things.

        Raises:
            DataError: it is not given once, or is no whole number from ``least`` on.
        """
        values = self.options.get(option, frozenset())
        number = "".join(values) if len(values) == 1 else ""
        if not (number.isascii() and number.isdecimal() and len(number) <= _MAX_DIGITS and int(number) >= least):
            raise DataError(
                expected=f"{option}=NUMBER in {self.name}, a whole number from {least} on",
                received=" and ".join(sorted(map(repr, values))) or "none",
                remedy=f"give for example {option}=12",
            )
        return int(number)

    def rate(self, default: float) -> float:
        """Return the option ``rate``, frames per second, or the default.

        Raises:
            DataError: it is no positive number.
        """
        values = self.options.get("rate", frozenset({str(default)}))
        try:
            (rate,) = map(float, values)
        except ValueError:
            rate = math.nan
        if not 0 < rate < math.inf:
            raise DataError(
                expected=f"rate=FRAMES_PER_SECOND in {self.name}, a positive number",
                received=" and ".join(sorted(map(repr, values))),
                remedy="give for example rate=2",
            )
        return rate


def parse(name: str) -> Specification:
    """Take a specification apart.

    A file or folder whose name holds a ``?`` or a colon is found under its whole name. Values are percent-decoded, so
    that ``%26`` stands for ``&``. An option that is given several times has several values.

    Raises:
        DataError: what follows ``?`` are no options.
    """
    if is_there(Path(name)):
        return Specification(name, "", name, {})
    scheme, colon, rest = name.partition(":")
    if not colon or scheme not in SCHEMES:
        scheme, rest = "", name
    path, _, query = rest.partition("?")
    options: dict[str, frozenset[str]] = {}
    for part in filter(None, query.split("&")):
        option, equals, value = part.partition("=")
        if not equals:
            raise DataError(
                expected=f"option=value after '?' in {name}", received=repr(part), remedy="separate several by '&'"
            )
        option = unquote(option).strip()
        options[option] = options.get(option, frozenset()) | {unquote(value).strip()}
    return Specification(name, scheme, path, options)


def is_there(path: Path) -> bool:
    """Return whether a path leads to something; one that is too long for any file does not."""
    try:
        return path.exists()
    except OSError:
        return False
