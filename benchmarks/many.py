"""Several sources in one process: how many keep pace, what they cost beside processes of their own, half an hour.

::

    python -m benchmarks.many --bundle runs/metfa --minutes 30

FFmpeg sends each source a 720p clip over the loopback as MPEG-TS with H.264, in real time, 30 frames a second.
"""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from metfa.runtime.benchmark.machine import host
from metfa.runtime.bundle.directory import DEFAULT_DIRECTORY
from metfa.runtime.command import Command
from metfa.runtime.files import write_text

from .clips import encode, make_clip
from .sender import Sender

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_SETTLE_SECONDS = 5.0  # in which sources connect and find their sectors, before anything counts
_SILENCE_SECONDS = 5.0  # from the end of one sender to the beginning of the next
_COMMAND = [sys.executable, "-c", "from metfa.runtime.cli import run; run()"]


@dataclass(frozen=True, slots=True)
class Pace:
    """How a number of live sources got on.

    Attributes:
        sources: how many.
        frames_per_second: classified, of the slowest source.
        dropped: frames that were not, as a share, of the worst source.
        p50_ms: median time from capture to decision, of the worst source.
        p99_ms: 99 % of its frames took at most this.
        cores: that the process kept busy.
        memory_mb: its proportional share of memory.
    """

    sources: int
    frames_per_second: float
    dropped: float
    p50_ms: float
    p99_ms: float
    cores: float
    memory_mb: float


@dataclass(frozen=True, slots=True)
class Recordings:
    """What it took to label recordings side by side.

    Attributes:
        processes: how many.
        frames_per_second: of all together, from the first start to the last end.
        memory_mb: the most that all together took, by their proportional shares.
    """

    processes: int
    frames_per_second: float
    memory_mb: float


@dataclass(frozen=True, slots=True)
class Minute:
    """What a minute of several live sources was like; lists have a value for each source.

    Attributes:
        frames: classified.
        dropped: not classified, because newer ones were there.
        reconnects: up to now.
        memory_mb: of the process, at its end.
    """

    frames: list[int]
    dropped: list[int]
    reconnects: list[int]
    memory_mb: float


@click.command(cls=Command)
@click.option("--bundle", type=click.Path(path_type=Path), default=DEFAULT_DIRECTORY, show_default=True)
@click.option("--counts", default="1,2,4,6,8,10", show_default=True, help="Of live sources, with commas between.")
@click.option("--seconds", type=click.IntRange(min=1), default=20, show_default=True, help="Of each count.")
@click.option(
    "--recordings", type=click.IntRange(min=0), default=10, show_default=True, help="In one process, or each."
)
@click.option("--minutes", type=click.IntRange(min=0), default=0, show_default=True, help="Of four live sources.")
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("benchmarks/results/many.json"), show_default=True
)
def main(bundle: Path, counts: str, seconds: int, recordings: int, minutes: int, output: Path) -> None:
    """Time live sources by their number, recordings in one process and in several, and a long run."""
    report: dict[str, object] = {"benchmark": "many", "host": host()}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        clip = encode(make_clip(folder / "clip.mp4"))
        if counts:
            click.echo("sources  frames/s  dropped   p50 ms   p99 ms    cores   memory MB")
            paces = []
            for count in map(int, counts.split(",")):
                paces.append(pace := measure_pace(bundle, clip, folder, count, seconds))
                click.echo(
                    f"{pace.sources:7} {pace.frames_per_second:9.1f} {pace.dropped:8.1%} {pace.p50_ms:8.1f} "
                    f"{pace.p99_ms:8.1f} {pace.cores:8.2f} {pace.memory_mb:11.0f}"
                )
            report["live"] = [asdict(pace) for pace in paces]
        if recordings:
            sides = [measure_recordings(bundle, clip, folder, recordings, each) for each in (1, recordings)]
            for side in sides:
                click.echo(
                    f"{recordings} recordings, {side.processes} processes: {side.frames_per_second:.0f} frames/s, "
                    f"{side.memory_mb:.0f} MB"
                )
            report["recordings"] = [asdict(side) for side in sides]
        if minutes:
            rows = []
            for row in run_long(bundle, clip, folder, minutes):
                rows.append(row)
                click.echo(
                    f"{len(rows):4} {row.frames} dropped {row.dropped} reconnects {row.reconnects} "
                    f"{row.memory_mb:.1f} MB"
                )
            growth = rows[-1].memory_mb / rows[0].memory_mb - 1
            click.echo(f"memory after the first minute: {growth:+.1%}")
            report["long"] = {"minutes": [asdict(row) for row in rows], "growth_after_the_first_minute": growth}
    write_text(output, json.dumps(report, indent=2) + "\n")


def measure_pace(bundle: Path, clip: Path, folder: Path, count: int, seconds: int) -> Pace:
    """Stream so many live sources, and return how they got on once they were connected."""
    ports = _free_ports(count)
    with _sent(clip, ports), _streamed(bundle, folder, ports) as (process, url):
        time.sleep(_SETTLE_SECONDS)
        before, cpu, began = _metrics(url), _cpu_seconds(process.pid), time.monotonic()
        time.sleep(seconds)
        after, elapsed = _metrics(url), time.monotonic() - began
        names = [str(number + 1) for number in range(count)]

        def grown(metric: str) -> list[float]:
            return [after[metric, name] - before[metric, name] for name in names]

        classified, captured = grown("frames_classified_total"), grown("frames_captured_total")
        quantiles = [
            max(after[f"capture_to_decision_seconds/{share}", name] for name in names) for share in ("0.5", "0.99")
        ]
        return Pace(
            sources=count,
            frames_per_second=min(classified) / elapsed,
            dropped=max(1 - one / of for one, of in zip(classified, captured, strict=True)),
            p50_ms=1000 * quantiles[0],
            p99_ms=1000 * quantiles[1],
            cores=(_cpu_seconds(process.pid) - cpu) / elapsed,
            memory_mb=_memory_mb(process.pid),
        )


def measure_recordings(bundle: Path, clip: Path, folder: Path, count: int, processes: int) -> Recordings:
    """Label ``count`` copies of a clip, in one process or in as many."""
    copies = [_copy(clip, folder, number) for number in range(count // processes)]
    devices = [argument for copy in copies for argument in ("--device", str(copy))]
    began = time.monotonic()
    running = [
        subprocess.Popen(
            [*_COMMAND, "--bundle", bundle, *devices, "--no-window", "--roi", "full"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for _ in range(processes)
    ]
    most = 0.0
    while any(process.poll() is None for process in running):
        most = max(most, sum(_memory_mb(process.pid) for process in running if process.poll() is None))
        time.sleep(0.05)
    elapsed = time.monotonic() - began
    frames = sum(int(found) for process in running for found in re.findall(r"(\d+) frames, ", process.communicate()[0]))
    return Recordings(processes, frames / elapsed, most)


def run_long(bundle: Path, clip: Path, folder: Path, minutes: int) -> Iterator[Minute]:
    """Stream four live sources, and yield what each minute was like; the sender of the first is killed twice."""
    killed = {minutes // 3, 2 * minutes // 3}
    events = "--events", str(folder / "events.jsonl")
    ports = _free_ports(4)
    with _sent(clip, ports) as senders, _streamed(bundle, folder, ports, *events) as (process, url):
        time.sleep(_SETTLE_SECONDS)
        before, began = _metrics(url), time.monotonic()
        for minute in range(1, minutes + 1):
            if minute in killed:
                senders[0].restart(_SILENCE_SECONDS)
            time.sleep(max(began + 60 * minute - time.monotonic(), 0))
            after = _metrics(url)
            classified, dropped = (
                [int(after[metric, name] - before[metric, name]) for name in "1234"]
                for metric in ("frames_classified_total", "frames_dropped_total")
            )
            reconnects = [int(after["reconnects_total", name]) for name in "1234"]
            yield Minute(classified, dropped, reconnects, _memory_mb(process.pid))
            before = after


def _copy(clip: Path, folder: Path, number: int) -> Path:
    path = folder / f"recording-{number}{clip.suffix}"
    if not path.exists():
        path.symlink_to(clip)
    return path


@contextmanager
def _sent(clip: Path, ports: Sequence[int]) -> Iterator[Sequence[Sender]]:
    with ExitStack() as stack:
        yield [stack.enter_context(closing(Sender(clip, port))) for port in ports]


@contextmanager
def _streamed(
    bundle: Path, folder: Path, ports: Sequence[int], *options: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    devices = folder / "devices.txt"
    devices.write_text("".join(f"{number} = udp://127.0.0.1:{port}\n" for number, port in enumerate(ports, 1)))
    command = [*_COMMAND, "--bundle", str(bundle), "--devices", str(devices), "--no-window", "--roi", "full"]
    with subprocess.Popen(
        [*command, "--serve", "127.0.0.1:0", *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            yield process, next(line for line in process.stderr if line.startswith("dashboard: ")).split()[1]
        finally:
            process.send_signal(signal.SIGTERM)


def _free_ports(count: int) -> list[int]:
    """Return ports of the loopback that nobody receives on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket(type=socket.SOCK_DGRAM)) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _metrics(url: str) -> dict[tuple[str, str], float]:
    """Return the metrics by name, with the quantile where there is one, and source."""
    with urllib.request.urlopen(f"{url}metrics", timeout=10) as answer:
        text = answer.read().decode()
    values = {}
    for line in re.finditer(r'^metfa_(\w+)\{source="([^"]*)"(?:,quantile="([^"]*)")?\} (\S+)$', text, re.MULTILINE):
        name, source, quantile, value = line.groups()
        values[f"{name}/{quantile}" if quantile else name, source] = float(value)
    return values


def _cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100  # user and system, in ticks of 10 ms


def _memory_mb(process: int) -> float:
    try:
        found = re.search(r"^Pss:\s+(\d+) kB$", Path(f"/proc/{process}/smaps_rollup").read_text(), re.MULTILINE)
    except OSError:  # it has ended
        return 0.0
    return int(found[1]) / 1000 if found else 0.0


if __name__ == "__main__":
    main()
