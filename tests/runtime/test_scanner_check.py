"""What pictures look like, how far that is from what a scanner's look like, and what a stream amounts to."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, get_args

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metfa.runtime import Bundle, Decision, Frame, Observation
from metfa.runtime.bundle import directory as bundles
from metfa.runtime.bundle import records
from metfa.runtime.decisions.scanner_check import (
    MIN_LOOKS,
    SCHEMA,
    WINDOW_SECONDS,
    ScannerCheck,
    ScannerReference,
    ScannerReport,
    ScannerSpace,
    ScannerStatistics,
    read_scanner_statistics,
)
from metfa.runtime.errors import BundleError
from metfa.runtime.frame import Unusable
from metfa.runtime.imaging.appearance import FEATURES, appearance
from metfa.runtime.sinks import Feeds, ScannerSink
from metfa.runtime.sinks.scanner import sentence

from .conftest import make_observation, make_prediction

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def speckle(seed: int, grain: float, height: int = 40, width: int = 56, brightness: float = 60) -> NDArray[np.uint8]:
    """A picture of speckle whose grain is that of a scanner."""
    noise = np.random.default_rng(seed).rayleigh(1.0, (height, width))
    smooth = cv2.GaussianBlur(noise, (0, 0), grain)
    return np.asarray(np.clip(smooth * brightness, 0, 255), np.uint8)


def reference(name: str, grain: float, limit: float = 4.0) -> ScannerReference:
    """A scanner described without whitening: ten pictures of its grain."""
    points = np.stack([appearance(speckle(seed, grain)) for seed in range(10)]).astype(np.float64)
    return ScannerReference(
        name=name,
        centre=(0.0,) * FEATURES,
        whitening=tuple(map(tuple, (np.eye(FEATURES) * 20).tolist())),
        points=tuple(map(tuple, (points * 20).tolist())),
        limit=limit,
    )


FINE, COARSE, COARSEST = 0.6, 1.5, 4.0
KNOWN = ScannerStatistics(SCHEMA, reference("fine", FINE), reference("coarse", COARSE))


def naive_appearance(picture: NDArray[np.uint8]) -> list[float]:
    """The definition, number by number."""
    pixels = [int(level) for level in picture.ravel()]
    variance = max(float(np.var(pixels)), 1.0)
    levels = (3, 12, 31, 63, 95, 127, 159, 191, 223, 250)
    shares = [math.sqrt(sum(pixel <= level for pixel in pixels) / len(pixels)) for level in levels]
    grey = picture.astype(float)
    rough, sparse = [], []
    for octave in range(3):
        if octave:
            grey = (grey[::2, ::2] + grey[1::2, ::2] + grey[::2, 1::2] + grey[1::2, 1::2]) / 4
        for rows in (grey, grey.T):
            first = [float(b - a) for row in rows for a, b in pairwise(row)]
            second = [
                float(c - 2 * b + a) for row in rows for a, b, c in zip(row[:-2], row[1:-1], row[2:], strict=True)
            ]
            power = float(np.mean(np.square(first)))
            rough += [
                math.log(power / variance + 1e-4),
                math.log(float(np.mean(np.square(second))) / variance + 1e-4),
            ]
            sparse.append(float(np.mean(np.abs(first))) / math.sqrt(power + 1e-3))
    return shares + rough + sparse


@pytest.mark.parametrize("picture", [speckle(0, 1.0, 32, 28), np.zeros((28, 32), np.uint8), speckle(1, 0.3, 28, 28)])
def test_the_appearance_is_what_its_definition_says(picture: NDArray[np.uint8]) -> None:
    assert appearance(picture).tolist() == pytest.approx(naive_appearance(picture), abs=1e-4)


@given(seed=st.integers(0, 99), gain=st.sampled_from([0.5, 2.0, 3.0]))
def test_the_texture_does_not_depend_on_the_gain(seed: int, gain: float) -> None:
    picture = (speckle(seed, 1.0, brightness=40) // 2) * 2
    louder = (picture * gain).astype(np.uint8)
    assert appearance(louder)[10:] == pytest.approx(appearance(picture)[10:], abs=0.01)


@given(data=st.data())
def test_the_distance_is_to_the_third_nearest_point(data: st.DataObject) -> None:
    generator = np.random.default_rng(data.draw(st.integers(0, 999)))
    count = data.draw(st.integers(1, 6))
    centre, features = generator.normal(size=(2, 4))
    whitening, points = generator.normal(size=(4, 4)), generator.normal(size=(count, 4))
    place = [sum((features[i] - centre[i]) * whitening[i, j] for i in range(4)) for j in range(4)]
    distances = sorted(math.sqrt(sum((a - b) ** 2 for a, b in zip(place, point, strict=True)) / 4) for point in points)
    assert ScannerSpace(centre, whitening, points).distance(features) == pytest.approx(distances[min(3, count) - 1])


def look(check: ScannerCheck, grains: list[float], start: float = 0.0) -> None:
    for number, grain in enumerate(grains):
        assert check.update(speckle(1000 + number, grain), start + 0.2 * number)


@pytest.mark.parametrize(
    ("grains", "verdict"),
    [
        ([FINE] * MIN_LOOKS, "source"),
        ([COARSE] * MIN_LOOKS, "target"),
        ([COARSEST] * MIN_LOOKS, "unknown"),
        ([COARSEST] * (MIN_LOOKS - 1), "not enough yet"),
        ([COARSEST] * 20 + [FINE] * 21, "source"),
        ([COARSEST] * 24 + [FINE] * 17, "target"),
        ([COARSEST] * 25 + [FINE] * 16, "unknown"),
        ([FINE] * 15 + [COARSE] * 16, "target"),
    ],
)
def test_the_verdict(grains: list[float], verdict: str) -> None:
    check = ScannerCheck(KNOWN)
    look(check, grains)
    report = check.report()
    assert (report.verdict, report.looks) == (verdict, len(grains))
    assert report.target is not None
    distances = {"source": report.source, "target": report.target}
    if verdict in distances:
        assert min(distances, key=distances.__getitem__) == verdict


def test_without_a_target_there_are_one_scanner_and_others() -> None:
    check = ScannerCheck(replace(KNOWN, target=None))
    look(check, [COARSE] * MIN_LOOKS)
    report = check.report()
    assert (report.verdict, report.target) == ("unknown", None)
    assert report.source > 1


def test_no_picture_is_no_verdict() -> None:
    report = ScannerCheck(KNOWN).report()
    assert (report.verdict, report.looks) == ("not enough yet", 0)
    assert math.isnan(report.source)


def test_only_the_last_half_minute_counts() -> None:
    check = ScannerCheck(KNOWN)
    look(check, [COARSEST] * MIN_LOOKS)
    look(check, [FINE] * MIN_LOOKS, start=WINDOW_SECONDS + 6)
    assert (check.report().verdict, check.report().looks) == ("source", MIN_LOOKS)
    check.restart()
    assert check.report().looks == 0


def test_pictures_a_moment_apart_are_one() -> None:
    check = ScannerCheck(KNOWN)
    looked = [check.update(speckle(number, FINE), number / 30) for number in range(11)]
    assert [number for number, was in enumerate(looked) if was] == [0, 5, 10]


def test_a_recording_that_begins_anew_is_looked_at() -> None:
    check = ScannerCheck(KNOWN)
    assert check.update(speckle(0, FINE), 100.0)
    assert check.update(speckle(1, FINE), 0.0)


def observe(grain: float, number: int, session: int = 0) -> Observation:
    picture = speckle(number, grain)
    prediction = make_prediction("plane", np.array([0.9, 0.1], np.float32), picture)
    return make_observation(Frame(picture, number, 1.0, "scan", session), prediction, time=0.2 * number)


def test_a_stream_says_once_what_its_scanner_is_like() -> None:
    said: list[str] = []
    with ScannerSink(KNOWN, said.append) as sink:
        assert sink.describe().endswith(
            "Too few images yet to tell whether they look like those the model was trained on."
        )
        for number in range(2 * MIN_LOOKS):
            sink.write(observe(COARSE, number))
            assert len(said) == (number >= MIN_LOOKS - 1)
        assert said[0].startswith("scanner check: In grey levels and texture, these images look like those of coarse, ")
        assert re.search(r"\(Distance \d+\.\d from fine, 0\.\d from coarse; the limit is 1\.\)$", said[0])
        assert sink.finding()[0].verdict == "target"
        for number in range(60, 400):
            sink.write(observe(COARSEST, number))
    assert len(said) == 2
    unlike = (
        "These images look unlike those the model was trained on (scanner, preset or gain). Treat its labels with care."
    )
    assert said[1].startswith(f"scanner check: {unlike} To adapt to them, collect frames with --collect DIR, then ")
    assert sink.describe() != said[1]  # which tells of the last half minute


def test_a_mistake_in_the_check_does_not_end_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(ScannerCheck, "update", None)
    with Feeds(live=False, notify=said.append) as feeds:
        feeds.add(ScannerSink(KNOWN, said.append))
        for number in range(3):
            feeds.put(observe(FINE, number))
    assert not feeds.failed
    (line,) = said
    assert line.startswith("scanner check: left out from here on: ")


def test_a_new_session_may_be_another_scanner() -> None:
    said: list[str] = []
    with ScannerSink(replace(KNOWN, target=None), said.append) as sink:
        for number in range(MIN_LOOKS):
            sink.write(observe(FINE, number))
        sink.write(observe(COARSE, MIN_LOOKS, session=1))
        assert sink.finding()[0].looks == 1
    assert said == [said[0]]
    assert "look like those of fine, which" in said[0]


@pytest.mark.parametrize(
    ("name", "shown"),
    [("phantom:A", "phantom:A"), ("/data/scans/E8/", "E8"), ("all.csv?scanner=E8", "all.csv?scanner=E8"), ("/", "/")],
)
def test_a_scanner_is_called_by_the_end_of_its_path(name: str, shown: str) -> None:
    text = sentence(ScannerReport("source", 0.5, None, MIN_LOOKS), [name])
    assert text == (
        f"In grey levels and texture, these images look like those of {shown}, which the model was trained on; "
        "what they show is not checked."
    )
    assert not re.search(r"\d\.\d", text)


@pytest.mark.parametrize("status", get_args(Unusable))
def test_pictures_that_show_nothing_tell_nothing(status: Unusable) -> None:
    with ScannerSink(KNOWN, print) as sink:
        sink.write(replace(observe(FINE, 0), decision=Decision(status, None, 0.0)))
    assert sink.finding()[0].looks == 0


def with_scanners(bundle: Path, content: bytes) -> Bundle:
    with bundles.updating(bundle, keep=lambda _: True) as stage:
        (stage / bundles.SCANNERS).write_bytes(content)
    return Bundle.open(bundle)


def test_the_statistics_come_back_from_a_bundle(bundle: Path) -> None:
    assert read_scanner_statistics(Bundle.open(bundle)) is None
    content = records.to_json(KNOWN, indent=None).encode()
    assert read_scanner_statistics(with_scanners(bundle, content)) == KNOWN


def edited(**changes: Any) -> bytes:
    text: str = records.to_json(replace(KNOWN, source=_unchecked(KNOWN.source, **changes)), indent=None)
    return text.encode()


def _unchecked(record: ScannerReference, **changes: Any) -> ScannerReference:
    """A copy whose values nobody has looked at."""
    copy = object.__new__(ScannerReference)
    for name in ("name", "centre", "whitening", "points", "limit"):
        object.__setattr__(copy, name, changes.get(name, getattr(record, name)))
    return copy


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "not JSON"),
        (b'{"schema": 2, "source": null, "target": null}', "source to be an object"),
        (records.to_json(KNOWN).replace('"schema": 1', '"schema": 2').encode(), "schema 2 where"),
        (edited(limit=0.0), r"limit 0\.0 is not above 0"),
        (edited(limit=math.nan), "limit nan is not above 0"),
        (edited(centre=(0.0,)), "not of 28 numbers"),
        (edited(points=()), "not of 28 numbers"),
    ],
)
def test_damaged_statistics_are_refused(bundle: Path, content: bytes, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        read_scanner_statistics(with_scanners(bundle, content))
