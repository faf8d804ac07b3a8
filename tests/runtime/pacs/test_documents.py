"""The two DICOM objects of a plane, as pydicom, highdicom, DCMTK and dicom3tools read them."""

from __future__ import annotations

import io
import time
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("pydicom", reason="needs the extra pacs")
pytest.importorskip("highdicom", reason="needs the extra pacs")
pytest.importorskip("pynetdicom", reason="needs the extra pacs")

import pydicom  # after the skip
from highdicom import sr
from pydicom.sr.codedict import codes

from metfa.runtime.sinks.dicom import Documents
from metfa.runtime.sinks.dicom.queue import write

from .dcmtk import errors_in, report_in
from .planes import DOE, PIXELS, documents, event, frame, observation

if TYPE_CHECKING:
    from pathlib import Path

    from metfa.runtime.sinks.dicom.documents import Document

STRANGE = "a plane whose name is long, with \\ and ü, and goes on and on for 70 letters"
SINGLE = replace(DOE, frame_number=None)


def image_of(document: Document) -> Any:
    return pydicom.dcmread(io.BytesIO(document.image))


def group_of(document: Document) -> Any:
    """Return the only group of measurements, as highdicom reads it."""
    report = sr.EnhancedSR.from_dataset(pydicom.dcmread(io.BytesIO(document.report)))
    (group,) = sr.MeasurementReport.from_sequence(report.content, is_root=True).get_image_measurement_groups()
    return group


@pytest.mark.parametrize(
    ("live", "best", "plane"),
    [
        (True, frame(), "Femur"),
        (True, frame(pixels=PIXELS[..., 0]), STRANGE),
        (False, frame(origin=DOE), "Femur"),
        (False, frame(origin=SINGLE), "4CH"),
    ],
    ids=["a screen", "grey, and a strange name", "a cine", "an image"],
)
def test_a_validator_finds_no_error(live: bool, best: Any, plane: str, tmp_path: Path) -> None:
    write(tmp_path, documents(live=live).make(event(plane, best)))
    image, report = sorted(tmp_path.iterdir())
    assert (errors_in(image), errors_in(report)) == ([], [])


def test_dcmtk_reads_the_report(tmp_path: Path) -> None:
    write(tmp_path, documents(live=False).make(event(best=frame(origin=DOE))))
    _, report = sorted(tmp_path.iterdir())
    text = report_in(report)
    for expected in (
        'Algorithm Name")="metfa"',
        'Algorithm Parameters")="bundle 0e6620beae59"',
        'Certainty of Finding")="98.76" (%,UCUM,"Percent")',
        'Start of the plane in the stream")="0.25" (s,UCUM,',
        'Image View")=(Femur,99METFA,"Femur")',
        'IMAGE:(,,"Source of Measurement")=(SC image,)',
    ):
        assert expected in text
    assert "Doe^Jané (F, 1990-01-02, #4711)" in text


def test_highdicom_reads_the_report_and_the_report_refers_to_the_image() -> None:
    document = documents(live=False).make(event())
    group, image = group_of(document), image_of(document)
    (plane,) = group.get_qualitative_evaluations()
    assert (plane.name, plane.value.meaning) == (codes.DCM.ImageView, "Femur")
    values = {each.name.meaning: (each.value, each.unit.value) for each in group.get_measurements()}
    assert values == {
        "Certainty of Finding": (98.76, "%"),
        "Start of the plane in the stream": (0.25, "s"),
        "End of the plane in the stream": (2.5, "s"),
    }
    (source,) = group.source_images
    assert source.referenced_sop_instance_uid == image.SOPInstanceUID
    assert source.referenced_sop_class_uid == image.SOPClassUID


def test_the_image_is_the_best_frame() -> None:
    made = documents()
    colours, grey = image_of(made.make(event())), image_of(made.make(event(best=frame(pixels=PIXELS[..., 1]))))
    assert np.array_equal(colours.pixel_array, PIXELS[..., ::-1])  # RGB of BGR
    assert np.array_equal(grey.pixel_array, PIXELS[..., 1])
    assert (colours.Modality, grey.PhotometricInterpretation) == ("US", "MONOCHROME2")


@pytest.mark.parametrize(
    ("origin", "told"),
    [(None, "YES"), (DOE, None), (replace(DOE, burned_in=True), "YES")],
    ids=["a screen", "a file that says nothing", "a file that says so"],
)
def test_burned_in_names_are_never_denied(origin: Any, told: str | None) -> None:
    assert image_of(documents().make(event(best=frame(origin=origin)))).get("BurnedInAnnotation") == told


def test_a_live_plane_has_the_times_of_the_clock() -> None:
    made = Documents(live=True, study=None, say=lambda _: None)
    begin = time.monotonic() - 10  # of the stream
    made.observe(observation(frame(captured_at=begin + 1), seconds=1.0))
    document = made.make(event(best=frame(captured_at=begin + 2)))
    now = datetime.now()
    started, ended = (datetime.strptime(each, "%Y%m%d%H%M%S.%f") for each in date_times_in(document))
    assert ended - started == timedelta(seconds=2.25)
    assert abs(started - (now - timedelta(seconds=10 - 0.25))) < timedelta(seconds=1)
    image = image_of(document)
    captured = datetime.strptime(image.ContentDate + image.ContentTime, "%Y%m%d%H%M%S.%f")
    assert abs(captured - (now - timedelta(seconds=8))) < timedelta(seconds=1)
    assert image.TimezoneOffsetFromUTC == f"{now.astimezone():%z}"


def date_times_in(document: Document) -> list[str]:
    report = pydicom.dcmread(io.BytesIO(document.report))
    return [str(element.value) for element in report.iterall() if element.keyword == "DateTime"]


def test_patient_and_study_are_those_of_the_file() -> None:
    lines: list[str] = []
    made = Documents(live=False, study=replace(DOE, identification={"StudyInstanceUID": "9.9"}), say=lines.append)
    made.observe(observation(frame(origin=DOE)))
    document = made.make(event(best=frame(origin=DOE)))
    for each in (image_of(document), pydicom.dcmread(io.BytesIO(document.report))):
        assert {name: str(each[name].value) for name in DOE.identification} == DOE.identification
    (source,) = image_of(document).SourceImageSequence
    assert (source.ReferencedSOPInstanceUID, source.ReferencedFrameNumber) == ("1.2.3.4", 41)
    assert lines == []


def test_a_study_that_the_user_names_is_that_of_frames_without_one() -> None:
    document = documents(study=DOE).make(event())
    assert image_of(document).PatientID == "4711"
    assert "SourceImageSequence" not in image_of(document)  # the file that was named is no source


def test_without_anybody_each_stream_has_a_patient_of_its_own_and_says_so_once() -> None:
    lines: list[str] = []
    images = []
    for _ in range(2):
        made = documents(say=lines.append)
        images += [image_of(made.make(event())) for _ in range(2)]
    assert len({image.PatientID for image in images}) == len({image.StudyInstanceUID for image in images}) == 2
    assert [line.partition(":")[0] for line in lines] == ["nothing tells whose images these are"] * 2
    assert images[0].PatientID in lines[0]


def test_the_objects_of_a_study_are_in_two_series_and_counted() -> None:
    made = documents(live=False)
    other = replace(DOE, identification={**DOE.identification, "StudyInstanceUID": "1.2.9"})
    of_each = [image_of(made.make(event(best=frame(origin=origin)))) for origin in (DOE, DOE, other)]
    assert [image.InstanceNumber for image in of_each] == [1, 2, 1]
    assert of_each[0].SeriesInstanceUID == of_each[1].SeriesInstanceUID != of_each[2].SeriesInstanceUID
    document = made.make(event())
    report = pydicom.dcmread(io.BytesIO(document.report))
    assert (image_of(document).SeriesNumber, report.SeriesNumber, report.Modality) == (9001, 9002, "SR")
