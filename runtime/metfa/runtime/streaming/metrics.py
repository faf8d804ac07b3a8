"""What streams amount to, in Prometheus' text format, version 0.0.4."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from .summary import STALE_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from .summary import StreamSummary

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def to_prometheus(summaries: Mapping[str, StreamSummary]) -> str:
    """Return the metrics of the sources of these names; they carry the name as ``source``, unless it is empty."""
    return "".join(f"{line}\n" for line in _lines(summaries))


def _lines(summaries: Mapping[str, StreamSummary]) -> Iterator[str]:
    for name, (kind, text, samples) in _METRICS.items():
        yield f"# HELP metfa_{name} {text}"
        yield f"# TYPE metfa_{name} {kind}"
        for source, summary in summaries.items():
            of_source = {"source": source} if source else {}
            for suffix, labels, value in samples(summary):
                yield f"metfa_{name}{suffix}{_labels({**of_source, **labels})} {value:.10g}"


def _labels(labels: Mapping[str, str]) -> str:
    return f"{{{','.join(f'{name}={_quoted(value)}' for name, value in labels.items())}}}" if labels else ""


def _quoted(value: str) -> str:
    return f'"{value.translate(_ESCAPES)}"'


_Sample: TypeAlias = tuple[str, "Mapping[str, str]", float]


def _one(attribute: str) -> Callable[[StreamSummary], Iterator[_Sample]]:
    def samples(summary: StreamSummary) -> Iterator[_Sample]:
        yield "", {}, getattr(summary, attribute)

    return samples


def _each(attribute: str, label: str) -> Callable[[StreamSummary], Iterator[_Sample]]:
    def samples(summary: StreamSummary) -> Iterator[_Sample]:
        for value, number in getattr(summary, attribute).items():
            yield "", {label: value}, number

    return samples


def _latencies(summary: StreamSummary) -> Iterator[_Sample]:
    for share, milliseconds in (("0.5", summary.p50_ms), ("0.95", summary.p95_ms), ("0.99", summary.p99_ms)):
        yield "", {"quantile": share}, milliseconds / 1000
    yield "_sum", {}, summary.latency_s
    yield "_count", {}, summary.frames


def _bundle(summary: StreamSummary) -> Iterator[_Sample]:
    if summary.model is not None:
        yield "", {"bundle": summary.model.bundle, "backend": summary.model.backend}, 1


_METRICS: dict[str, tuple[str, str, Callable[[StreamSummary], Iterator[_Sample]]]] = {
    "frames_captured_total": ("counter", "Frames that the source delivered.", _one("captured")),
    "frames_classified_total": ("counter", "Frames that were classified.", _one("frames")),
    "frames_dropped_total": ("counter", "Frames dropped because newer ones were there.", _one("dropped")),
    "frames_stale_total": ("counter", f"Frames decided more than {STALE_MS:g} ms late.", _one("stale")),
    "reconnects_total": ("counter", "How often the source was lost and found again.", _one("losses")),
    "size_changes_total": ("counter", "How often the size of the pictures changed.", _one("size_changes")),
    "source_lost_seconds_total": ("counter", "Seconds without a source.", _one("lost_s")),
    "last_frame_age_seconds": ("gauge", "Seconds since the capture of the last frame.", _one("idle_s")),
    "capture_to_decision_seconds": ("summary", "Time from capture to decision, over the whole run.", _latencies),
    "label_frames_total": (
        "counter",
        "Frames by the plane that they were decided to show, or by why none.",
        _each("labels", "label"),
    ),
    "plane_events_total": ("counter", "Events by plane.", _each("events", "plane")),
    "sink_dropped_total": ("counter", "Frames that a slow sink missed.", _each("sink_drops", "sink")),
    "bundle_exchanges_total": ("counter", "How often the model of another bundle took over.", _one("exchanges")),
    "bundle_info": ("gauge", "The bundle whose model classified the last frame, by its digest.", _bundle),
}
