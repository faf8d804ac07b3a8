"""A folder of class folders, or of files without classes; either perhaps divided into ``train``, ``val``, ``test``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metfa.runtime.imaging.media import DICOM_DIRECTORY, children, is_loop

from ..listing import SPLITS

if TYPE_CHECKING:
    from pathlib import Path

    from ..listing import Split
    from .files import Files


def list_folder(folder: Path, files: Files) -> None:
    """Collect the media of a folder, sorted by name.

    ``CLASS/FILE`` is labelled, ``FILE`` is not; a folder inside a class folder, ``CLASS/PATIENT/…``, is taken for a
    patient. What :func:`~metfa.runtime.imaging.media.children` leaves alone is no class, no patient and no picture.

    Raises:
        DataError: a class folder holds nothing that can be used.
        SourceError: a folder cannot be read.
    """
    comes_split = (folder / "train").is_dir() and (folder / "test").is_dir()
    parts: tuple[Split | None, ...] = SPLITS if comes_split else (None,)
    for part in parts:
        directory = folder / part if part else folder
        if directory.is_dir():
            _list_part(directory, part, files)


def _list_part(folder: Path, split: Split | None, files: Files) -> None:
    inside = children(folder)
    if (folder / DICOM_DIRECTORY).exists():
        _descend(folder, files, label=None, split=split)
        return
    classes = [child for child in inside if child.is_dir() and not _notes_loop(child, files)]
    for child in inside:
        if child.is_dir():
            continue
        if classes:
            files.skip(str(child), "beside class folders")
        else:
            files.add(child, split=split)
    for directory in classes:
        before = files.mark()
        _descend(directory, files, label=directory.name, split=split)
        files.require_any(str(directory), "add some, or remove the class folder", since=before)


def _descend(folder: Path, files: Files, *, label: str | None, split: Split | None, patient: str | None = None) -> None:
    """Collect the files of a folder and of all folders in it."""
    for child in children(folder):
        if not child.is_dir():
            files.add(child, label=label, split=split, patient=patient)
        elif not _notes_loop(child, files):
            inside = child.name if label and not patient else patient
            _descend(child, files, label=label, split=split, patient=inside)


def _notes_loop(folder: Path, files: Files) -> bool:
    """Return whether a folder is a link back to one that holds it, and note it if so."""
    loops = is_loop(folder)
    if loops:
        files.skip(str(folder), "a link back to a folder that holds it")
    return loops
