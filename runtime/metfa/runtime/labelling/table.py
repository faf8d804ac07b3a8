"""A table of what is known of files, which several may write to at once: each change is on disk before the next."""

from __future__ import annotations

import csv
import os
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DataError, OutputError
from ..files import reading, replacing, writing_to
from ..lock import alone_in

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOCK_SECONDS = 5.0  # that a change waits for another process; a change takes hundredths
_SEPARATORS = ",;\t"  # as metfa-train reads them


class ChangedError(Exception):
    """A file was answered for elsewhere in the meantime."""


class Table:
    """A CSV with the columns ``path``, relative to its folder, and another. What else it holds is kept.

    Args:
        path: of the table, which need not be there yet.
        column: the other column.

    Raises:
        DataError: what is there is no such table.
        SourceError: it cannot be read.
    """

    def __init__(self, path: Path, column: str) -> None:
        self.path = path
        self._column = column
        self._load()

    def read(self) -> dict[Path, str]:
        """Return what is known of files, by their absolute paths; nothing of those with an empty cell.

        Raises:
            DataError, SourceError: as for the table.
        """
        return self._load().values()

    def change(self, file: Path, value: str | None, *, before: str | None) -> None:
        """Write down what is known of a file; it survives a power cut from here on.

        Args:
            file: an absolute path below the table's folder.
            value: what is known from now on; None for nothing.
            before: what was known until now.

        Raises:
            ChangedError: something else is known of it.
            OutputError: the table cannot be written, or another process keeps it.
            DataError, SourceError: as for the table.
        """
        with self._alone():
            rows = self._load()
            if rows.values().get(file) != before:
                raise ChangedError
            rows.put(file, value)
            with replacing(self.path) as temporary:
                rows.write(temporary)

    def _load(self) -> _Rows:
        return _Rows(self.path, self._column)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes, and threads of this one, from changing the table."""
        directory = self.path.parent.resolve()
        give_up_at = time.monotonic() + _LOCK_SECONDS
        with ExitStack() as held:
            while not _try_to_lock(directory, held):
                if time.monotonic() > give_up_at:
                    raise OutputError(
                        expected=f"to write {self.path} within {_LOCK_SECONDS:g} s",
                        received=f"another command of metfa that is writing to {directory}",
                        remedy="try again, wait for it, or name another --output",
                    )
                time.sleep(0.01)
            yield


def _try_to_lock(directory: Path, held: ExitStack) -> bool:
    """Return whether this process, until ``held`` ends, is alone in a directory."""
    with writing_to(directory):
        try:
            held.enter_context(alone_in(directory, wait=False))
        except BlockingIOError:
            return False
    return True


class _Rows:
    """The rows of a table, as they are in its file."""

    def __init__(self, path: Path, column: str) -> None:
        self._folder = path.parent
        self._separator = "\t" if path.suffix.lower() == ".tsv" else ","
        rows: list[list[str]] = []
        try:
            with reading(path), suppress(FileNotFoundError), path.open(encoding="utf-8-sig", newline="") as file:
                first = file.readline()
                file.seek(0)
                if any(separator in first for separator in _SEPARATORS):
                    self._separator = max(_SEPARATORS, key=first.count)
                rows = [row for row in csv.reader(file, delimiter=self._separator) if row]
        except (UnicodeDecodeError, csv.Error) as cause:
            raise _no_table(path, column, str(cause)) from None
        self._header, self._rows = (rows[0], rows[1:]) if rows else (["path", column], [])
        names = [name.strip() for name in self._header]
        if names.count("path") != 1 or names.count(column) != 1:
            raise _no_table(path, column, f"the columns {', '.join(names)}")
        self._path, self._value = names.index("path"), names.index(column)

    def values(self) -> dict[Path, str]:
        """Return the values by absolute path."""
        found = ((self._file(row), _cell(row, self._value)) for row in self._rows)
        return {file: value for file, value in found if file and value}

    def put(self, file: Path, value: str | None) -> None:
        """Give a file a value; where it has none and nothing else is known of it, its row goes."""
        own = [row for row in self._rows if self._file(row) == file]
        for row in own:
            row.extend([""] * (len(self._header) - len(row)))
            row[self._value] = value or ""
            if value is None and sum(map(bool, row)) == 1:
                self._rows.remove(row)
        if value is not None and not own:
            row = [""] * len(self._header)
            row[self._path], row[self._value] = file.relative_to(self._folder).as_posix(), value
            self._rows.append(row)

    def write(self, path: Path) -> None:
        """Write the table."""
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, delimiter=self._separator, lineterminator="\n").writerows([self._header, *self._rows])

    def _file(self, row: list[str]) -> Path | None:
        name = _cell(row, self._path)
        return Path(os.path.normpath(self._folder / name)) if name else None


def _cell(row: list[str], column: int) -> str:
    return row[column].strip() if column < len(row) else ""


def _no_table(path: Path, column: str, received: str) -> DataError:
    return DataError(
        expected=f"a table in UTF-8 with one column 'path' and one column {column!r} in {path}",
        received=received,
        remedy="correct it, or name another --output",
    )
