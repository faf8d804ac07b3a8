"""The frames that artefacts are compared on."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from metfa.runtime.errors import SourceError
from metfa.runtime.phantom import BACKGROUND, PLANES, Phantom, load_profile
from metfa.runtime.preprocess import preprocess
from metfa.runtime.sector import SectorTracker
from metfa.runtime.sources import open_source
from metfa.training.weights import REFERENCE, load_reference

if TYPE_CHECKING:
    from collections.abc import Iterator

    from metfa.runtime.bundle import Bundle
    from metfa.runtime.contract import InputSpec, Roi

LIMIT = 128
"""So many frames of a source are compared: one wrong frame in a hundred shows."""

_PHANTOM = "phantom:B"
_STILLS = 3  # of each plane of the phantom


@dataclass(frozen=True, slots=True)
class FrameSet:
    """Frames of one domain, as the model takes them.

    Attributes:
        name: ``source``, ``target``, or what the user named.
        description: what they are, for the report.
        frames: uint8 [N, 1, H, W].
        labels: int64 [N], the index of the true class of each; None where they are not labelled.
    """

    name: str
    description: str
    frames: NDArray[np.uint8]
    labels: NDArray[np.int64] | None = None


def read_frames(spec: str, size: InputSpec, region: Roi) -> FrameSet:
    """Read up to ``LIMIT`` frames of what ``spec`` names; of ``phantom:NAME``, stills of every plane.

    Raises:
        SourceError: there is no such source, it has no frames, or ``region`` reaches beyond them.
        ProfileError: there is no such device profile of the phantom.
    """
    tracker = SectorTracker(region)
    frames = [
        preprocess(image, height=size.height, width=size.width, region=tracker.region(image))
        for image in islice(_images(spec), LIMIT)
    ]
    if not frames:
        raise SourceError(expected=f"frames in {spec}", received="none", remedy="name another source of frames")
    return FrameSet(spec, "as named", np.stack(frames))


def default_frames(bundle: Bundle | None, size: InputSpec) -> tuple[FrameSet, ...]:
    """Return the reference frames of both domains that training left in ``bundle``, or else stills of the phantom.

    Raises:
        BundleError: the reference frames are damaged.
    """
    if bundle is not None and REFERENCE in bundle.files:
        reference = load_reference(bundle)
        source_labels = reference.source_labels.numpy()
        return (
            FrameSet("target", "unlabelled, held out", reference.target.numpy()),
            FrameSet("source", "labelled, held out for validation", reference.source.numpy(), source_labels),
        )
    frames = read_frames(_PHANTOM, size, None)
    return (FrameSet(_PHANTOM, "for want of frames of the device; name some with --frames", frames.frames),)


def _images(spec: str) -> Iterator[NDArray[np.uint8]]:
    if spec.startswith("phantom:"):
        phantom = Phantom(load_profile(spec.removeprefix("phantom:")))
        for plane in (*PLANES, BACKGROUND):
            for seed in range(_STILLS):
                yield phantom.image(plane, seed)
    else:
        with open_source(spec) as source:
            for frame in source:
                yield frame.image
