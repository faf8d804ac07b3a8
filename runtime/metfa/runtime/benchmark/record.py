"""What a benchmark measured: the record that it writes."""

from __future__ import annotations

from dataclasses import dataclass

from ..backends.choice import Precision

SCHEMA = 1
"""Version of the fields of :class:`BenchmarkRecord`."""


@dataclass(frozen=True, slots=True)
class Parity:
    """A way of running the model beside the reference, on the same frames.

    Attributes:
        logit_difference: largest |Δ| of a logit; None where one is not finite.
        same_label: share of frames with the same top class.
    """

    logit_difference: float | None
    same_label: float


@dataclass(frozen=True, slots=True)
class Latency:
    """What a call takes, from frames in host memory to logits and embedding in host memory.

    Attributes:
        batch: frames in a call.
        calls: how many were timed.
        p50_ms: median of a call.
        p95_ms: 95 % take at most this.
        p99_ms: 99 % take at most this.
        frames_per_second: over all calls.
        gpu_p50_ms: median of a call by the clock of an NVIDIA GPU, between CUDA events around what is enqueued; None
            elsewhere.
        gpu_p95_ms: 95 % take at most this.
        gpu_p99_ms: 99 % take at most this.
    """

    batch: int
    calls: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    frames_per_second: float
    gpu_p50_ms: float | None
    gpu_p95_ms: float | None
    gpu_p99_ms: float | None


@dataclass(frozen=True, slots=True)
class Measurement:
    """One way of running the model.

    Attributes:
        backend: as ``--backend`` names it.
        precision: as ``--precision`` names it.
        description: what runs the model, by its own account.
        artefact: the file of the bundle that it runs.
        sha256: of that file, in hexadecimal.
        parity: how far it is from the reference; None where there is no reference.
        latencies: of each batch that was measured, ascending.
    """

    backend: str
    precision: Precision
    description: str
    artefact: str
    sha256: str
    parity: Parity | None
    latencies: tuple[Latency, ...]

    @property
    def name(self) -> str:
        """Backend and precision."""
        return f"{self.backend} {self.precision}"


@dataclass(frozen=True, slots=True)
class BenchmarkRecord:
    """What was measured: ``benchmark.json``.

    Attributes:
        schema: version of these fields.
        software: name and version of what measured.
        model: what the bundle holds.
        host: the machine.
        frames: which were run.
        reference: what the others are compared with, FP32 on the CPU; None where nothing here runs that.
        seconds: of each measurement.
        turns: in which each was taken, side by side with the others.
        interrupted: whether a signal ended it early.
        measurements: one for each backend and precision that runs here.
        cannot_run_here: why the others do not, a line each.
    """

    schema: int
    software: str
    model: str
    host: dict[str, object]
    frames: str
    reference: str | None
    seconds: float
    turns: int
    interrupted: bool
    measurements: tuple[Measurement, ...]
    cannot_run_here: tuple[str, ...]
