"""Which files may hold pictures: what a file begins with, and what of a folder is left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..files import reading

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DICOM_DIRECTORY = "DICOMDIR"
"""The file that an exported medium has at its root; the folders beside it are patients and studies, not classes."""

_ABOUT = frozenset({"readme", "license", "licence", "copying", "changelog", "citation", "notice", "checksums"})
_TEXTS = frozenset({"", ".md", ".txt", ".rst", ".html", ".pdf", ".cff"})
_OF_SYSTEMS = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "md5sums", "sha1sums", "sha256sums", "sha512sums"})
_CHECKSUMS = frozenset({".md5", ".sha1", ".sha256", ".sha512"})
_FOLDERS_OF_SYSTEMS = frozenset(
    {
        "lost+found",
        "__macosx",
        "system volume information",
        "$recycle.bin",
        "recycler",
        "@eadir",
        "#recycle",
        "found.000",
    }
)

_FIRST_ELEMENTS = frozenset(bytes([group, 0, element, 0]) for group in (2, 8) for element in range(0x20))


def children(folder: Path) -> list[Path]:
    """Return what is in a folder, sorted by name.

    Hidden files and folders are left alone, and so are those that are known to hold no pictures: readmes, licences,
    checksums, and what systems and file managers leave behind.

    Raises:
        SourceError: the folder cannot be read.
    """
    with reading(folder):
        return sorted(child for child in folder.iterdir() if not _is_beside_the_point(child))


def files_in(folder: Path) -> Iterator[Path]:
    """Yield the regular files of a folder and of all folders in it, as they are sorted by :func:`children`.

    Raises:
        SourceError: a folder cannot be read.
    """
    for child in children(folder):
        if child.is_file():  # no pipe or device, which would hang whoever reads it
            yield child
        elif child.is_dir() and not is_loop(child):
            yield from files_in(child)


def is_loop(folder: Path) -> bool:
    """Return whether a folder is a link back to one that holds it."""
    return folder.is_symlink() and folder.absolute().is_relative_to(folder.resolve())


def _is_beside_the_point(path: Path) -> bool:
    """Return whether something in a folder is known to be no picture, by its name."""
    name, suffix = path.name.lower(), path.suffix.lower()
    if name.startswith(".") or path.name == DICOM_DIRECTORY or name in _FOLDERS_OF_SYSTEMS:
        return True
    named = name in _OF_SYSTEMS or suffix in _CHECKSUMS or (path.stem.lower() in _ABOUT and suffix in _TEXTS)
    return named and not path.is_dir()


def is_dicom(path: Path) -> bool:
    """Return whether a file is DICOM by its name, or by what it begins with.

    Raises:
        OSError: it cannot be read.
    """
    if path.suffix.lower() in {".dcm", ".dicom"}:
        return True
    with path.open("rb") as file:
        return begins_like_dicom(file.read(132))


def begins_like_dicom(head: bytes) -> bool:
    """Return whether 132 bytes are the beginning of a DICOM file, with its preamble or without.

    Without one, a file begins with an element of its meta information (0002,00xx) or of its identification (0008,00xx).
    """
    return head[128:] == b"DICM" or (len(head) > 8 and head[:4] in _FIRST_ELEMENTS)
