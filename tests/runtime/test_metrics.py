"""The metrics as Prometheus reads them."""

from __future__ import annotations

import re
import time
from dataclasses import replace

import numpy as np

from metfa.runtime import Frame, Observation, PlaneEvent, StreamStatistics
from metfa.runtime.streaming.metrics import to_prometheus

from .conftest import make_observation, make_prediction

SAMPLE = re.compile(r'([a-z_]+)(?:\{([a-z]+)="((?:[^"\\\n]|\\["\\n])*)"\})? (\S+)')


def observe(index: int, plane: str | None, *, latency: float = 0.01, session: int = 0, losses: int = 0) -> Observation:
    frame = Frame(
        np.zeros((1, 1), np.uint8), index, captured_at=100 + index / 10, source="", session=session, losses=losses
    )
    prediction = make_prediction("", np.ones(1, np.float32), frame.image)
    return make_observation(frame, prediction, plane=plane, latency=latency)


def read(text: str) -> tuple[dict[tuple[str, str, str], float], dict[str, str]]:
    """Return samples by name, label and value, and kinds by name, from Prometheus' text format 0.0.4."""
    samples: dict[tuple[str, str, str], float] = {}
    kinds: dict[str, str] = {}
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in kinds
            kinds[name] = kind
        elif not line.startswith("# HELP "):
            match = SAMPLE.fullmatch(line)
            assert match, line
            key = (match[1], match[2] or "", match[3] or "")
            assert key not in samples
            samples[key] = float(match[4])
            assert re.sub("_(sum|count)$", "", match[1]) in kinds or match[1] in kinds
    return samples, kinds


def test_a_stream_as_prometheus_reads_it() -> None:
    statistics = StreamStatistics()
    for index, plane, latency in ((0, "4CH", 0.01), (1, 'a "b"\\\n', 0.01), (5, "4CH", 0.2), (6, None, 0.01)):
        statistics.add(observe(index, plane, latency=latency, session=index // 5, losses=index // 5))
    for _ in range(2):
        statistics.add(PlaneEvent("4CH", 0.0, 1.0, 0, 1, 0.9, Frame(np.zeros((1, 1), np.uint8), 0, 0.0, "")))
    statistics.add_sink_drop("video")
    samples, kinds = read(to_prometheus({"": statistics.summary()}))
    age = samples.pop(("metfa_last_frame_age_seconds", "", ""))
    assert abs(age - max(time.monotonic() - 100.6, 0)) < 60
    quantiles = {
        quantile: samples.pop(("metfa_capture_to_decision_seconds", "quantile", quantile))
        for quantile in ("0.5", "0.95", "0.99")
    }
    assert {quantile: round(seconds, 2) for quantile, seconds in quantiles.items()} == {
        "0.5": 0.01,
        "0.95": 0.2,
        "0.99": 0.2,
    }
    assert {key: round(value, 9) for key, value in samples.items()} == {
        ("metfa_frames_captured_total", "", ""): 7,
        ("metfa_frames_classified_total", "", ""): 4,
        ("metfa_frames_dropped_total", "", ""): 3,
        ("metfa_frames_stale_total", "", ""): 1,
        ("metfa_reconnects_total", "", ""): 1,
        ("metfa_size_changes_total", "", ""): 0,
        ("metfa_source_lost_seconds_total", "", ""): 0.4,
        ("metfa_capture_to_decision_seconds_sum", "", ""): 0.23,
        ("metfa_capture_to_decision_seconds_count", "", ""): 4,
        ("metfa_label_frames_total", "label", "4CH"): 2,
        ("metfa_label_frames_total", "label", "no plane"): 1,
        ("metfa_label_frames_total", "label", r"a \"b\"\\\n"): 1,
        ("metfa_plane_events_total", "plane", "4CH"): 2,
        ("metfa_sink_dropped_total", "sink", "video"): 1,
        ("metfa_bundle_exchanges_total", "", ""): 0,
    }
    assert {name for name, kind in kinds.items() if kind == "counter"} == {n for n in kinds if n.endswith("_total")}


def test_several_sources_are_told_apart_by_a_label() -> None:
    several = {name: StreamStatistics() for name in ("left room", "2")}
    several["2"].add(observe(0, "4CH", latency=0.01))
    lines = to_prometheus({name: each.summary() for name, each in several.items()}).splitlines()
    assert lines[2:4] == [
        'metfa_frames_captured_total{source="left room"} 0',
        'metfa_frames_captured_total{source="2"} 1',
    ]
    assert 'metfa_label_frames_total{source="2",label="4CH"} 1' in lines
    assert 'metfa_capture_to_decision_seconds_count{source="2"} 1' in lines
    families = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(families) == len(set(families))  # Prometheus takes each once


def test_before_the_first_frame_everything_is_zero() -> None:
    samples, _ = read(to_prometheus({"": StreamStatistics().summary()}))
    assert set(samples.values()) == {0.0}


def test_changes_of_size_are_no_losses() -> None:
    statistics = StreamStatistics()
    for index, (session, losses) in enumerate([(0, 0), (1, 0), (3, 0), (5, 1)]):  # what was dropped, counts
        statistics.add(observe(index, None, session=session, losses=losses))
    summary = statistics.summary()
    assert (summary.losses, summary.size_changes, round(summary.lost_s, 9)) == (1, 4, 0.1)
    assert summary.describe(live=True).splitlines()[2:4] == [
        "the source was lost and found again once, 0.1 s without it",
        "the size of its pictures changed 4 times",
    ]


def test_sessions_whose_end_the_source_knew_are_no_changes_of_size() -> None:
    statistics = StreamStatistics()
    for index, (session, last) in enumerate([(0, True), (1, False), (1, True), (2, False), (3, True)]):
        observation = observe(index, None, session=session)
        statistics.add(replace(observation, frame=replace(observation.frame, last=last)))
    assert statistics.summary().size_changes == 1
