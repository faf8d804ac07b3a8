"""Planes that were held, and their documents."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from metfa.runtime import Frame, ModelIdentity, PlaneEvent
from metfa.runtime.frame import DicomOrigin, Observation
from metfa.runtime.sinks.dicom.documents import Document, Documents

from ..conftest import make_observation, make_prediction

if TYPE_CHECKING:
    from collections.abc import Callable

PIXELS = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
DOE = DicomOrigin(
    {
        "PatientName": "Doe^Jané",
        "PatientID": "4711",
        "PatientBirthDate": "19900102",
        "PatientSex": "F",
        "StudyInstanceUID": "1.2.3",
        "StudyID": "7",
        "StudyDate": "20261126",
        "StudyTime": "101500",
        "AccessionNumber": "A1",
    },
    sop_class="1.2.840.10008.5.1.4.1.1.3.1",
    sop_instance="1.2.3.4",
    frame_number=41,
)


def frame(*, pixels: np.ndarray = PIXELS, origin: DicomOrigin | None = None, captured_at: float | None = None) -> Frame:
    return Frame(pixels, 40, time.monotonic() if captured_at is None else captured_at, "scan", origin=origin)


def event(plane: str = "Femur", best: Frame | None = None) -> PlaneEvent:
    return PlaneEvent(plane, 0.25, 2.5, 6, 75, 0.9876, best or frame())


def observation(of: Frame, seconds: float = 0.0) -> Observation:
    prediction = make_prediction("Femur", np.array([0.9, 0.1], np.float32), np.zeros((2, 2), np.uint8))
    made = make_observation(of, prediction, time=seconds)
    return Observation(
        made.frame, made.prediction, made.decision, seconds, made.decided_at, model=ModelIdentity("0e6620beae59", "CPU")
    )


def documents(
    *, live: bool = True, study: DicomOrigin | None = None, say: Callable[[str], object] = lambda _: None
) -> Documents:
    made = Documents(live=live, study=study, say=say)
    made.observe(observation(frame()))
    return made


def document(pixels: np.ndarray = PIXELS) -> Document:
    return documents().make(event(best=frame(pixels=pixels)))
