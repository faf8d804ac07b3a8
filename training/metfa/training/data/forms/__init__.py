"""What a user names → the media of a domain, one file a form."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from metfa.runtime.errors import DataError

from .fetal_planes import is_fetal_planes, list_fetal_planes
from .files import Files
from .folder import list_folder
from .manifest import is_manifest, list_manifest
from .phantom import list_phantom
from .recording import RATE
from .specification import is_there, parse

if TYPE_CHECKING:
    from ..listing import Listing

__all__ = ["list_domain"]


def list_domain(name: str) -> Listing:
    """List the media of a domain, without decoding a picture.

    Args:
        name: a folder, a manifest (``manifest.csv?column=value``), a recording or a DICOM file (``clip.mp4?rate=2``),
            an image, ``fetal-planes-db:FOLDER?machine=NAME``, or ``phantom:A``, ``phantom:B``,
            ``phantom:PROFILE.json``; see ``docs/data.md``.

    Raises:
        DataError: there is no such domain, it holds nothing that can be used, or what follows ``?`` is not understood.
        SourceError: a folder or a table cannot be read.
        ProfileError: there is no such phantom profile.
        MissingExtraError: there are DICOM files, and what reads them is not installed.
    """
    specification = parse(name)
    if specification.scheme == "phantom":
        return list_phantom(specification)
    path = Path(specification.path)
    if specification.scheme == "fetal-planes-db" or is_fetal_planes(path):
        return list_fetal_planes(specification)
    if is_manifest(path):
        return list_manifest(specification)
    specification.refuse_options("rate")
    if not is_there(path):
        raise DataError(
            expected="a folder, a table (.csv, .tsv), a recording, DICOM, fetal-planes-db:FOLDER or phantom:NAME",
            received=f"{name!r}, which is not there",
            remedy="check the path",
        )
    files = Files(specification.rate(RATE))
    if path.is_dir():
        list_folder(path, files)
    else:
        files.add(path)
    return files.listing(name)
