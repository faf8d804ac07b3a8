"""The frames that artefacts are compared and calibrated on."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from metfa.runtime.bundle.directory import REFERENCE
from metfa.runtime.errors import MetfaError, SourceError
from metfa.runtime.imaging.preprocess import preprocess
from metfa.runtime.imaging.sector import SectorTracker
from metfa.training.data.readers import list_domain
from metfa.training.data.store import spread
from metfa.training.weights import load_reference

if TYPE_CHECKING:
    from collections.abc import Iterator

    from metfa.runtime.bundle.contract import InputSpec, Roi
    from metfa.runtime.bundle.directory import Bundle
    from metfa.runtime.imaging.coded import Image
    from metfa.training.data.listing import Medium

LIMIT = 128
"""So many frames of a source are compared: one wrong frame in a hundred shows."""

_PHANTOM = "phantom:B"
_STILLS = 24  # of the phantom, which takes its time to draw them


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


def read_frames(spec: str, size: InputSpec, region: Roi, limit: int = LIMIT) -> FrameSet:
    """Read up to ``limit`` frames of a domain, spread evenly over it; what cannot be read is left out.

    Raises:
        DataError: there is no such domain.
        SourceError: it has no frames, or ``region`` reaches beyond them.
        ProfileError: there is no such scanner profile of the phantom.
    """
    entries = list_domain(spec).entries
    of_each = -(-limit // len(entries))
    tracker = SectorTracker(region)
    frames: list[NDArray[np.uint8]] = []
    for number in spread(len(entries), limit):
        entry = entries[number]
        frames += [
            preprocess(image, height=size.height, width=size.width, region=tracker.region(image, entry.region))
            for image in islice(_pictures(entry.medium), of_each)
        ]
    if not frames:
        raise SourceError(
            expected=f"frames in {spec}", received="none that can be decoded", remedy="name another domain"
        )
    return FrameSet(spec, "as named", np.stack(frames[:limit]))


def default_frames(bundle: Bundle | None, size: InputSpec) -> tuple[FrameSet, ...]:
    """Return the reference frames that training left in ``bundle``, or else the target's, or stills of the phantom.

    Where training was to leave no frames, the target is read again if it is there.

    Raises:
        BundleError: the reference frames are damaged.
    """
    if bundle is not None and REFERENCE in bundle.files:
        reference = load_reference(bundle)
        source_labels = reference.source_labels.numpy()
        of_target = FrameSet("target", "unlabelled, held out", reference.target.numpy())
        if not len(source_labels):  # the source's images were not there
            return (of_target,)
        held_out = "labelled, held out for validation"
        return of_target, FrameSet("source", held_out, reference.source.numpy(), source_labels)
    target = bundle.contract.provenance.target if bundle is not None else None
    if target is not None and target != _PHANTOM:
        with suppress(MetfaError):
            read = read_frames(target, size, size.region)
            return (FrameSet("target", "of all that is there, as the bundle holds none", read.frames),)
    frames = read_frames(_PHANTOM, size, None, _STILLS)
    return (FrameSet(_PHANTOM, "for want of frames of the scanner; name some with --frames", frames.frames),)


def calibration_frames(bundle: Bundle | None) -> FrameSet:
    """Return the unlabelled training frames of the target that training left in ``bundle``.

    Raises:
        BundleError: they are damaged.
        SourceError: there are none.
    """
    if bundle is None or REFERENCE not in bundle.files:
        raise SourceError(
            expected="frames of the scanner, for the ranges of INT8",
            received="a bundle without",
            remedy="name some with --calibration, other ones than those of --frames",
        )
    return FrameSet("calibration", "unlabelled, of training", load_reference(bundle).calibration.numpy())


def _pictures(medium: Medium) -> Iterator[Image]:
    with suppress(SourceError):
        yield from medium.read()
