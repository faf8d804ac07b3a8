"""A manifest: a table that names files, and what is known of each."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING

from metfa.runtime.errors import DataError

from ..listing import SPLITS
from ..spelling import did_you_mean
from .files import Files
from .recording import RATE
from .table import matching, read_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..listing import Listing, Split
    from .specification import Specification

SUFFIXES = frozenset({".csv", ".tsv"})
_OUTSIDE = "lies outside the folder of the table: put the table above all its pictures, and name them relative to it"
_FOREIGN = frozenset("\\:")  # in paths of Windows
_FACTS = ("label", "patient", "split")


def is_manifest(path: Path) -> bool:
    """Return whether a path names a manifest."""
    return path.suffix.lower() in SUFFIXES


def list_manifest(specification: Specification) -> Listing:
    """List what a manifest names, in the order of its rows.

    The column ``path`` is relative to the manifest, and stays inside its folder: a table that is moved or copied with
    its pictures means the same pictures. The columns ``label``, ``patient`` and ``split`` (``train``, ``val``,
    ``test``) may be missing, and their cells empty; others are for filters (but of the name ``rate``, which is the
    option that recordings are sampled by). A file that is named twice is taken once; where the rows differ in what
    they say of it, none can be trusted, and it is skipped.

    Raises:
        DataError: there is no column ``path``, an option names no column, no row is left, or a split has another name.
        SourceError: the table cannot be read.
    """
    path = Path(specification.path)
    rows = _rows(specification)
    parent = path.parent
    folder = f"{os.path.normpath(parent.absolute())}/"
    mentions: dict[str, list[tuple[int, dict[str, str]]]] = {}
    for number, row in rows:
        mentions.setdefault(_location(row["path"], folder), []).append((number, row))
    files = Files(specification.rate(RATE))
    for location, saying in mentions.items():
        row = saying[0][1]
        split = _split_of(row, specification.name)
        if not row["path"]:
            for number, _ in saying:
                files.skip(f"{path}, row {number}", "names no file")
        elif not location.startswith(folder):
            files.skip(row["path"], _OUTSIDE)
        elif any(_facts(other) != _facts(row) for _, other in saying[1:]):
            files.skip(row["path"], "is named by rows that differ in label, patient or split")
        else:
            files.add(
                parent / location.removeprefix(folder),
                label=row.get("label") or None,
                split=split,
                patient=row.get("patient") or None,
            )
            for number, _ in saying[1:]:
                files.skip(f"{path}, row {number}", "names a file that an earlier row names")
    return files.listing(specification.name)


def manifest_classes(specification: Specification) -> set[str]:
    """Return the classes that a manifest tells, without a look at its files; raises as :func:`list_manifest` does."""
    return {row["label"] for _, row in _rows(specification) if row.get("label")}


def _rows(specification: Specification) -> list[tuple[int, dict[str, str]]]:
    """Return the rows that the options leave, with their numbers."""
    filters = {column: values for column, values in specification.options.items() if column != "rate"}
    rows = read_table(Path(specification.path), ("path", *filters), _FACTS)
    return matching(specification.name, rows, filters)


def _location(path: str, folder: str) -> str:
    """Return the absolute path, as it is written: links inside the folder may lead elsewhere.

    Where nothing lies there, it is read as Windows and as other file systems write it.
    """
    location = _join(path, folder)
    if (path.isascii() and not _FOREIGN.intersection(path)) or os.path.lexists(location):
        return location
    slashed = path.replace("\\", "/")
    others = [_join(unicodedata.normalize(form, slashed), folder) for form in ("NFC", "NFD")]
    elsewhere = path if PureWindowsPath(path).is_absolute() else location
    return next(filter(os.path.lexists, others), elsewhere)


def _join(path: str, folder: str) -> str:
    return os.path.normpath(path if path.startswith("/") else folder + path)


def _facts(row: Mapping[str, str]) -> list[str]:
    return [row.get(column, "") for column in _FACTS]


def _split_of(row: Mapping[str, str], name: str) -> Split | None:
    value = row.get("split", "")
    for split in SPLITS:
        if value == split:
            return split
    if value:
        raise DataError(
            expected=f"one of {', '.join(SPLITS)} in the column 'split' of {name}",
            received=repr(value),
            remedy=f"{did_you_mean(value, SPLITS)}correct the rows, "
            "or leave their cells empty to have the pictures split",
        )
    return None
