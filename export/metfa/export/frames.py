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

LIMIT = 64
"""So many frames of a source are compared; more show nothing new."""

_PHANTOM = "phantom:B"
_STILLS = 3  # of each plane of the phantom


@dataclass(frozen=True, slots=True)
class ParityFrames:
    """Frames as the model takes them.

    Attributes:
        tensor: uint8 [N, 1, H, W].
        description: what they are, for the report.
    """

    tensor: NDArray[np.uint8]
    description: str


def read_frames(spec: str, size: InputSpec, region: Roi) -> ParityFrames:
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
        raise SourceError(expected=f"frames in {spec}", received="none", remedy="correct --frames")
    return ParityFrames(np.stack(frames), spec)


def default_frames(bundle: Bundle | None, size: InputSpec) -> ParityFrames:
    """Return the reference frames that training left in ``bundle``; where there are none, stills of the phantom.

    Raises:
        BundleError: the reference frames are damaged.
    """
    if bundle is not None and REFERENCE in bundle.files:
        return ParityFrames(load_reference(bundle)[:LIMIT].numpy(), "the bundle's reference frames")
    frames = read_frames(_PHANTOM, size, None)
    return ParityFrames(frames.tensor, f"{_PHANTOM}, for want of frames of the device; name some with --frames")


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
