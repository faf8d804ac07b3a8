"""A plane as two DICOM objects, through highdicom: its best frame as an image, and a report that refers to it."""

from __future__ import annotations

import gc
import io
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import highdicom
import numpy as np
import pydicom
from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid
from pydicom.valuerep import DA, TM

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from ...frame import DicomOrigin

_IMAGES, _REPORTS = 9001, 9002  # series numbers, beyond those of scanners
_SCHEME = "99METFA"  # of codes that DICOM has none for
_SCHEME_NAME = "metfa: class names of a model, and times in a stream"
_PROCEDURE = sr.CodedConcept("25061-3", "LN", "US Unspecified body region")
_NOTHING = np.zeros((1, 1), np.uint8)
_CODE_VALUE, _CODE_MEANING = 16, 64  # lengths


@dataclass(frozen=True, slots=True)
class Equipment:
    """What made the objects.

    Attributes:
        version: of metfa.
        bundle: the digest of the bundle; empty where the model is of none.
    """

    version: str
    bundle: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What the report says of a plane.

    Attributes:
        plane: its name.
        confidence: the highest smoothed, calibrated probability, in [0, 1].
        start: of its first frame, in seconds into the stream.
        end: the same of its last.
        clock: local time at second 0 of the stream; None where that is not known, as of a recording.
    """

    plane: str
    confidence: float
    start: float
    end: float
    clock: datetime | None


def prepare() -> None:
    """Have highdicom read its tables, during which no other thread of the process runs for 0.3 s."""
    equipment = Equipment("0", "")
    make_image(_NOTHING, equipment, study=new_uid(), series=new_uid(), number=1, captured=None, origin=None)
    gc.freeze()  # or each full collection would go through the tables, which takes 0.1 s


def new_uid() -> str:
    """Return a UID that nothing else has."""
    return str(highdicom.UID())


def make_image(
    pixels: NDArray[np.uint8],
    equipment: Equipment,
    *,
    study: str,
    series: str,
    number: int,
    captured: datetime | None,
    origin: DicomOrigin | None,
) -> Dataset:
    """Return a Secondary Capture image of nobody; see :func:`identify`.

    ``BurnedInAnnotation`` is ``YES`` where the pixels are of a screen, which shows whose they are, or where the file
    that they come from says so. It is left out where nothing is known, and never ``NO``.

    Args:
        pixels: uint8 [H, W] or [H, W, 3] (BGR).
        equipment: what makes it.
        study: UID of its study.
        series: UID of its series.
        number: in its series, from 1.
        captured: local time when the frame was; None where that is not known.
        origin: the DICOM file that the frame is from.
    """
    is_grey = pixels.ndim == 2
    image = highdicom.sc.SCImage(
        pixels if is_grey else pixels[..., ::-1],
        "MONOCHROME2" if is_grey else "RGB",
        8,
        "PATIENT",
        study,
        series,
        _IMAGES,
        new_uid(),
        number,
        "metfa",
        manufacturer_model_name="metfa",
        software_versions=equipment.version,
        series_description="metfa: planes",
        patient_orientation=("A", "F"),  # which is demanded; nobody knows it, so that it is emptied below
    )
    image.Modality = "US"
    image.PatientOrientation, image.Laterality = [], ""
    image.TimezoneOffsetFromUTC = _time_zone()
    if captured is not None:
        image.AcquisitionDateTime = captured
        image.ContentDate, image.ContentTime = DA(captured.date()), TM(captured.time())
    if origin is None or origin.burned_in:
        image.BurnedInAnnotation = "YES"
    if origin is not None and origin.sop_class and origin.sop_instance:
        image.SourceImageSequence = [_reference(origin)]
    return image


def make_report(image: Dataset, finding: Finding, equipment: Equipment, *, series: str, number: int) -> Dataset:
    """Return an Enhanced SR by TID 1500, "Measurement Report", of nobody, in the study of ``image``.

    Args:
        image: of :func:`make_image`, which the report refers to.
        finding: what it says.
        equipment: what makes it.
        series: UID of its series.
        number: in its series, from 1.
    """
    observer = sr.ObserverContext(
        codes.DCM.Device,
        sr.DeviceObserverIdentifyingAttributes(
            generate_uid(entropy_srcs=["metfa", equipment.version, equipment.bundle]),  # the same for all its reports
            name="metfa",
            manufacturer_name="metfa",
            model_name="metfa",
        ),
    )
    report = sr.MeasurementReport(
        sr.ObservationContext(observer_device_context=observer),
        _PROCEDURE,
        [_group(image, finding, equipment)],
        title=codes.DCM.ImagingMeasurementReport,
    )
    document = sr.EnhancedSR(
        [image],
        report[0],
        series,
        _REPORTS,
        new_uid(),
        number,
        "metfa",
        is_complete=True,
        manufacturer_model_name="metfa",
        software_versions=equipment.version,
        series_description="metfa: reports on planes",
    )
    scheme = Dataset()
    scheme.CodingSchemeDesignator, scheme.CodingSchemeName = _SCHEME, _SCHEME_NAME
    document.CodingSchemeIdentificationSequence = [scheme]
    document.TimezoneOffsetFromUTC = _time_zone()
    return document


def identify(dataset: Dataset, identification: Mapping[str, str]) -> None:
    """Say whose an image or a report is, by the DICOM keywords of patient and study."""
    dataset.SpecificCharacterSet = "ISO_IR 192"  # UTF-8
    for keyword, value in identification.items():
        setattr(dataset, keyword, value)


def encode(dataset: Dataset) -> bytes:
    """Return the bytes of a DICOM file."""
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def _group(image: Dataset, finding: Finding, equipment: Equipment) -> sr.MeasurementsAndQualitativeEvaluations:
    """Return TID 1501: the plane with its probability and times, the image, and the algorithm."""
    plane = _concept(finding.plane, finding.plane)
    measurements = [
        sr.Measurement(codes.DCM.CertaintyOfFinding, round(100 * finding.confidence, 2), codes.UCUM.Percent)
    ]
    if finding.clock is None:
        measurements += [
            sr.Measurement(_concept(name, meaning), round(seconds, 3), codes.UCUM.Second)
            for name, meaning, seconds in (
                ("start", "Start of the plane in the stream", finding.start),
                ("end", "End of the plane in the stream", finding.end),
            )
        ]
    group = sr.MeasurementsAndQualitativeEvaluations(
        sr.TrackingIdentifier(highdicom.UID(), identifier=plane.meaning),
        algorithm_id=sr.AlgorithmIdentification(
            "metfa", equipment.version, [f"bundle {equipment.bundle}"] if equipment.bundle else None
        ),
        measurements=measurements,
        qualitative_evaluations=[sr.QualitativeEvaluation(codes.DCM.ImageView, plane)],
        source_images=[sr.SourceImageForMeasurementGroup(image.SOPClassUID, image.SOPInstanceUID)],
    )
    group[0].ContentSequence.extend(_times(finding))
    return group


def _times(finding: Finding) -> Iterator[sr.DateTimeContentItem]:
    if finding.clock is None:
        return
    for name, seconds in ((codes.DCM.DatetimeStarted, finding.start), (codes.DCM.DatetimeEnded, finding.end)):
        moment = finding.clock + timedelta(seconds=seconds)
        yield sr.DateTimeContentItem(name, moment, sr.RelationshipTypeValues.HAS_OBS_CONTEXT)


def _reference(origin: DicomOrigin) -> Dataset:
    """Return what refers to the image that a frame is from."""
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = origin.sop_class, origin.sop_instance
    if origin.frame_number is not None:
        reference.ReferencedFrameNumber = origin.frame_number
    return reference


def _time_zone() -> str:
    return f"{datetime.now().astimezone():%z}"


def _concept(value: str, meaning: str) -> sr.CodedConcept:
    """Return a code of metfa's own, without what codes must not hold."""
    value, meaning = (" ".join(re.sub(r"[\\\x00-\x1f\x7f]", " ", text).split()) for text in (value, meaning))
    if len(value) <= _CODE_VALUE:  # a longer one is a Long Code Value, of any length
        value = _cut(value, _CODE_VALUE)
    return sr.CodedConcept(value, _SCHEME, _cut(meaning, _CODE_MEANING))


def _cut(text: str, limit: int) -> str:
    """Return what fits of a text; the limits are of characters, which some programs take for bytes."""
    return text.encode()[:limit].decode(errors="ignore")
