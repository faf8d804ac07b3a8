"""A live stream for minutes or hours: does latency stay flat, does memory, and does it survive its sender?

FFmpeg sends a 720p clip over the loopback as MPEG-TS, in real time; in the middle it is killed and started again::

    python -m benchmarks.live --bundle runs/metfa --minutes 30
"""

from __future__ import annotations

import json
import resource
import tempfile
import threading
import time
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import click
import cv2

from metfa.runtime import Observation, PlaneClassifier, StreamStatistics, open_source, stream
from metfa.runtime.benchmark.machine import host
from metfa.runtime.bundle.directory import DEFAULT_DIRECTORY
from metfa.runtime.command import Command
from metfa.runtime.files import write_text
from metfa.runtime.sinks import Feeds, JsonLinesSink

from .clips import encode, make_clip
from .sender import Sender

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from metfa.runtime import PlaneEvent

_RATE = 30.0
_SILENCE_SECONDS = 5.0  # from the end of one sender to the beginning of the next


@dataclass(frozen=True, slots=True)
class Minute:
    """What one minute of the stream was like.

    Attributes:
        frames: how many were classified.
        dropped: how many were not, because newer ones were there.
        p50_ms: median time from capture to decision.
        p99_ms: 99 % of the frames took at most this.
        lag_ms: how much later than in the sender's first minute a frame is captured, by the number of frames that the
            sender must have sent by then; median. It grows where frames queue up, or are lost on the way.
        rss_mb: resident memory at its end.
    """

    frames: int
    dropped: int
    p50_ms: float
    p99_ms: float
    lag_ms: float
    rss_mb: float


@click.command(cls=Command)
@click.option("--bundle", "directory", type=click.Path(path_type=Path), default=DEFAULT_DIRECTORY, show_default=True)
@click.option("--minutes", type=click.IntRange(min=2), default=30, show_default=True)
@click.option("--port", type=click.IntRange(1024, 65535), default=5004, show_default=True)
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("benchmarks/results/live.json"), show_default=True
)
def main(directory: Path, minutes: int, port: int, output: Path) -> None:
    """Stream for MINUTES, with a record of every frame written, and print a line for each minute."""
    cv2.setNumThreads(1)  # as metfa-stream does
    classifier = PlaneClassifier.load(directory)
    whole, rows = StreamStatistics(), []
    with tempfile.TemporaryDirectory() as temporary:
        sender = _MortalSender(encode(make_clip(Path(temporary, "clip.mp4"))), port, restart_after_s=30 * minutes + 15)
        with (
            closing(sender),
            open_source(f"udp://127.0.0.1:{port}", notify=click.echo) as source,
            Feeds(live=True, notify=click.echo) as feeds,
            closing(stream(source, classifier)) as items,
        ):
            feeds.add(JsonLinesSink(Path(temporary, "events.jsonl"), classifier.contract.labels))
            click.echo(f"{classifier.backend_choice}\n{source.description}")
            click.echo("minute  frames  dropped   p50 ms   p99 ms   lag ms   RSS MB")
            for row in _minutes(_passed_on(items, whole, feeds, sender), minutes):
                rows.append(row)
                click.echo(
                    f"{len(rows):6} {row.frames:7} {row.dropped:8} {row.p50_ms:8.1f} {row.p99_ms:8.1f} "
                    f"{row.lag_ms:8.1f} {row.rss_mb:8.1f}"
                )
    summary = whole.summary()
    growth = rows[-1].rss_mb / rows[0].rss_mb - 1
    report = {
        "benchmark": "live",
        "host": host(),
        "backend": classifier.backend_choice,
        "source": source.description,
        "minutes": [asdict(row) for row in rows],
        "rss_growth_after_the_first_minute": growth,
        "seconds_from_start_of_new_sender_to_first_frame": sender.answered_after_s,
        "summary": asdict(summary),
    }
    write_text(output, json.dumps(report, indent=2) + "\n")
    click.echo(f"\n{summary}\nmemory after the first minute: {growth:+.1%}")
    click.echo(f"first frame {sender.answered_after_s:.1f} s after the new sender was started")


class _MortalSender:
    """A sender that is killed and started again once.

    Attributes:
        answered_after_s: seconds from the second start to the first frame of it.
    """

    def __init__(self, clip: Path, port: int, restart_after_s: float) -> None:
        self.answered_after_s = float("nan")
        self._sender = Sender(clip, port)
        self._timer = threading.Timer(restart_after_s, self._sender.restart, (_SILENCE_SECONDS,))
        self._timer.start()

    def received(self, observation: Observation) -> None:
        """Take note of what came of it."""
        if observation.frame.session and self.answered_after_s != self.answered_after_s:
            self.answered_after_s = observation.frame.captured_at - self._sender.started_at

    def close(self) -> None:
        """Send no more."""
        self._timer.cancel()
        self._timer.join()
        self._sender.close()


def _passed_on(
    items: Iterable[Observation | PlaneEvent], statistics: StreamStatistics, feeds: Feeds, sender: _MortalSender
) -> Iterator[Observation]:
    for item in items:
        statistics.add(item)
        feeds.put(item)
        if isinstance(item, Observation):
            sender.received(item)
            yield item


def _minutes(observations: Iterator[Observation], number: int) -> Iterator[Minute]:
    origin: dict[int, float] = {}  # of each session: when its frame 0 would have been captured without any lag
    begun = time.monotonic()
    for minute in range(1, number + 1):
        statistics, moments = StreamStatistics(), []
        for observation in observations:
            statistics.add(observation)
            frame = observation.frame
            moments.append((frame.session, frame.captured_at - frame.index / _RATE))
            if observation.decided_at > begun + 60 * minute:
                break
        session = moments[-1][0]
        moment = median(at for of, at in moments if of == session)
        summary = statistics.summary()
        yield Minute(
            frames=summary.frames,
            dropped=summary.dropped,
            p50_ms=summary.p50_ms,
            p99_ms=summary.p99_ms,
            lag_ms=1000 * (moment - origin.setdefault(session, moment)),
            rss_mb=_resident_bytes() / 1e6,
        )


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    main()
