"""Where a study is kept: a SQLite file in its directory, or a database server that several machines reach.

Whatever SQLAlchemy, the drivers and Optuna say about it becomes one line, which never holds a password.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, ProgrammingError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from metfa.runtime.errors import StudyError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE = "study.db"
BUSY = 60.0
"""Seconds that a process waits while others write to the file."""

RACES = 3
"""What another machine may make just before this one does: the tables, Alembic's table, and its row."""

OPENING = (AssertionError, AttributeError, ImportError, LookupError, RuntimeError, TypeError, ValueError)
"""What SQLAlchemy also raises without a driver, and Optuna where tables hold what it has not written."""

HEARTBEAT, GRACE = 20, 120
"""Seconds between two signs of life of a trial, and after the last of them until others take it for dead."""


class Database:
    """The database of a study; as a string, what may be printed of it.

    Args:
        directory: of the study.
        url: of the database, as SQLAlchemy reads it; None for the file in the directory.

    Raises:
        StudyError: SQLAlchemy cannot read the URL.
    """

    def __init__(self, directory: Path, url: str | None) -> None:
        self._options: dict[str, Any] = {"poolclass": NullPool}  # no connection stays open while a trial runs
        if url is None:
            # Not in the URL, which cannot name every path.
            self._options["creator"] = partial(sqlite3.connect, directory / FILE, timeout=BUSY)
        self._url = _read_url("sqlite://" if url is None else url)
        self._shown = str(directory / FILE) if url is None else self._url.set(query={}).render_as_string()

    def __str__(self) -> str:
        return self._shown

    def open(self) -> RDBStorage:
        """Return Optuna's storage in it, which is made where there is none."""
        for _ in range(RACES):
            with suppress(IntegrityError, ProgrammingError):
                return self._open()
        return self._open()

    def _open(self) -> RDBStorage:
        url = self._url.render_as_string(hide_password=False)
        template = url.replace("{", "{{").replace("}", "}}")  # Optuna formats it
        return _Storage(template, self._options, heartbeat_interval=HEARTBEAT, grace_period=GRACE)

    @contextmanager
    def explaining(self, *others: type[Exception]) -> Iterator[None]:
        """Turn what is raised about the database, or one of the others, into one line.

        Raises:
            StudyError: something was raised.
        """
        explained: tuple[type[Exception], ...] = (SQLAlchemyError, StorageInternalError, *others)
        try:
            yield
        except explained as error:
            cause: BaseException = error
            while cause.__cause__:
                cause = cause.__cause__
            raise StudyError(
                expected=f"a study that can be read and written in {self}",
                received=str(cause).partition("\n")[0] or repr(cause),
                remedy=self._remedy(cause),
            ) from None

    def _remedy(self, cause: BaseException) -> str:
        if isinstance(cause, ImportError):
            return "install the driver of this database, for PostgreSQL with pip install 'psycopg[binary]'"
        if self._url.get_backend_name() != "sqlite":
            return "start the server, or correct --storage"
        if isinstance(cause, sqlite3.OperationalError):
            return "free space, correct its permissions, or choose another place for it"
        return "restore the file, or delete it to begin the study anew"


def _read_url(text: str) -> URL:
    try:
        url = make_url(text)
        url.get_dialect()
    except (ArgumentError, ValueError):
        raise StudyError(
            expected="the URL of a database, such as postgresql://user@host/name",
            received=f"one that SQLAlchemy cannot read ({text.partition(':')[0]}:…)",
            remedy="correct --storage",
        ) from None
    if url.drivername == "postgresql":  # for which SQLAlchemy 2.0 takes another driver than 2.1
        return url.set(drivername="postgresql+psycopg")
    return url


class _Storage(RDBStorage):
    """Optuna's, whose heart beats on after a moment without its database."""

    def record_heartbeat(self, trial_id: int) -> None:
        with suppress(StorageInternalError):
            super().record_heartbeat(trial_id)
