"""Another bundle takes over while a stream goes on: no frame is lost, and what cannot serve does not."""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import weakref
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

from metfa.runtime import (
    ExchangeableClassifier,
    Frame,
    ModelIdentity,
    Observation,
    PlaneClassifier,
    PlaneEvent,
    Source,
    StreamStatistics,
    stream,
    stream_many,
)
from metfa.runtime.bundle import directory as bundles
from metfa.runtime.bundle.contract import ModelContract, Normalisation, Region
from metfa.runtime.bundle.directory import Bundle
from metfa.runtime.decisions.scanner_check import MIN_LOOKS, ScannerReference, ScannerStatistics
from metfa.runtime.errors import BackendError, BundleError, ContractError
from metfa.runtime.imaging.appearance import appearance
from metfa.runtime.sinks import JsonLinesSink, ScannerSink
from metfa.runtime.sinks.dashboard import About, Board
from metfa.runtime.streaming.metrics import to_prometheus
from metfa.runtime.streaming.redeployment import Redeployment

from .conftest import LABELS, grey, make_bundle, make_contract, make_observation, make_onnx, make_prediction

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

SCENE = np.add.outer(np.linspace(190, 230, 48), np.linspace(0, 20, 64))
HEADLESS = {name: value for name, value in os.environ.items() if name not in {"DISPLAY", "WAYLAND_DISPLAY"}}


def picture(index: int) -> NDArray[np.uint8]:
    """Return a bright picture whose noise tells that it is live."""
    return np.asarray(SCENE + np.random.default_rng(index).integers(0, 5, SCENE.shape), np.uint8)


def other(contract: ModelContract) -> ModelContract:
    """Return the contract of a model to which everything is half as bright: what was bright is grey."""
    return replace(contract, input=replace(contract.input, normalisation=Normalisation("fixed", 0.5 / 255, 0.0)))


@pytest.fixture
def newer(tmp_path: Path, contract: ModelContract) -> Path:
    return make_bundle(tmp_path / "newer", other(contract))


class Pictures(Source):
    """Bright frames, 30 a second by their times; a live one comes as soon as the last was decided."""

    rate = 30.0
    description = "pictures"

    def __init__(self, number: int, *, live: bool = False) -> None:
        self.live = live
        self.number = number
        self.decided = threading.Semaphore(1)

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self.number):
            if self.live:
                self.decided.acquire()
            yield Frame(picture(index), index, 100 + index / 30, "picture")


def follow(source: Pictures, classifier: ExchangeableClassifier, exchanges: dict[int, Path]) -> list[Observation]:
    """Stream all frames; after those of these numbers, another bundle takes over."""
    observations = []
    with closing(stream(source, classifier)) as items:
        for item in items:
            if isinstance(item, Observation):
                observations.append(item)
                if (directory := exchanges.get(item.frame.index)) is not None:
                    classifier.exchange(PlaneClassifier.load(directory))
                source.decided.release()
    return observations


def bundle_of(observation: Observation) -> str:
    assert observation.model is not None
    return observation.model.bundle


def digest(directory: Path) -> str:
    return Bundle.open(directory).digest


@pytest.mark.parametrize("live", [False, True], ids=["recording", "live"])
def test_no_frame_is_lost_and_each_is_decided_by_one_model(bundle: Path, newer: Path, live: bool) -> None:
    classifier = ExchangeableClassifier(PlaneClassifier.load(bundle))
    observations = follow(Pictures(60, live=live), classifier, {20: newer, 40: bundle})
    assert [each.frame.index for each in observations] == list(range(60))
    served = [bundle_of(each) for each in observations]
    old, new = digest(bundle), digest(newer)
    first, second = served.index(new), served.index(old, served.index(new))
    assert served == [old] * first + [new] * (second - first) + [old] * (60 - second)
    # Of a recording, some frames were on their way already.
    assert (first, second) == (21, 41) if live else 20 < first < 30 and 40 < second < 50
    assert [each.prediction.label for each in observations] == [{old: "bright", new: "grey"}[each] for each in served]


def test_an_event_goes_on_across_an_exchange(bundle: Path, contract: ModelContract, tmp_path: Path) -> None:
    stricter = replace(contract, decision=replace(contract.decision, enter=0.9, exit=0.6))
    newer = make_bundle(tmp_path / "stricter", stricter)
    classifier = ExchangeableClassifier(PlaneClassifier.load(bundle))
    items = []
    with closing(stream(Pictures(60), classifier)) as running:
        for item in running:
            items.append(item)
            if isinstance(item, Observation) and item.frame.index == 30:
                classifier.exchange(PlaneClassifier.load(newer))
    (event,) = (item for item in items if isinstance(item, PlaneEvent))
    assert (event.plane, event.end_index) == ("bright", 59)
    assert event.start_index < 30
    shown = [item.decision.plane for item in items if isinstance(item, Observation) and item.frame.index > 20]
    assert set(shown) == {"bright"}


def test_an_event_ends_where_its_plane_is_none_any_more(bundle: Path, contract: ModelContract, tmp_path: Path) -> None:
    without = replace(contract, decision=replace(contract.decision, background=("bright",)))
    newer = make_bundle(tmp_path / "without", without)
    classifier = ExchangeableClassifier(PlaneClassifier.load(bundle))
    observations = follow(Pictures(60), classifier, {30: newer})
    planes = [each.decision.plane for each in observations]
    change = [bundle_of(each) for each in observations].index(digest(newer))
    assert planes[change - 1] == "bright"
    assert set(planes[change:]) == {None}


def test_what_the_model_sees_is_that_of_its_own_contract(bundle: Path, contract: ModelContract, tmp_path: Path) -> None:
    region = Region(0, 0, 60, 40)
    cropped = replace(contract, input=replace(contract.input, height=36, width=44, region=region))
    newer = make_bundle(tmp_path / "cropped", cropped)
    classifier = ExchangeableClassifier(PlaneClassifier.load(bundle))
    observations = follow(Pictures(60), classifier, {20: newer})
    seen = {bundle_of(each): (each.prediction.picture.shape, each.region) for each in observations}
    assert seen == {digest(bundle): ((32, 40), None), digest(newer): ((36, 44), region)}
    assert {each.decision.plane for each in observations[15:]} == {"bright"}


def test_a_sector_that_was_found_stays(bundle: Path, newer: Path) -> None:
    reports: list[Region | None] = []
    classifier = ExchangeableClassifier(PlaneClassifier.load(bundle, region="auto"))
    classifier.current.sector.report = lambda region, width, height: reports.append(region)
    declared = Region(1, 2, 30, 20)
    for region in ("auto", "auto", None, "auto"):
        classifier.current.locate(grey(200), declared)
        classifier.exchange(PlaneClassifier.load(newer, region=region))
    classifier.current.locate(grey(200), declared)
    assert reports == [declared, declared]  # the second as it was looked for anew


def test_several_sources_are_exchanged_together(bundle: Path, newer: Path) -> None:
    classifier = ExchangeableClassifier(PlaneClassifier.load(bundle))
    last: dict[str, str] = {}
    indices: dict[str, list[int]] = {"left": [], "right": []}
    for name, item in stream_many({"left": Pictures(60), "right": Pictures(60)}, classifier):
        assert isinstance(item, Observation | PlaneEvent)
        if isinstance(item, Observation):
            indices[name].append(item.frame.index)
            last[name] = bundle_of(item)
            if name == "left" and item.frame.index == 10:
                classifier.exchange(PlaneClassifier.load(newer))
    assert indices == {"left": list(range(60)), "right": list(range(60))}
    assert last == {"left": digest(newer), "right": digest(newer)}


def test_a_model_that_cannot_serve_does_not(bundle: Path, contract: ModelContract) -> None:
    classifier = ExchangeableClassifier(serving := PlaneClassifier.load(bundle))
    other_classes = make_bundle(bundle.with_name("others"), make_contract(("grey", "dark", "bright")))
    expected = "expected the classes of the model that serves, dark, grey, bright, received grey, dark, bright; restart"
    with pytest.raises(ContractError, match=expected):
        classifier.exchange(PlaneClassifier.load(other_classes))

    model = onnx.load_from_string(make_onnx(contract))
    (weights,) = (each for each in model.graph.initializer if each.name == "weights")
    weights.CopyFrom(onnx.numpy_helper.from_array(np.full((1, 3), np.nan, np.float32), "weights"))
    with bundles.updating(bundle, keep=lambda _: True) as stage:
        (stage / bundles.ONNX).write_bytes(model.SerializeToString())
    with pytest.raises(BackendError, match="expected finite numbers of ONNX Runtime"):
        classifier.exchange(PlaneClassifier.load(bundle))
    assert classifier.current is serving


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Free nothing that refers to itself."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
def test_the_last_model_is_given_back(bundle: Path, newer: Path) -> None:
    classifier = ExchangeableClassifier(PlaneClassifier.load(bundle))
    left, right = classifier.shared(2)
    models: list[weakref.ref[object]] = [weakref.ref(each.current) for each in (classifier, left, right)]
    backend: weakref.ref[object] = weakref.ref(classifier.current._backend)
    source = Pictures(10, live=True)
    with closing(stream(source, left)) as items:
        next(items)
        classifier.exchange(PlaneClassifier.load(newer))
        source.decided.release()
        next(items)
        assert [model() for model in (*models, backend)] == [None] * 4
        source.decided.release(source.number)  # so that it ends


def resident() -> int:
    """Return how many MB of memory the process has."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(re.findall(r"VmRSS:\s*(\d+)", status)[0]) >> 10


def test_memory_does_not_grow_with_exchanges(bundle: Path, newer: Path, contract: ModelContract) -> None:
    for directory in (bundle, newer):  # 16 MB that the model never needs, so that one that stays would be seen
        model = onnx.load_from_string((directory / bundles.ONNX).read_bytes())
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((4, 1 << 20), np.float32), "ballast"))
        model.graph.node.append(onnx.helper.make_node("ReduceMean", ["ballast"], ["unused"]))
        with bundles.updating(directory, keep=lambda _: True) as stage:
            (stage / bundles.ONNX).write_bytes(model.SerializeToString())
    classifier = ExchangeableClassifier(PlaneClassifier.load(bundle))
    after = []
    for _ in range(5):
        for directory in (newer, bundle):
            classifier.exchange(PlaneClassifier.load(directory))
            after.append(resident())
    assert after[-1] - after[3] < 64


# ---- when a bundle is taken ----


class Attempts:
    """What a redeployment takes: fails as often as it is told, then serves; each attempt may be waited for."""

    def __init__(self, directory: Path, *outcomes: Exception | str | None) -> None:
        self._directory, self._outcomes = directory, list(outcomes)
        self.begun = threading.Semaphore(0)
        self.may_end = threading.Event()
        self.may_end.set()
        self.change_while_taken = False
        self.said: list[str] = []
        self.has_said = threading.Semaphore(0)
        self.requested = threading.Event()

    def take(self) -> str | None:
        self.begun.release()
        assert self.may_end.wait(20)
        if self.change_while_taken:
            self.change_while_taken = False
            (self._directory / "file").write_text("whole")
        outcome = self._outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def notify(self, line: str) -> None:
        self.said.append(line)
        self.has_said.release()

    def redeployment(self, *, watch: bool = False) -> Redeployment:
        return Redeployment(self._directory, self.take, requested=self.requested, watch=watch, notify=self.notify)


MISFIT = BundleError(expected="a bundle", received="none", remedy="make one")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metfa.runtime.streaming.redeployment._WATCH_SECONDS", 0.02)


def test_each_request_is_answered_in_a_line(tmp_path: Path) -> None:
    attempts = Attempts(tmp_path, "new serves", None, MISFIT, ValueError("a surprise"), "newer serves")
    with attempts.redeployment():
        for _ in range(5):
            attempts.requested.set()
            assert attempts.has_said.acquire(timeout=20)
    assert attempts.said == [
        "new serves",
        "not exchanged: it serves already",
        "not exchanged: expected a bundle, received none; make one",
        "not exchanged: expected to load it, received ValueError: a surprise; report this",
        "newer serves",
    ]


def test_a_request_while_a_bundle_is_loaded_is_the_next(tmp_path: Path) -> None:
    attempts = Attempts(tmp_path, "second serves", "third serves")
    attempts.may_end.clear()
    with attempts.redeployment():
        attempts.requested.set()
        assert attempts.begun.acquire(timeout=20)
        attempts.requested.set()
        attempts.may_end.set()
        assert attempts.has_said.acquire(timeout=20)
        assert attempts.has_said.acquire(timeout=20)
    assert attempts.said == ["second serves", "third serves"]


def test_what_fails_as_its_files_change_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("half")
    attempts = Attempts(tmp_path, MISFIT, "new serves")
    attempts.change_while_taken = True
    with attempts.redeployment():
        attempts.requested.set()
        assert attempts.has_said.acquire(timeout=20)
    assert attempts.said == ["new serves"]


def test_a_watched_bundle_is_taken_once_its_files_rest(tmp_path: Path) -> None:
    attempts = Attempts(tmp_path, None, MISFIT, "new serves")
    with attempts.redeployment(watch=True):
        assert attempts.begun.acquire(timeout=20)  # what was opened before may be another already
        (tmp_path / "file").write_text("half")
        assert attempts.has_said.acquire(timeout=20)
        time.sleep(0.2)  # a refusal is told once
        (tmp_path / "file").write_text("whole")
        assert attempts.has_said.acquire(timeout=20)
    assert attempts.said == ["not exchanged: expected a bundle, received none; make one", "new serves"]


def test_a_watched_bundle_is_not_taken_while_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter([1, 2, 3, 4])
    looks: list[int] = []

    def look(directory: Path) -> frozenset[tuple[str, int, int, int]]:
        looks.append(next(sizes, 5))
        return frozenset({("file", 1, looks[-1], 1)})

    monkeypatch.setattr("metfa.runtime.streaming.redeployment._signature", look)
    attempts = Attempts(tmp_path, "new serves")
    monkeypatch.setattr(attempts, "take", lambda: f"taken at {looks[-1]}")
    with attempts.redeployment(watch=True):
        assert attempts.has_said.acquire(timeout=20)
    assert attempts.said == ["taken at 5"]


def test_the_end_waits_for_no_model_and_nothing_is_said_after_it(tmp_path: Path) -> None:
    attempts = Attempts(tmp_path, "too late")
    attempts.may_end.clear()
    with attempts.redeployment():
        attempts.requested.set()
        assert attempts.begun.acquire(timeout=20)
    attempts.may_end.set()
    for thread in threading.enumerate():
        if thread.name == "metfa redeployment":
            thread.join(20)
    assert attempts.said == []


# ---- what tells of an exchange ----

OLD, NEW = ModelIdentity("0123456789ab", "an engine"), ModelIdentity("ba9876543210", "an engine")


def statistics_of(name: str) -> ScannerStatistics:
    """Return what a bundle would know whose training pictures were all like those below."""
    features = tuple(appearance(grey(200)).tolist())
    identity = tuple(tuple(map(float, row)) for row in np.eye(len(features)))
    return ScannerStatistics(
        1, ScannerReference(name, features, identity, (tuple(0.0 for _ in features),) * 3, 1.0), None
    )


def observe(index: int, model: ModelIdentity) -> Observation:
    frame = Frame(grey(200), index, 100 + index / 10, "scan")
    prediction = make_prediction("bright", np.array([0.1, 0.1, 0.8], np.float32), grey(200))
    return replace(make_observation(frame, prediction, time=index / 10), model=model)


def test_records_summary_metrics_and_dashboard_name_the_model(tmp_path: Path) -> None:
    statistics = StreamStatistics()
    board = Board(About("scan", True, "an engine", LABELS), statistics)
    with JsonLinesSink(tmp_path / "events.jsonl", LABELS) as events:
        for index, model in enumerate([OLD, OLD, OLD, NEW, NEW]):
            observation = observe(index, model)
            statistics.add(observation)
            events.write(observation)
            board.put(observation)
    board.tick()
    records = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [record["type"] for record in records] == ["frame"] * 3 + ["exchange"] + ["frame"] * 2
    assert records[3] == {
        "type": "exchange",
        "index": 3,
        "time": 0.3,
        "from": OLD.bundle,
        "to": NEW.bundle,
        "backend": "an engine",
    }
    summary = statistics.summary()
    assert (summary.bundles, summary.exchanges, summary.model) == ({OLD.bundle: 3, NEW.bundle: 2}, 1, NEW)
    assert [line for line in summary.describe(live=True).splitlines() if line.startswith("bundle")] == [
        "bundle 0123456789ab: 3 frames",
        "bundle ba9876543210: 2 frames",
    ]
    metrics = to_prometheus({"": summary}).splitlines()
    assert 'metfa_bundle_info{bundle="ba9876543210",backend="an engine"} 1' in metrics
    assert "metfa_bundle_exchanges_total 1" in metrics
    assert board.statistics["backend"] == board.greeting()["backend"] == "bundle ba9876543210, an engine"


def test_the_scanner_check_compares_with_what_the_new_bundle_knows() -> None:
    said: list[str] = []
    with ScannerSink(statistics_of("old scanner"), said.append) as sink:
        for index in range(MIN_LOOKS):
            sink.write(observe(2 * index, OLD))
        sink.expect(NEW, statistics_of("new scanner"))
        sink.write(observe(2 * MIN_LOOKS, OLD))
        assert "old scanner" in sink.describe()
        for index in range(MIN_LOOKS):
            sink.write(observe(2 * (MIN_LOOKS + 1 + index), NEW))
    assert [re.findall(r"those of (\w+) scanner", line) for line in said] == [["old"], ["new"]]


# ---- the command ----

COMMAND = "from metfa.runtime.cli import run; run()"
QUICK = "from metfa.runtime.streaming import redeployment; redeployment._WATCH_SECONDS = 0.05\n"
SLOW = """
import time
from pathlib import Path
from metfa.runtime.streaming import session
load = session._load_classifier
def slowly(bundle, options):
    if loaded:
        session.tell("loading")
        while not Path(options.bundle, "../go").exists():
            time.sleep(0.01)
    loaded.append(bundle)
    return load(bundle, options)
loaded = []
session._load_classifier = slowly
"""


@contextmanager
def serving(*arguments: str | Path, nature: str = "") -> Iterator[subprocess.Popen[str]]:
    """Stream the simulator as a service does: without a terminal."""
    process = subprocess.Popen(
        [sys.executable, "-c", nature + COMMAND, "--device", "phantom:B", "--no-window", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=HEADLESS,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=20)


def wait_for(process: subprocess.Popen[str], beginning: str) -> str:
    """Return the next line of stderr that begins like that."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(beginning):
            return line.rstrip("\n")
    pytest.fail(f"it never said {beginning!r}")


def wait_for_frames(events: Path, more: int = 3) -> None:
    """Wait until so many more frames were decided."""
    wanted = more + (events.read_text().count("\n") if events.exists() else 0)
    while not events.exists() or events.read_text().count("\n") < wanted:
        time.sleep(0.01)


def test_a_service_takes_a_new_bundle_on_sighup(bundle: Path, contract: ModelContract, tmp_path: Path) -> None:
    events, old = tmp_path / "events.jsonl", digest(bundle)
    with serving("--bundle", bundle, "--events", events) as it:
        wait_for(it, "source: ")
        wait_for_frames(events)
        make_bundle(bundle, other(contract))
        new = digest(bundle)
        it.send_signal(signal.SIGHUP)
        assert wait_for(it, "bundle: ") == f"bundle: {new} serves in place of {old}"
        wait_for_frames(events)

        make_bundle(bundle, make_contract(("one", "other")))
        it.send_signal(signal.SIGHUP)
        assert wait_for(it, "bundle: ") == (
            "bundle: not exchanged: expected the classes of the model that serves, dark, grey, bright, "
            "received one, other; restart the stream to change its classes"
        )
        make_bundle(bundle, contract)
        (bundle / bundles.ONNX).write_bytes((bundle / bundles.ONNX).read_bytes()[:-9])
        it.send_signal(signal.SIGHUP)
        assert wait_for(it, "bundle: ").startswith(f"bundle: not exchanged: expected {bundle}/model.onnx as it was ")
        wait_for_frames(events)
        it.send_signal(signal.SIGTERM)
        summary, said = it.communicate(timeout=20)
    assert it.returncode == 0, said
    records = [json.loads(line) for line in events.read_text().splitlines()]
    (exchange,) = (record for record in records if record["type"] == "exchange")
    assert (exchange["from"], exchange["to"]) == (old, new)
    place = records.index(exchange)
    assert records[place + 1]["index"] == exchange["index"]
    frames = sum(record["type"] == "frame" for record in records)
    counts = dict(re.findall(r"^bundle (\w+): (\d+) frames$", summary, re.MULTILINE))
    assert counts == {old: str(place), new: str(frames - place)}


def test_a_bundle_that_was_replaced_is_taken_by_itself(bundle: Path, newer: Path, tmp_path: Path) -> None:
    old, new = digest(bundle), digest(newer)
    with serving("--bundle", bundle, "--watch", nature=QUICK) as it:
        wait_for(it, "source: ")
        bundle.rename(tmp_path / "older")
        newer.rename(bundle)
        wait_for(it, f"bundle: {new} serves in place of {old}")
        it.send_signal(signal.SIGTERM)
        it.communicate(timeout=20)
    assert it.returncode == 0


def test_sighup_while_a_bundle_is_loaded(bundle: Path, newer: Path, contract: ModelContract, tmp_path: Path) -> None:
    with serving("--bundle", bundle, nature=SLOW) as it:
        wait_for(it, "source: ")
        first = digest(bundle)
        make_bundle(bundle, other(contract))
        it.send_signal(signal.SIGHUP)
        wait_for(it, "loading")
        it.send_signal(signal.SIGHUP)
        (tmp_path / "go").touch()
        assert wait_for(it, "bundle: ") == f"bundle: {digest(newer)} serves in place of {first}"
        assert wait_for(it, "bundle: ") == "bundle: not exchanged: it serves already"
        it.send_signal(signal.SIGTERM)
        it.communicate(timeout=20)
    assert it.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_bundle_is_loaded_ends_the_stream(
    bundle: Path, contract: ModelContract, number: signal.Signals, tmp_path: Path
) -> None:
    events = tmp_path / "events.jsonl"
    with serving("--bundle", bundle, "--events", events, nature=SLOW) as it:
        wait_for(it, "source: ")
        wait_for_frames(events)
        make_bundle(bundle, other(contract))
        it.send_signal(signal.SIGHUP)
        wait_for(it, "loading")
        it.send_signal(number)
        summary, said = it.communicate(timeout=20)
    assert it.returncode == 0, said
    assert said == ""
    frames = [line for line in events.read_text().splitlines() if json.loads(line)["type"] == "frame"]
    assert summary.startswith(f"{len(frames)} frames, ")
