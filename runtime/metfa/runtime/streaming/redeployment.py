"""When a newer bundle is taken: on request, or as soon as its directory holds one. In a thread beside the streams."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import click

from ..errors import MetfaError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_WATCH_SECONDS = 2.0  # between two looks at the directory
_JOIN_SECONDS = 0.3  # how long to wait for a thread that may be loading a model

_Signature = frozenset[tuple[str, int, int, int]]


class Redeployment:
    """Takes a bundle again when somebody asks for it, or its files have changed; a context manager.

    What fails because files changed meanwhile is tried again: somebody is still writing them.

    Args:
        directory: the bundle.
        take: loads the bundle and lets it serve; returns a line that says so, or None where it serves already. It
            raises where the bundle cannot serve, and the last one goes on. Called in a thread of its own.
        requested: set by whoever asks for it.
        watch: whether files that have changed, and stay so for two seconds, are a request, too.
        notify: told in a line what came of it.
    """

    def __init__(
        self,
        directory: Path,
        take: Callable[[], str | None],
        *,
        requested: threading.Event,
        watch: bool,
        notify: Callable[[str], object],
    ) -> None:
        self._directory, self._take, self._notify = directory, take, notify
        self._requested, self._watch = requested, watch
        self._ending = threading.Event()
        # A daemon: where a model takes long to load, the process must end all the same.
        self._thread = threading.Thread(target=self._run, name="metfa redeployment", daemon=True)

    def __enter__(self) -> Redeployment:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._requested.set()
        self._thread.join(_JOIN_SECONDS)

    def _run(self) -> None:
        taken: _Signature | None = None
        seen: _Signature | None = None
        while True:
            is_requested = self._requested.wait(_WATCH_SECONDS if self._watch else None)
            if self._ending.is_set():
                return
            now = _signature(self._directory)
            if is_requested or (now != taken and now == seen):
                self._requested.clear()
                taken = self._redeploy(is_requested=is_requested)
            seen = now

    def _redeploy(self, *, is_requested: bool) -> _Signature:
        """Take the bundle; return the signature of what was taken or refused."""
        while True:
            before = _signature(self._directory)
            refused = True
            try:
                said = self._take()
                refused = False
            except (MetfaError, click.UsageError) as refusal:  # options may not fit the new bundle
                said = f"not exchanged: {refusal}"
            except Exception as error:  # whatever it is, the last model goes on
                said = f"not exchanged: expected to load it, received {type(error).__name__}: {error}; report this"
            is_being_written = refused and _signature(self._directory) != before
            if not is_being_written or self._ending.wait(_WATCH_SECONDS):
                break
        if said is None and is_requested:
            said = "not exchanged: it serves already"
        if said is not None and not self._ending.is_set():
            self._notify(said)
        return before


def _signature(directory: Path) -> _Signature:
    """Return of each file the name, inode, size and time of the last change; none where the directory is missing."""
    try:
        entries = [(entry.name, entry.stat()) for entry in os.scandir(directory) if entry.is_file()]
    except OSError:  # as where a file goes meanwhile
        return frozenset()
    return frozenset((name, status.st_ino, status.st_size, status.st_mtime_ns) for name, status in entries)
