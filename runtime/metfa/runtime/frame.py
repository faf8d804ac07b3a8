"""What flows through the stream: a frame, what the model says of it, what that amounts to, and all of it together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .bundle.contract import Region
from .imaging.coded import Image, to_colours
from .imaging.preprocess import to_grey


@dataclass(frozen=True, slots=True)
class DicomOrigin:
    """Whose image a frame is, as the DICOM file says that it comes from.

    Attributes:
        identification: what the file says of patient and study, by DICOM keyword, with at least ``StudyInstanceUID``.
        sop_class: UID of the file's SOP class.
        sop_instance: UID of the file's SOP instance.
        frame_number: of the frame in the file, from 1; None where the file holds one image.
        burned_in: whether the file says that its pixels tell whose they are.
    """

    identification: Mapping[str, str]
    sop_class: str
    sop_instance: str
    frame_number: int | None = None
    burned_in: bool = False


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture as its source delivered it.

    The model sees grey, and video holds it as such. So the colours of a video are decoded only where ``image`` is
    asked for.

    Attributes:
        pixels: uint8 [H, W] grey or [H, W, 3] in OpenCV's order of colours (blue, green, red), or an image of a video.
        index: number of the frame in its source, from 0; frames that were dropped keep their numbers.
        captured_at: seconds on the monotonic clock (``time.monotonic``) when the frame became available.
        source: what the frame came from: a device, a file, the name of an image.
        session: how often the source had begun anew, lost and found again or with another size; nothing carries over
            from one session to the next.
        losses: how often it had been lost and found again.
        time: seconds into its recording; None where ``index`` and the rate of the source tell.
        region: the part of the image that holds the ultrasound, where its source says so.
        origin: whose image it is, where it is from a DICOM file that says so.
        last: whether its source knows that it is the last of its session. The only one of a session is a single image.
    """

    pixels: Image
    index: int
    captured_at: float
    source: str
    session: int = 0
    losses: int = 0
    time: float | None = None
    region: Region | None = None
    origin: DicomOrigin | None = None
    last: bool = False

    @property
    def image(self) -> NDArray[np.uint8]:
        """Uint8 [H, W] grey or [H, W, 3] (BGR), to draw or save; of a video decoded once, for any thread."""
        return to_colours(self.pixels)

    @property
    def grey(self) -> NDArray[np.uint8]:
        """Uint8 [H, W], the grey levels that the model's input is made of; computed each time."""
        return to_grey(self.pixels)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says of one frame.

    Attributes:
        label: the most probable class.
        confidence: its probability, in [0, 1].
        probabilities: float32 [M], in the order of the contract's labels; calibrated.
        embedding: float32 [D], the mean μ of the Gaussian embedding.
        logits: float32 [M]; divided by the contract's temperature, what the probabilities are the softmax of.
        picture: uint8 [H, W], what the model saw: the frame cropped, grey and of the input's size.
    """

    label: str
    confidence: float
    probabilities: NDArray[np.float32]
    embedding: NDArray[np.float32]
    logits: NDArray[np.float32]
    picture: NDArray[np.uint8]


Unusable: TypeAlias = Literal["frozen", "no signal", "saturated"]
"""Why a picture shows nothing that could be labelled."""

Status: TypeAlias = Literal["plane", "undecided", "no plane"] | Unusable
"""What a stream shows: a plane, perhaps one, none that the model knows, or no usable picture."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What the frames up to now amount to.

    Attributes:
        status: what the stream shows.
        plane: the plane where the status is ``plane``, otherwise None.
        confidence: its smoothed, calibrated probability, in [0, 1]; of the likeliest plane where there is none.
    """

    status: Status
    plane: str | None
    confidence: float

    def __str__(self) -> str:
        if self.plane is not None:
            return f"{self.plane} {self.confidence:.0%}"
        return "no plane" if self.status == "undecided" else self.status


@dataclass(frozen=True, slots=True)
class PlaneEvent:
    """A plane that was held for a while.

    Attributes:
        plane: its name.
        start: seconds into the stream, on the clock of ``Observation.time``, of its first frame.
        end: the same of its last.
        start_index: number of its first frame.
        end_index: number of its last.
        confidence: the highest smoothed, calibrated probability on the way, in [0, 1].
        best: its most certain, sharpest frame.
    """

    plane: str
    start: float
    end: float
    start_index: int
    end_index: int
    confidence: float
    best: Frame


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which model it is, and what runs it.

    Attributes:
        bundle: the digest of its bundle; empty where it is of none.
        backend: what runs it, in a few words.
    """

    bundle: str
    backend: str

    def __str__(self) -> str:
        return f"bundle {self.bundle}, {self.backend}" if self.bundle else self.backend


@dataclass(frozen=True, slots=True)
class Observation:
    """A frame, what was made of it, and when that was there.

    Attributes:
        frame: the classified frame.
        prediction: what the model says of it alone.
        decision: what it amounts to, with the frames before it.
        time: seconds into the stream: into the recording, or since the first frame of a live source.
        decided_at: seconds on the same clock as ``frame.captured_at``.
        region: the part of the frame that the model saw; None where that is all of it.
        model: what classified the frame, where that is known.
    """

    frame: Frame
    prediction: Prediction
    decision: Decision
    time: float
    decided_at: float
    region: Region | None = None
    model: ModelIdentity | None = None

    @property
    def latency_ms(self) -> float:
        """Milliseconds from capture to decision."""
        return 1000 * (self.decided_at - self.frame.captured_at)
