"""A folder of class folders, or of files without classes; either perhaps divided into ``train``, ``val``, ``test``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metfa.runtime.errors import DataError
from metfa.runtime.files import reading

from ..listing import SPLITS

if TYPE_CHECKING:
    from pathlib import Path

    from ..listing import Split
    from .files import Files

_ABOUT = frozenset({"readme", "license", "licence", "copying", "changelog", "citation", "notice", "checksums"})
_TEXTS = frozenset({"", ".md", ".txt", ".rst", ".html", ".pdf", ".cff"})
_OF_SYSTEMS = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "md5sums", "sha1sums", "sha256sums", "sha512sums"})
_CHECKSUMS = frozenset({".md5", ".sha1", ".sha256", ".sha512"})

DICOM_DIRECTORY = "DICOMDIR"
"""The file that an exported medium has at its root; the folders beside it are patients and studies, not classes."""


def list_folder(folder: Path, files: Files) -> None:
    """Collect the media of a folder, sorted by name.

    ``CLASS/FILE`` is labelled, ``FILE`` is not; a folder inside a class folder, ``CLASS/PATIENT/…``, is taken for a
    patient. Hidden files are left alone, and so are those that are known to be no pictures: readmes, licences,
    checksums and what file managers leave behind.

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
    children = _children(folder)
    if (folder / DICOM_DIRECTORY).exists():
        _descend(folder, files, label=None, split=split)
        return
    classes = [child for child in children if child.is_dir() and not _is_loop(child, files)]
    for child in children:
        if child.is_dir():
            continue
        if classes:
            files.skip(str(child), "beside class folders")
        else:
            files.add(child, split=split)
    for directory in classes:
        before = len(files)
        _descend(directory, files, label=directory.name, split=split)
        if len(files) == before:
            raise DataError(
                expected=f"images, recordings or DICOM files in {directory}",
                received="none",
                remedy="add some, or remove the class folder",
            )


def _descend(folder: Path, files: Files, *, label: str | None, split: Split | None, patient: str | None = None) -> None:
    """Collect the files of a folder and of all folders in it."""
    for child in _children(folder):
        if not child.is_dir():
            files.add(child, label=label, split=split, patient=patient)
        elif not _is_loop(child, files):
            inside = child.name if label and not patient else patient
            _descend(child, files, label=label, split=split, patient=inside)


def _children(folder: Path) -> list[Path]:
    with reading(folder):
        return sorted(
            child
            for child in folder.iterdir()
            if not (child.name.startswith(".") or child.name == DICOM_DIRECTORY or _is_beside_the_point(child))
        )


def _is_beside_the_point(path: Path) -> bool:
    """Return whether a file is known to be no picture, by its name."""
    name, suffix = path.name.lower(), path.suffix.lower()
    named = name in _OF_SYSTEMS or suffix in _CHECKSUMS or (path.stem.lower() in _ABOUT and suffix in _TEXTS)
    return named and not path.is_dir()


def _is_loop(folder: Path, files: Files) -> bool:
    """Return whether a folder is a link back to one that holds it, and note it if so."""
    loops = folder.is_symlink() and folder.absolute().is_relative_to(folder.resolve())
    if loops:
        files.skip(str(folder), "a link back to a folder that holds it")
    return loops
