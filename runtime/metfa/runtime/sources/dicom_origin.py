"""Whose a DICOM file is: patient and study, for what metfa writes beside it."""

from __future__ import annotations

from typing import Any

from pydicom.config import RAISE
from pydicom.datadict import dictionary_VR
from pydicom.multival import MultiValue
from pydicom.valuerep import validate_value

from ..frame import DicomOrigin

_PATIENT = ("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex")
_STUDY = (
    *("StudyInstanceUID", "StudyID", "StudyDate", "StudyTime", "AccessionNumber", "StudyDescription"),
    "ReferringPhysicianName",
)


def read_origin(dataset: Any) -> DicomOrigin | None:
    """Return whose a DICOM data set is; None where it names no study.

    Values that are none of their kind, such as a date that is no date, are left out.
    """
    values = {keyword: _value(dataset, keyword) for keyword in (*_PATIENT, *_STUDY)}
    if not values["StudyInstanceUID"]:
        return None
    return DicomOrigin(
        {keyword: value for keyword, value in values.items() if value},
        sop_class=_value(dataset, "SOPClassUID"),
        sop_instance=_value(dataset, "SOPInstanceUID"),
        burned_in=_value(dataset, "BurnedInAnnotation") == "YES",
    )


def _value(dataset: Any, keyword: str) -> str:
    value = dataset.get(keyword)
    text = "" if value is None or isinstance(value, MultiValue) else str(value).strip()
    try:
        validate_value(dictionary_VR(keyword), text, RAISE)
    except ValueError:
        return ""
    return text
