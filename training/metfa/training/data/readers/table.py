"""Tables as people and their programs write them: CSV with commas, semicolons or tabs."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from metfa.runtime.errors import DataError
from metfa.runtime.files import reading

from ..spelling import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

SEPARATORS = ",;\t"


def read_table(path: Path, columns: Iterable[str], perhaps: Iterable[str] = ()) -> list[dict[str, str]]:
    """Return the rows of a table, cells without the blanks around them; a row that is cut short has empty cells.

    The separator is the one that the first line has most of. A byte-order mark, Windows line ends and blank lines do
    not matter.

    Args:
        path: of the table, in UTF-8.
        columns: that there must be.
        perhaps: columns that are used where there are any.

    Raises:
        DataError: a column is missing or there twice, or this is no table.
        SourceError: the file cannot be read.
    """
    try:
        with reading(path), path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            reader = csv.DictReader(file, delimiter=max(SEPARATORS, key=first.count))
            reader.fieldnames = names = [name.strip() for name in reader.fieldnames or []]
            rows = [{name: (row[name] or "").strip() for name in names} for row in reader]
    except (UnicodeDecodeError, csv.Error) as cause:
        raise DataError(
            expected=f"a table in UTF-8 in {path}", received=str(cause), remedy="save it as CSV in UTF-8"
        ) from None
    for column in columns:
        if column not in names:
            raise DataError(
                expected=f"a column {column!r} in {path}",
                received=f"the columns {', '.join(names)}" if any(names) else "an empty file",
                remedy=f"{did_you_mean(column, names)}correct the first line of the table, or what follows '?'",
            )
    for column in (*columns, *perhaps):
        if names.count(column) > 1:
            raise DataError(
                expected=f"one column {column!r} in {path}",
                received=f"{names.count(column)}",
                remedy="rename or remove those that are not meant",
            )
    return rows


def matching(
    name: str, rows: list[dict[str, str]], filters: Mapping[str, frozenset[str]]
) -> list[tuple[int, dict[str, str]]]:
    """Return the rows that have one of the wanted values in each filtered column, with their numbers from 1.

    Raises:
        DataError: there is none, or none at all of a value; the message tells which values there are.
    """
    kept = list(enumerate(rows, 1))
    for column, wanted in filters.items():
        present = {row[column] for row in rows}
        for value in sorted(wanted - present):
            if rows:
                raise _no_rows(
                    name, column, {value}, f"{did_you_mean(value, present)}the column holds {_some(present)}"
                )
        left = {row[column] for _, row in kept}
        kept = [(number, row) for number, row in kept if row[column] in wanted]
        if not kept and left:
            raise _no_rows(name, column, wanted, f"of the rows that the other options leave, it holds {_some(left)}")
    if not kept:
        raise DataError(expected=f"rows in {name}", received="none", remedy="add some")
    return kept


def _no_rows(name: str, column: str, wanted: Iterable[str], remedy: str) -> DataError:
    return DataError(
        expected=f"rows with {column} {' or '.join(sorted(map(repr, wanted)))} in {name}",
        received="none",
        remedy=remedy,
    )


def _some(values: set[str], limit: int = 8) -> str:
    shown = [repr(value) for value in sorted(values)]
    return ", ".join(shown[:limit]) + (f" and {len(shown) - limit} more" if len(shown) > limit else "")
