"""The decision logic against a naive oracle, and what must hold whatever a stream shows."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from metfa.runtime import Decision, DecisionSpec, Frame, PlaneEvent, Prediction
from metfa.runtime.bundle.contract import Rejection
from metfa.runtime.decisions.decider import Decider, StillDecider, rejection_score, why_nothing_is_shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LABELS = ("4CH", "Background", "Femur")
SPEC = DecisionSpec(
    temperature=1.0,
    rejection=Rejection("max-logit", 0.0),
    background=("Background",),
    smoothing_ms=100.0,
    enter=0.6,
    exit=0.4,
    dwell_ms=50.0,
    gap_ms=500.0,
)
CERTAIN = {"4CH": (0.98, 0.01, 0.01), "Background": (0.01, 0.98, 0.01), "Femur": (0.01, 0.01, 0.98)}

random = np.random.default_rng(0)
SCENE = np.asarray(np.linspace(30, 200, 40) + np.zeros((32, 1)), np.uint8)
PICTURES = [SCENE + random.integers(0, 40, SCENE.shape, np.uint8) for _ in range(7)]
BLACK = np.zeros_like(SCENE)


@dataclass(frozen=True)
class Seen:
    """What a stream shows at a time: how probable each label is, whether that is rejected, and a picture."""

    time: float
    probabilities: tuple[float, float, float]
    rejected: bool = False
    picture: NDArray[np.uint8] | None = None


def predict(seen: Seen, picture: NDArray[np.uint8]) -> Prediction:
    probabilities = np.array(seen.probabilities, np.float32)
    logits = np.full(3, -1.0 if seen.rejected else 1.0, np.float32)
    best = int(probabilities.argmax())
    return Prediction(LABELS[best], float(probabilities[best]), probabilities, logits, logits, picture)


def run(
    stream: Iterable[Seen], decider: Decider | None = None, spec: DecisionSpec = SPEC
) -> tuple[list[Decision], list[PlaneEvent]]:
    """Return what is decided on each frame, and the events."""
    decider = decider or Decider(spec, LABELS)
    decisions, events = [], []
    for index, seen in enumerate(stream):
        picture = PICTURES[index % len(PICTURES)] if seen.picture is None else seen.picture
        frame = Frame(picture, index, captured_at=seen.time, source="test")
        decision, event = decider(frame, predict(seen, picture), seen.time)
        decisions.append(decision)
        events += [event] if event else []
    event = decider.restart()
    return decisions, events + ([event] if event else [])


def oracle(stream: Sequence[Seen]) -> tuple[list[str | None], list[tuple[str, int, int]]]:
    """Return what is shown, and (plane, first index, last index) of each event: straight from the documentation."""
    shown: list[str | None] = []
    events = []
    pieces: list[list[int]] = []
    for index, seen in enumerate(stream):
        if index == 0 or 1000 * (seen.time - stream[index - 1].time) > SPEC.gap_ms:
            pieces.append([])
        pieces[-1].append(index)
    for piece in pieces:
        averages = [average_at(stream, piece, index) for index in piece]
        place = 0
        while place < len(piece):
            above = [label for label in ("4CH", "Femur") if averages[place][label] >= SPEC.enter]
            if not above:
                shown.append(None)
                place += 1
                continue
            (plane,) = above
            first, is_shown = place, False
            while place < len(piece) and averages[place][plane] >= (SPEC.exit if is_shown else SPEC.enter):
                is_shown = is_shown or 1000 * (stream[piece[place]].time - stream[piece[first]].time) >= SPEC.dwell_ms
                shown.append(plane if is_shown else None)
                place += 1
            if is_shown:
                events.append((plane, piece[first], piece[place - 1]))
    return shown, events


def average_at(stream: Sequence[Seen], piece: Sequence[int], last: int) -> dict[str, float]:
    """Return the weighted sum of what the frames of a piece show up to one of them."""
    average = dict.fromkeys(LABELS, 0.0)
    for index in range(piece[0] + 1, last + 1):
        since = stream[index - 1].time
        weight = math.exp(-1000 * (stream[last].time - stream[index].time) / SPEC.smoothing_ms)
        weight -= math.exp(-1000 * (stream[last].time - since) / SPEC.smoothing_ms)
        for label, probability in zip(LABELS, stream[index].probabilities, strict=True):
            average[label] += weight * (0 if stream[index].rejected else probability)
    return average


steps = st.floats(0.001, 0.2) | st.floats(0.51, 2)
appearances = st.tuples(st.sampled_from([*CERTAIN.values(), (0.5, 0.0, 0.5), (0.7, 0.1, 0.2)]), st.booleans())


@st.composite
def streams(draw: st.DrawFn) -> list[Seen]:
    """Streams in which each appearance stays for a while."""
    time, stream = 0.0, []
    for _ in range(draw(st.integers(1, 8))):
        probabilities, rejected = draw(appearances)
        for step in draw(st.lists(steps, min_size=1, max_size=8)):
            time += step
            stream.append(Seen(time, probabilities, rejected))
    return stream


@given(streams())
def test_the_decisions_are_those_of_the_oracle(stream: list[Seen]) -> None:
    decisions, events = run(stream)
    shown, expected = oracle(stream)
    assert [decision.plane for decision in decisions] == shown
    assert [(event.plane, event.start_index, event.end_index) for event in events] == expected
    assert [(event.start, event.end) for event in events] == [
        (stream[first].time, stream[last].time) for _, first, last in expected
    ]


@given(streams())
def test_an_event_is_what_was_shown(stream: list[Seen]) -> None:
    decisions, events = run(stream)
    for event in events:
        assert 1000 * (event.end - event.start) >= SPEC.dwell_ms
        inside = decisions[event.start_index : event.end_index + 1]
        assert event.confidence == max(decision.confidence for decision in inside) >= SPEC.enter
        assert inside[0].confidence >= SPEC.enter
        assert all(decision.confidence >= SPEC.exit for decision in inside)
        assert event.start_index <= event.best.index <= event.end_index
    shown = {index for index, decision in enumerate(decisions) if decision.status == "plane"}
    assert shown <= {index for event in events for index in range(event.start_index, event.end_index + 1)}


@given(streams(), st.lists(st.integers(1, 6), min_size=64, max_size=64))
def test_decisions_do_not_depend_on_the_frame_rate(stream: list[Seen], parts: list[int]) -> None:
    """A camera that is several times as fast sees the same; where it is, the smoothed probabilities are equal."""
    fine, places = [], []
    for before, seen, number in zip([stream[0], *stream], stream, parts, strict=False):
        is_gap = 1000 * (seen.time - before.time) > SPEC.gap_ms
        for part in range(1, 1 + (1 if is_gap else number)):
            share = 1.0 if is_gap else part / number
            fine.append(Seen(before.time + share * (seen.time - before.time), seen.probabilities, seen.rejected))
        places.append(len(fine) - 1)
    coarse_decisions, _ = run(stream)
    fine_decisions, _ = run(fine)
    assert [fine_decisions[place].confidence for place in places] == pytest.approx(
        [decision.confidence for decision in coarse_decisions], abs=1e-6
    )


def show(label: str, start: float, end: float, rate: float = 100.0) -> list[Seen]:
    return [Seen(start + index / rate, CERTAIN[label]) for index in range(round((end - start) * rate))]


@pytest.mark.parametrize("rate", [25, 30, 60, 240])
def test_the_same_scan_at_any_rate_gives_the_same_events(rate: int) -> None:
    scan = show("Background", 0, 1, rate) + show("4CH", 1, 3, rate) + show("Femur", 3, 5, rate)
    _, events = run(scan)
    frame = 1 / rate
    # With 0.98 from then on, the average passes 0.6 after 95 ms; what falls from 0.98 to 0.01 passes 0.4 after 91 ms.
    assert [event.plane for event in events] == ["4CH", "Femur"]
    assert events[0].start == pytest.approx(1.095, abs=2 * frame)
    assert events[0].end == pytest.approx(3.091, abs=2 * frame)
    assert events[1].end == pytest.approx(5, abs=2 * frame)


def test_hysteresis_holds_a_plane_that_wavers_between_exit_and_enter() -> None:
    wavering = [Seen(1 + index / 100, (0.5, 0.25, 0.25)) for index in range(200)]
    decisions, events = run(show("4CH", 0, 1) + wavering)
    assert decisions[-1].plane == "4CH"
    assert decisions[-1].confidence == pytest.approx(0.5, abs=1e-3)
    assert len(events) == 1
    decisions, events = run(wavering)
    assert decisions[-1].status == "undecided"
    assert decisions[-1].confidence == pytest.approx(0.5, abs=1e-3)
    assert events == []


def test_a_glimpse_is_no_event() -> None:
    decisions, events = run(show("Background", 0, 1) + show("4CH", 1, 1.12) + show("Background", 1.12, 2))
    assert max(decision.confidence for decision in decisions) > SPEC.enter
    assert events == []


def test_background_is_never_shown() -> None:
    decisions, events = run(show("Background", 0, 2))
    assert {decision.status for decision in decisions} == {"no plane"}
    assert events == []


def test_rejected_frames_are_never_shown() -> None:
    decisions, events = run([Seen(seen.time, seen.probabilities, rejected=True) for seen in show("4CH", 0, 2)])
    assert {decision.status for decision in decisions} == {"no plane"}
    assert {decision.confidence for decision in decisions} == {0.0}
    assert events == []
    without = DecisionSpec(temperature=1.0, rejection=None, background=())
    assert run([Seen(seen.time, seen.probabilities, rejected=True) for seen in show("4CH", 0, 2)], spec=without)[1]


PAUSED = [Seen(1 + index / 100, CERTAIN["4CH"], picture=PICTURES[0]) for index in range(200)]
DARK = [Seen(1 + index / 100, CERTAIN["4CH"], picture=BLACK) for index in range(200)]
WHITE = [Seen(1 + index / 100, CERTAIN["4CH"], picture=PICTURES[index % 7] | 0xFC) for index in range(200)]


@pytest.mark.parametrize(
    ("rest", "status", "end"),
    [(PAUSED, "frozen", 2.0), (DARK, "no signal", 1.0), (WHITE, "saturated", 1.0)],
    ids=["frozen", "black", "saturated"],
)
def test_what_shows_nothing_is_never_labelled(rest: list[Seen], status: str, end: float) -> None:
    decisions, events = run(show("4CH", 0, 1) + rest + show("4CH", 3, 4))
    beyond = decisions[round(100 * end) + 2 : 300]
    assert {decision.status for decision in beyond} == {status}
    assert {(decision.plane, decision.confidence) for decision in beyond} == {(None, 0.0)}
    assert [event.end < end + 0.02 or event.start > 3 for event in events] == [True, True]


@given(streams(), st.lists(st.sampled_from(["black", "cut", None, None]), min_size=64, max_size=64))
def test_no_event_reaches_across_a_gap_a_cut_or_a_black_frame(stream: list[Seen], marks: list[str | None]) -> None:
    scene, marked, breaks = False, [], set[int]()
    for index, (seen, mark) in enumerate(zip(stream, marks, strict=False)):
        if index and 1000 * (seen.time - stream[index - 1].time) > SPEC.gap_ms:
            breaks.add(index)
        scene ^= mark == "cut"
        picture = PICTURES[index % 7][:, :: -1 if scene else 1]
        marked.append(Seen(seen.time, seen.probabilities, seen.rejected, BLACK if mark == "black" else picture))
        if mark is not None:
            breaks.add(index)
    _, events = run(marked)
    for event in events:
        assert not breaks & set(range(event.start_index + 1, event.end_index + 1))


def test_a_restart_ends_the_event_and_begins_anew() -> None:
    decider = Decider(SPEC, LABELS)
    _, events = run(show("4CH", 0, 1), decider)
    assert [event.plane for event in events] == ["4CH"]
    decisions, _ = run(show("4CH", 1, 1.05), decider)
    assert decisions[0].confidence == 0.0
    assert decider.restart() is None


def test_time_that_goes_back_begins_anew() -> None:
    decisions, events = run(show("4CH", 5, 6) + show("4CH", 0, 1))
    assert decisions[100].confidence == 0.0
    assert [(event.start_index < 100, event.end_index < 100) for event in events] == [(True, True), (False, False)]


def test_the_best_frame_is_certain_and_sharp() -> None:
    stream = show("4CH", 0, 1)
    contrasts = {60: 2.0, 61: 3.0, 70: 1.0}
    for index, contrast in contrasts.items():
        picture = np.asarray(np.clip(SCENE + contrast * (PICTURES[0] - SCENE.astype(float)), 0, 255), np.uint8)
        probabilities = (0.65, 0.2, 0.15) if index == 61 else CERTAIN["4CH"]
        stream[index] = Seen(stream[index].time, probabilities, picture=picture)
    _, (event,) = run(stream)
    assert event.best.index == 60 + (0.65 * 3 > 0.98 * 2)


def test_a_rejected_frame_is_not_the_best() -> None:
    stream = show("4CH", 0, 1)
    sharp = np.asarray(np.clip(SCENE + 3 * (PICTURES[0] - SCENE.astype(float)), 0, 255), np.uint8)
    stream[60] = Seen(stream[60].time, CERTAIN["4CH"], rejected=True, picture=sharp)
    _, (event,) = run(stream)
    assert event.start_index < 60 < event.end_index
    assert event.best.index != 60


@given(st.lists(st.floats(-30, 30, width=32), min_size=2, max_size=9))
def test_rejection_scores(values: list[float]) -> None:
    logits = np.array(values, np.float32)
    probabilities = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    assert rejection_score(logits, probabilities, "max-logit") == max(values)
    assert rejection_score(logits, probabilities, "max-probability") == pytest.approx(probabilities.max())
    assert rejection_score(logits, probabilities, "energy") == pytest.approx(
        math.log(math.fsum(map(math.exp, values))), rel=1e-5, abs=1e-5
    )
    batch = rejection_score(np.stack([logits, logits + 1]), np.stack([probabilities, probabilities]), "energy")
    assert batch[1] - batch[0] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("seen", "decision"),
    [
        (Seen(0, (0.9, 0.05, 0.05)), Decision("plane", "4CH", 0.9)),
        (Seen(0, (0.5, 0.25, 0.25)), Decision("undecided", None, 0.5)),
        (Seen(0, (0.05, 0.9, 0.05)), Decision("no plane", None, 0.05)),
        (Seen(0, (0.9, 0.05, 0.05), rejected=True), Decision("no plane", None, 0.9)),
        (Seen(0, (0.9, 0.05, 0.05), picture=BLACK), Decision("no signal", None, 0.0)),
        (Seen(0, (0.9, 0.05, 0.05), picture=PICTURES[0] | 0xFC), Decision("saturated", None, 0.0)),
    ],
)
def test_stills_are_decided_one_by_one(seen: Seen, decision: Decision) -> None:
    decider = StillDecider(SPEC, LABELS)
    picture = PICTURES[0] if seen.picture is None else seen.picture
    for _ in range(2):
        decided, event = decider(Frame(picture, 0, 0.0, "test"), predict(seen, picture), 0.0)
        assert (decided.status, decided.plane) == (decision.status, decision.plane)
        assert decided.confidence == pytest.approx(decision.confidence)
        assert event is None
    assert decider.restart() is None


def test_in_words() -> None:
    assert str(Decision("plane", "4CH", 0.9765)) == "4CH 98%"
    assert [str(Decision(status, None, 0.5)) for status in ("undecided", "no plane", "frozen")] == [
        "no plane",
        "no plane",
        "frozen",
    ]


@pytest.mark.parametrize(
    ("highest", "enter", "warned"),
    [(None, 0.8, None), (0.8, 0.8, None), (0.62, 0.6, None), (0.7999, 0.8, "at most 0.79 sure"), (0.0, 0.8, "0.00")],
)
def test_a_model_that_was_never_sure_enough_is_warned_of(
    highest: float | None, enter: float, warned: str | None
) -> None:
    spec = replace(SPEC, max_validation_confidence=highest, enter=enter, exit=0.5)
    why = why_nothing_is_shown(spec)
    if warned is None:
        assert why is None
    else:
        assert why is not None
        assert warned in why
        assert why.endswith(f"a label needs {enter:.2f}")


@given(st.lists(st.tuples(steps, st.floats(0, 0.59)), min_size=1, max_size=40))
def test_what_is_never_surer_than_enter_is_never_shown(frames: list[tuple[float, float]]) -> None:
    """What the warning rests on: an average reaches nothing that no frame does."""
    times = np.cumsum([step for step, _ in frames]).tolist()
    stream = [Seen(time, (sure, 1 - sure, 0.0)) for time, (_, sure) in zip(times, frames, strict=True)]
    decisions, events = run(stream)
    assert events == []
    assert all(decision.plane is None for decision in decisions)
