"""What the dashboard costs the stream: without it, and with 0, 1 and 20 viewers, in turns of one run.

::

    python -m benchmarks.dashboard --bundle runs/metfa
"""

from __future__ import annotations

import http.client
import json
import multiprocessing
import tempfile
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import click

from metfa.runtime import PlaneClassifier, Source, StreamStatistics, open_source, stream
from metfa.runtime.benchmark.machine import host
from metfa.runtime.bundle.directory import DEFAULT_DIRECTORY
from metfa.runtime.command import Command
from metfa.runtime.files import write_text
from metfa.runtime.sinks import Feeds
from metfa.runtime.sinks.dashboard import About, Address, Board, Dashboard

from .clips import make_clip

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.synchronize import Event

    from metfa.runtime import Frame

_CASES = {"without dashboard": None, "0 viewers": 0, "1 viewer": 1, "20 viewers": 20}


@click.command(cls=Command)
@click.option("--bundle", type=click.Path(path_type=Path), default=DEFAULT_DIRECTORY, show_default=True)
@click.option("--seconds", type=click.FloatRange(min=1), default=10.0, show_default=True, help="Of each turn.")
@click.option("--repetitions", type=click.IntRange(min=1), default=5, show_default=True)
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("benchmarks/results/dashboard.json"), show_default=True
)
def main(bundle: Path, seconds: float, repetitions: int, output: Path) -> None:
    """Measure latency, pace and CPU of a live 720p stream at 30 frames/s."""
    classifier = PlaneClassifier.load(bundle)
    with tempfile.TemporaryDirectory() as temporary:
        frames = _read(make_clip(Path(temporary, "clip.mp4"), frames=60))
    turns: dict[str, list[dict[str, float]]] = {case: [] for case in _CASES}
    for _ in range(repetitions):
        for case, viewers in _CASES.items():
            turns[case].append(_measure(classifier, frames, seconds, viewers))
    medians = {case: {name: median(turn[name] for turn in each) for name in each[0]} for case, each in turns.items()}
    report = {
        "benchmark": "dashboard",
        "host": host(),
        "backend": classifier.backend_choice,
        "source": "1280x720, 30 frames/s, live",
        "seconds": seconds,
        "repetitions": repetitions,
        "turns": turns,
        "medians": medians,
    }
    write_text(output, json.dumps(report, indent=2) + "\n")
    click.echo(f"{classifier.backend_choice}\n")
    click.echo(f"{'':18} {'CPU ms a frame':>15} {'p50 ms':>8} {'p99 ms':>8} {'dropped':>8} {'pictures/s a viewer':>20}")
    for case, values in medians.items():
        click.echo(
            f"{case:18} {values['cpu_ms']:15.2f} {values['p50_ms']:8.1f} {values['p99_ms']:8.1f} "
            f"{values['dropped']:8.1%} {values['pictures_per_second']:20.1f}"
        )
    bare = medians["without dashboard"]["cpu_ms"]
    ratios = (f"{medians[case]['cpu_ms'] / bare:.2f} with {case}" for case in list(_CASES)[1:])
    click.echo(f"\nCPU over that without dashboard: {', '.join(ratios)}")


class _Live(Source):
    """Decoded frames at 30 a second, whether or not somebody takes them."""

    live = True
    rate = 30.0
    description = "decoded frames"

    def __init__(self, frames: list[Frame], seconds: float) -> None:
        self._frames = frames
        self._number = round(seconds * self.rate)

    def __iter__(self) -> Iterator[Frame]:
        due = time.monotonic()
        for index in range(self._number):
            time.sleep(max(due - time.monotonic(), 0))
            due += 1 / self.rate
            yield replace(self._frames[index % len(self._frames)], index=index, captured_at=time.monotonic())


def _read(video: Path) -> list[Frame]:
    with open_source(str(video)) as source:
        return list(source)


def _measure(classifier: PlaneClassifier, frames: list[Frame], seconds: float, viewers: int | None) -> dict[str, float]:
    """Return what one turn took; the CPU is that of the stream's process, all its threads."""
    statistics = StreamStatistics()
    ended, pictures = multiprocessing.Event(), multiprocessing.Value("q", 0)
    watching: list[multiprocessing.Process] = []
    with Feeds(live=True) as feeds, _Live(frames, seconds) as source:
        if viewers is not None:
            about = About(source.description, source.live, classifier.backend_choice, classifier.contract.labels)
            dashboard = Dashboard(Address("127.0.0.1", 0), [Board(about, statistics)])
            feeds.add(dashboard.sinks[0])
            port = int(dashboard.url.rstrip("/").rpartition(":")[2])
            if viewers:
                # In a process of their own, so that what they take does not count.
                watching = [multiprocessing.Process(target=_watch, args=(port, viewers, ended, pictures))]
                watching[0].start()
                time.sleep(1)
        began = time.process_time()
        with closing(stream(source, classifier)) as items:
            for item in items:
                statistics.add(item)
                feeds.put(item)
        cpu = time.process_time() - began
        summary = statistics.summary()
        ended.set()
        for process in watching:
            process.join()
    return {
        "cpu_ms": 1000 * cpu / summary.frames,
        "p50_ms": summary.p50_ms,
        "p99_ms": summary.p99_ms,
        "dropped": summary.dropped / summary.captured,
        "pictures_per_second": pictures.value / seconds / viewers if viewers else 0.0,
    }


def _watch(port: int, viewers: int, ended: Event, pictures: multiprocessing.sharedctypes.Synchronized[int]) -> None:
    """Do what the page does, for so many viewers: take the events, and a picture for each frame that they tell of."""

    def watch() -> None:
        with (
            closing(http.client.HTTPConnection("127.0.0.1", port)) as events,
            closing(http.client.HTTPConnection("127.0.0.1", port)) as picture,
        ):
            events.request("GET", "/events")
            for line in events.getresponse():
                if ended.is_set():
                    return
                if line == b"event: frame\n":
                    picture.request("GET", "/picture")
                    picture.getresponse().read()
                    with pictures.get_lock():
                        pictures.value += 1

    threads = [threading.Thread(target=watch) for _ in range(viewers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
