"""A live stream over OpenIGTLink for minutes: how old is a frame when it is decided, and does memory stay flat?

pyigtl, in another process, sends the phantom's images, 640x480, 30 a second, over the loopback::

    python -m benchmarks.igtl --bundle runs/metfa --minutes 30
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import struct
import time
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING

import click
import cv2
import numpy as np
import pyigtl

from metfa.runtime import Observation, PlaneClassifier, StreamStatistics, open_source, stream
from metfa.runtime.benchmark.machine import host
from metfa.runtime.bundle.directory import DEFAULT_DIRECTORY
from metfa.runtime.command import Command
from metfa.runtime.files import write_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from multiprocessing.connection import Connection

    from metfa.runtime import PlaneEvent

_RATE = 30.0  # images per second
_IMAGES = 600  # that the server repeats
_STAMP = struct.Struct("<d")  # seconds on the monotonic clock, which processes share; the first pixels of an image


@dataclass(frozen=True, slots=True)
class Minute:
    """What one minute of the stream was like.

    Attributes:
        frames: how many were classified.
        dropped: how many were not, because newer ones were there.
        p50_ms: median age of a frame when it is decided, from when the server begins to pack it.
        p99_ms: 99 % of the frames were at most this old.
        memory_mb: resident memory at its end.
    """

    frames: int
    dropped: int
    p50_ms: float
    p99_ms: float
    memory_mb: float


class _StampedImage(pyigtl.ImageMessage):  # type: ignore[misc]  # shipped without type information
    """An image that says when the server began to pack it."""

    def pack(self) -> bytes:
        """Return the message."""
        self.image[0, 0, : _STAMP.size] = np.frombuffer(_STAMP.pack(time.monotonic()), np.uint8)
        return bytes(super().pack())


@click.command(cls=Command)
@click.option("--bundle", "directory", type=click.Path(path_type=Path), default=DEFAULT_DIRECTORY, show_default=True)
@click.option("--minutes", type=click.IntRange(min=2), default=30, show_default=True)
@click.option("--profile", default="B", show_default=True, help="Of the phantom.")
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("benchmarks/results/igtl.json"), show_default=True
)
def main(directory: Path, minutes: int, profile: str, output: Path) -> None:
    """Stream for MINUTES, and print a line for each minute."""
    cv2.setNumThreads(1)  # as metfa-stream does
    classifier = PlaneClassifier.load(directory)
    whole, rows = StreamStatistics(), []
    with (
        _server(profile) as port,
        open_source(f"igtl://127.0.0.1:{port}", notify=click.echo) as source,
        closing(stream(source, classifier)) as items,
    ):
        click.echo(f"{classifier.backend_choice}\n{source.description}")
        click.echo("minute  frames  dropped  age p50 ms  age p99 ms  memory MB")
        for row in _minutes(_observations(items, whole), minutes):
            rows.append(row)
            click.echo(
                f"{len(rows):6} {row.frames:7} {row.dropped:8} {row.p50_ms:11.1f} {row.p99_ms:11.1f} "
                f"{row.memory_mb:10.1f}"
            )
    growth = rows[-1].memory_mb / rows[0].memory_mb - 1
    report = {
        "benchmark": "igtl",
        "host": host(),
        "backend": classifier.backend_choice,
        "source": source.description,
        "minutes": [asdict(row) for row in rows],
        "memory_growth_after_the_first_minute": growth,
        "summary": asdict(whole.summary()),
    }
    write_text(output, json.dumps(report, indent=2) + "\n")
    click.echo(f"\n{whole.summary()}\nmemory after the first minute: {growth:+.1%}")


@contextmanager
def _server(profile: str) -> Iterator[int]:
    """Yield the port of a server in another process."""
    processes = multiprocessing.get_context("spawn")  # nothing of this process is to be in the other
    here, there = processes.Pipe()
    process = processes.Process(target=_serve, args=(profile, there), daemon=True)
    process.start()
    try:
        yield here.recv()
    finally:
        process.kill()
        process.join()


def _serve(profile: str, port: Connection) -> None:
    """Send the phantom's images until the process is killed."""
    server = pyigtl.OpenIGTLinkServer(port=0)
    with open_source(f"phantom:{profile}") as scanner:  # drawn before, as drawing takes half a core
        images = [frame.grey[np.newaxis] for frame in islice(scanner, _IMAGES)]
    port.send(server.server_address[1])
    begun = time.monotonic()
    for number, image in enumerate(cycle(images)):
        time.sleep(max(begun + number / _RATE - time.monotonic(), 0))
        if server.is_connected():
            server.send_message(_StampedImage(image, device_name="Image_Reference"), wait=False)


def _observations(items: Iterable[Observation | PlaneEvent], statistics: StreamStatistics) -> Iterator[Observation]:
    for item in items:
        statistics.add(item)
        if isinstance(item, Observation):
            yield item


def _minutes(observations: Iterator[Observation], number: int) -> Iterator[Minute]:
    begun = time.monotonic()
    for minute in range(1, number + 1):
        statistics, ages_ms = StreamStatistics(), []
        for observation in observations:
            statistics.add(observation)
            (packed_at,) = _STAMP.unpack(observation.frame.grey[0, : _STAMP.size].tobytes())
            ages_ms.append(1000 * (observation.decided_at - packed_at))
            if observation.decided_at > begun + 60 * minute:
                break
        p50, p99 = np.percentile(ages_ms, (50, 99)).tolist()
        summary = statistics.summary()
        yield Minute(summary.frames, summary.dropped, p50, p99, _resident_bytes() / 1e6)


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    main()
