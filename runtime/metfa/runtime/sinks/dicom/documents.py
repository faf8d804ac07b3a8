"""Events as documents: whose they are, in which series, and when."""

from __future__ import annotations

import re
import secrets
import time
from datetime import datetime, timezone
from importlib.metadata import version
from typing import TYPE_CHECKING, NamedTuple

from ...files import utf8
from .objects import Equipment, Finding, encode, identify, make_image, make_report, new_uid, prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ...frame import DicomOrigin, Frame, Observation, PlaneEvent

_MAX_PLANE_LENGTH = 40  # characters of a plane's name in that of a file


class Document(NamedTuple):
    """What an event becomes.

    Attributes:
        name: what its files are called, without their endings. Names sort by time, and none is given twice.
        image: the file of the image.
        report: the file of the report.
    """

    name: str
    image: bytes
    report: bytes


class Documents:
    """Makes the documents of one stream.

    Those of a study are in two series, of images and of reports. Patient and study are those of the DICOM file that a
    frame is from, else those that the user gives, else new ones without a name.

    Args:
        live: whether the source is live, so that its times are those of the clock.
        study: whose the stream is where its frames do not say it.
        say: told in a line that nobody says whose it is.
    """

    def __init__(self, *, live: bool, study: DicomOrigin | None, say: Callable[[str], object]) -> None:
        self._live = live
        self._say = say
        self._given = None if study is None else study.identification
        self._anonymous: dict[str, str] = {}
        self._version = version("metfa")
        prepare()  # better now than at the first event
        self._bundle = ""
        # Once, so that times keep their order when somebody sets the clock.
        self._epoch = time.time() - time.monotonic()
        self._clock: datetime | None = None
        self._study = ""
        self._series = ("", "")
        self._number = 0

    def observe(self, observation: Observation) -> None:
        """Note what events do not tell: which model serves, and when the stream began."""
        if observation.model is not None:
            self._bundle = observation.model.bundle
        if self._live and self._clock is None:
            self._clock = self._local(observation.frame.captured_at - observation.time)
        self._identify(observation.frame)  # so that the user is told before the first event

    def make(self, event: PlaneEvent) -> Document:
        """Return the document of an event."""
        identification = self._identify(event.best)
        if identification["StudyInstanceUID"] != self._study:
            self._study = identification["StudyInstanceUID"]
            self._series, self._number = (new_uid(), new_uid()), 0
        self._number += 1
        equipment = Equipment(self._version, self._bundle)
        captured = self._local(event.best.captured_at)
        image = make_image(
            event.best.image,
            equipment,
            study=self._study,
            series=self._series[0],
            number=self._number,
            captured=captured if self._live else None,
            origin=event.best.origin,
        )
        finding = Finding(event.plane, event.confidence, event.start, event.end, self._clock)
        report = make_report(image, finding, equipment, series=self._series[1], number=self._number)
        for each in (image, report):
            identify(each, identification)
        return Document(_name(captured, event.plane), encode(image), encode(report))

    def _identify(self, frame: Frame) -> Mapping[str, str]:
        if frame.origin is not None:
            return frame.origin.identification
        if self._given is not None:
            return self._given
        if not self._anonymous:
            patient = f"metfa-{secrets.token_hex(4)}"  # of its own: archives put equal numbers together
            now = datetime.now()
            self._anonymous = {
                "PatientName": "Anonymous^",
                "PatientID": patient,
                "StudyInstanceUID": new_uid(),
                "StudyID": "metfa",
                "StudyDate": f"{now:%Y%m%d}",
                "StudyTime": f"{now:%H%M%S}",
            }
            self._say(
                f"nothing tells whose images these are: they go to a new study of patient {patient}; "
                "--dicom-study FILE takes patient and study from a DICOM file"
            )
        return self._anonymous

    def _local(self, captured_at: float) -> datetime:
        """Return the local time of one on the monotonic clock, without a zone."""
        return datetime.fromtimestamp(self._epoch + captured_at)


def _name(captured: datetime, plane: str) -> str:
    utc = captured.astimezone(timezone.utc)
    plane = re.sub(r"[^\w.-]+", "-", utf8(plane)).strip("-.")[:_MAX_PLANE_LENGTH]
    return f"{utc:%Y%m%dT%H%M%S}.{utc.microsecond // 1000:03}Z-{plane}-{secrets.token_hex(4)}"
