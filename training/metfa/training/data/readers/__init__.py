"""What a user names → the media of a domain, one file a form."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from metfa.runtime.errors import DataError

from ..spelling import did_you_mean
from .fetal_planes import is_fetal_planes, list_fetal_planes
from .files import Files
from .folder import list_folder
from .manifest import is_manifest, list_manifest, manifest_classes
from .phantom import list_phantom
from .recording import RATE
from .specification import SCHEMES, is_there, parse

if TYPE_CHECKING:
    from ..listing import Listing
    from .specification import Specification

__all__ = ["list_domain", "quick_classes"]


def list_domain(name: str) -> Listing:
    """List the media of a domain, without decoding a picture.

    Args:
        name: a folder, a manifest (``manifest.csv?column=value``), a recording or a DICOM file (``clip.mp4?rate=2``),
            an image, ``fetal-planes-db:FOLDER?machine=NAME``, or ``phantom:A``, ``phantom:B?scans=12``,
            ``phantom:PROFILE.json``; ``?label=none`` takes the labels of any away;
            see ``docs/data.md``.

    Raises:
        DataError: there is no such domain, it holds nothing that can be used, or what follows ``?`` is not understood.
        SourceError: a folder or a table cannot be read.
        ProfileError: there is no such phantom profile.
        MissingExtraError: there are DICOM files, and what reads them is not installed.
    """
    specification = parse(name)
    if not specification.is_unlabelled:
        return _list(specification)
    listing = _list(specification.labelled())
    if "none" in listing.classes:
        raise DataError(
            expected=f"no class of the name 'none' in {name}, as label=none takes all labels away",
            received="one",
            remedy="rename the class, or leave label=none out",
        )
    return replace(listing, entries=tuple(replace(entry, label=None) for entry in listing.entries))


def quick_classes(name: str) -> set[str] | None:
    """Return the classes of a domain where a table tells them, in a second; None where only a listing does.

    Raises:
        DataError, SourceError: as for :func:`list_domain`.
    """
    specification = parse(name)
    if specification.scheme or not is_manifest(Path(specification.path)) or is_fetal_planes(Path(specification.path)):
        return None
    classes = manifest_classes(specification.labelled())
    return set() if specification.is_unlabelled else classes


def _list(specification: Specification) -> Listing:
    """List the media of a domain, with their labels."""
    if specification.scheme == "phantom":
        return list_phantom(specification)
    path = Path(specification.path)
    if specification.scheme == "fetal-planes-db" or is_fetal_planes(path):
        return list_fetal_planes(specification)
    if is_manifest(path):
        return list_manifest(specification)
    if not is_there(path):
        scheme, _, _ = specification.path.partition(":")
        raise DataError(
            expected="a folder, a table (.csv, .tsv), a recording, DICOM, fetal-planes-db:FOLDER or phantom:NAME",
            received=f"{specification.name!r}, which is not there",
            remedy=f"{did_you_mean(scheme, SCHEMES)}check the path",
        )
    specification.refuse_options("rate")
    files = Files(specification.rate(RATE))
    if path.is_dir():
        list_folder(path, files)
    else:
        files.add(path)
    return files.listing(specification.name)
