"""Directories that are whole or not there."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from metfa.runtime.errors import OutputError
from metfa.runtime.files import umask, writing_to

if TYPE_CHECKING:
    from collections.abc import Iterator


def require_absent(path: Path) -> None:
    """Make sure that there is nothing at ``path``: a server may be reading it.

    Raises:
        OutputError: there is.
    """
    if path.exists() or path.is_symlink():
        raise OutputError(
            expected=f"no {path} yet",
            received="something of that name, which may be in use",
            remedy="remove it, or choose another directory",
        )


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """Yield an empty directory that gets the name ``path`` if the block succeeds.

    Raises:
        OutputError: ``path`` exists, or cannot be written.
    """
    require_absent(path)
    with writing_to(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        with writing_to(path):
            yield stage
            stage.chmod(0o777 & ~umask())
            stage.rename(path)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
