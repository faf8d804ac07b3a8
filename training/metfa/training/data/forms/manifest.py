"""A manifest: a table that names files, and what is known of each."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from metfa.runtime.errors import DataError

from ..listing import SPLITS
from .files import Files
from .recording import RATE
from .specification import is_there
from .table import matching, read_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..listing import Listing, Split
    from .specification import Specification

SUFFIXES = frozenset({".csv", ".tsv"})
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
    filters = {column: values for column, values in specification.options.items() if column != "rate"}
    rows = matching(specification.name, read_table(path, ("path", *filters)), filters)
    folder = Path(os.path.normpath(path.parent.absolute()))
    mentions: dict[Path, list[tuple[int, dict[str, str]]]] = {}
    for number, row in rows:
        # As it is written: links inside the folder may lead elsewhere.
        mentions.setdefault(Path(os.path.normpath(folder / row["path"])), []).append((number, row))
    files = Files(specification.rate(RATE))
    for location, saying in mentions.items():
        row = saying[0][1]
        split = _split_of(row, specification.name)
        if location == folder:
            for each, _ in saying:
                files.skip(f"{path}, row {each}", "names no file")
        elif not location.is_relative_to(folder):
            files.skip(row["path"], "lies outside the folder of the table")
        elif any(_facts(other) != _facts(row) for _, other in saying):
            files.skip(row["path"], "is named by rows that differ in label, patient or split")
        elif not is_there(location):
            files.skip(row["path"], "is not there")
        else:
            files.add(
                path.parent / location.relative_to(folder),
                label=row.get("label") or None,
                split=split,
                patient=row.get("patient") or None,
            )
            for each, _ in saying[1:]:
                files.skip(f"{path}, row {each}", "names a file that an earlier row names")
    return files.listing(specification.name)


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
            remedy="correct the rows, or leave their cells empty to have the pictures split",
        )
    return None
