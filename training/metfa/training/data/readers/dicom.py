"""DICOM files, still or cine: their pictures, where these show ultrasound, and of whom, without naming anybody."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydicom.multival import MultiValue

from metfa.runtime.bundle.contract import Region  # noqa: TC001  # typing.NamedTuple needs it
from metfa.runtime.errors import SourceError
from metfa.runtime.files import utf8
from metfa.runtime.sources.dicom import DicomCine, read_dataset, read_regions, reading_dicom

from .image import file_identity, require_size
from .recording import sample

if TYPE_CHECKING:
    from collections.abc import Iterator

    from metfa.runtime.imaging.coded import Image

_NAMING = ("PatientID", "PatientName", "OtherPatientIDs", "AccessionNumber")
_TAGS = [*_NAMING, "PatientBirthDate", "StudyInstanceUID", "Rows", "Columns", "SequenceOfUltrasoundRegions"]
_NOBODY = re.compile(r"[\W_0]*|anon(ymous|ymized|ymised)?|unknown|none|n/?a|test", re.IGNORECASE)
"""What stands for a patient's number in files that have been anonymised; it tells no two patients apart."""


@dataclass(frozen=True, slots=True)
class DicomFile:
    """A DICOM file; see :class:`~metfa.training.data.listing.Medium`.

    Attributes:
        path: the file.
        name: its path, without what the file says of its patient: names, numbers, date of birth.
        rate: frames per second to take of a cine.
    """

    path: Path
    name: str
    rate: float

    def identity(self) -> str:
        """Return what changes when the pictures do."""
        return f"{file_identity(self.path)} {self.rate}"

    def read(self) -> Iterator[Image]:
        """Yield the frames that show something new; what lies outside the ultrasound regions is black."""
        try:
            with DicomCine(self.path) as source:
                for picture in sample(source, self.rate):
                    require_size(picture, self.name)
                    yield picture
        except SourceError as error:
            raise SourceError(
                expected=f"frames in the DICOM file {self.name}", received=error.received, remedy=error.remedy
            ) from None


class Header(NamedTuple):
    """What is known of a DICOM file before its pictures are decoded.

    Attributes:
        name: what to call the file.
        patient: tells the patient from others, to be counted only; None where the file does not.
        region: the part of the frames that holds the image, where the file says so.
    """

    name: str
    patient: str | None
    region: Region | None


def read_header(path: Path) -> Header:
    """Read what a DICOM file says before its pixels.

    Patients are told apart by Patient ID, and where that was removed by Study Instance UID.

    Raises:
        SourceError: the file is no DICOM, is damaged, or has no pictures.
    """
    with reading_dicom(path):
        dataset = read_dataset(path, stop_before_pixels=True, specific_tags=_TAGS)
        if "Rows" not in dataset:
            raise ValueError("a file without pixels")
        number = str(dataset.get("PatientID") or "").strip()
        study = str(dataset.get("StudyInstanceUID") or "").strip()
        words = [word for tag in _NAMING for word in re.split(r"[\s^=,\\]+", _text(dataset.get(tag)))]
        birth = _dates(str(dataset.get("PatientBirthDate") or ""))
        region = read_regions(dataset).image
    patient = number if not _NOBODY.fullmatch(number) else study
    return Header(_without(utf8(str(path)), [number, *words], birth), patient or None, region)


def _text(value: object) -> str:
    """Return a value of DICOM as text; several are separated by backslashes."""
    return "\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value or "")


def _dates(date: str) -> list[str]:
    """Return patterns of a date, YYYYMMDD, in any order and with any separators."""
    year, month, day = date[:4], date[4:6], date[6:8]
    if not day:
        return []
    return ["[-_. ]?".join(order) for order in ((year, month, day), (day, month, year), (month, day, year))]


def _without(name: str, words: list[str], patterns: list[str]) -> str:
    """Return a name in which a star stands for each word and pattern, but for words that tell nothing of anybody."""
    telling = [re.escape(word) for word in words if len(word) > 2 and not _NOBODY.fullmatch(word)]
    for pattern in [*patterns, *sorted(telling, key=len, reverse=True)]:
        name = re.sub(pattern, "*", name, flags=re.IGNORECASE)
    return name
