"""One benchmark of a bundle: what runs here, what it computes, and how fast."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..backends.guard import interruptible
from ..bundle.contract import software
from ..command import Interruption
from ..errors import BackendError
from .candidates import BATCHES, find_candidates
from .comparison import compare
from .frames import benchmark_frames
from .machine import host
from .measure import TURNS, measure
from .record import SCHEMA, BenchmarkRecord, Measurement

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..bundle.directory import Bundle


def run_benchmark(
    bundle: Bundle, seconds: float, *, progress: Callable[[str], object] = lambda line: None
) -> BenchmarkRecord:
    """Time every backend, precision and batch that this host can run, and compare what they compute.

    A signal that comes while they are timed ends it with what was measured until then.

    Args:
        bundle: the bundle.
        seconds: to spend on each of them.
        progress: told in a few words what is done next.

    Raises:
        BackendError: nothing runs the bundle here.
        BundleError: nothing was exported yet, or the reference frames are damaged.
    """
    bundle.require_exported()
    progress("loading")
    compared = benchmark_frames(bundle)
    timed = np.resize(compared.frames, (max(BATCHES), *compared.frames.shape[1:]))  # repeated where there are few
    candidates, refused = find_candidates(bundle, timed)
    if not candidates:
        raise BackendError(
            expected=f"a backend that runs {bundle.directory} here",
            received=f"none ({'; '.join(refused)})",
            remedy="do what one of these reasons asks for",
        )
    progress("comparing")
    parities, reference = compare(candidates, compared.frames)
    with Interruption() as interruption:
        # In a thread, as in a stream: each call in the main thread would start one of its own.
        latencies = interruptible(
            lambda: measure(candidates, timed, seconds, stopped=lambda: interruption.requested, progress=progress)
        )
    contract = bundle.contract
    size = f"{contract.input.height} × {contract.input.width}"
    return BenchmarkRecord(
        schema=SCHEMA,
        software=software(),
        model=f"{contract.provenance.method}, {len(contract.labels)} classes, input {size}",
        host=host(),
        frames=compared.description,
        reference=reference,
        seconds=seconds,
        turns=TURNS,
        interrupted=interruption.requested,
        measurements=tuple(
            Measurement(
                backend=candidate.name,
                precision=candidate.precision,
                description=candidate.backend.description,
                artefact=candidate.backend.artefact,
                sha256=bundle.files[candidate.backend.artefact],
                parity=parity,
                latencies=of_batches,
            )
            for candidate, parity, of_batches in zip(candidates, parities, latencies, strict=True)
        ),
        cannot_run_here=tuple(refused),
    )
