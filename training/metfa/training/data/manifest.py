"""A manifest: a CSV or TSV file that names images and what is known of them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from metfa.runtime.errors import DataError
from metfa.runtime.files import reading

if TYPE_CHECKING:
    from collections.abc import Iterator

SUFFIXES = {".csv": ",", ".tsv": "\t"}


def is_manifest(specification: str) -> bool:
    """Return whether a domain specification names a manifest."""
    return Path(specification.partition("?")[0]).suffix.lower() in SUFFIXES


def read_manifest(specification: str) -> Iterator[dict[str, str]]:
    """Yield the rows of ``manifest.csv`` or, with filters, of ``manifest.csv?column=value&column=value``.

    Raises:
        DataError: the file has no column ``path``, a filter names no column, or no row is left.
        SourceError: the file cannot be read.
    """
    name, _, query = specification.partition("?")
    path = Path(name)
    filters = dict(parse_qsl(query, keep_blank_values=True))
    try:
        with reading(path), path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter=SUFFIXES[path.suffix.lower()])
            reader.fieldnames = columns = [name.strip() for name in reader.fieldnames or []]
            rows = [{column: (row[column] or "").strip() for column in columns} for row in reader]
    except (UnicodeDecodeError, csv.Error) as cause:
        raise DataError(
            expected=f"a table in UTF-8 in {path}", received=str(cause), remedy="save it as CSV in UTF-8"
        ) from None
    for column in ("path", *filters):
        if column not in columns:
            raise DataError(
                expected=f"a column {column!r} in {path}",
                received=f"the columns {', '.join(columns) or 'of an empty file'}",
                remedy="correct the first line of the manifest or the filter after '?'",
            )
    rows = [row for row in rows if all(row[column] == value for column, value in filters.items())]
    if not rows:
        raise DataError(
            expected=f"rows in {specification}", received="none", remedy="correct the filter after '?' or add rows"
        )
    yield from rows
