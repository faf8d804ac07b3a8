"""Every backend and precision that can run a bundle here, and why the others cannot."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from ..backends import Backend
from ..backends.choice import Precision, load_backend
from ..errors import MetfaError
from ..plugins import names_in
from .gpu_clock import Clock, gpu_clock

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from ..bundle.directory import Bundle

BATCHES = (1, 2, 4, 8)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way of running the model that works here.

    Attributes:
        name: of the backend, as ``--backend`` takes it.
        precision: as ``--precision`` takes it.
        backend: with the model loaded.
        clock: what times it on an NVIDIA GPU; None elsewhere.
    """

    name: str
    precision: Precision
    backend: Backend
    clock: Clock | None


def find_candidates(bundle: Bundle, frames: NDArray[np.uint8]) -> tuple[list[Candidate], list[str]]:
    """Return what runs every batch of ``frames``, uint8 [N, 1, H, W], and a line for each reason why others do not.

    Args:
        bundle: the bundle.
        frames: as many as the largest batch.
    """
    found: list[Candidate] = []
    refused: dict[tuple[str, str], list[str]] = {}
    for name in _names():
        for precision in get_args(Precision):
            try:
                backend, _ = load_backend(bundle, name, precision)
                for batch in BATCHES:
                    backend.infer(frames[:batch])
                found.append(Candidate(name, precision, backend, gpu_clock(name, backend, bundle)))
            except MetfaError as refusal:  # noqa: PERF203  # there are a dozen
                refused.setdefault((name, str(refusal)), []).append(precision)
    return found, [f"{name} {', '.join(precisions)}: {reason}" for (name, reason), precisions in refused.items()]


def _names() -> Iterator[str]:
    """Yield the names of all backends; OpenVINO's once for each device that it finds."""
    yield from ("tensorrt", "cuda", "cpu")
    if importlib.util.find_spec("openvino") is None:
        yield "openvino"
    else:
        from ..backends.openvino import available_devices

        yield from (f"openvino:{device}" for device in available_devices())
    yield from names_in("metfa.backends")
