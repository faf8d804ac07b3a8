"""What connections to other programs cost a stream while every one of those programs hangs.

::

    python -m benchmarks.connections --bundle runs/metfa

The simulated scanner is streamed without connections and with all of them, in turns. The peers accept connections, read
what they are sent, and answer nothing.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import click
import numpy as np

from metfa.runtime.benchmark.machine import host
from metfa.runtime.bundle.directory import DEFAULT_DIRECTORY
from metfa.runtime.command import Command
from metfa.runtime.files import write_text

if TYPE_CHECKING:
    from collections.abc import Iterator

_COMMAND = [sys.executable, "-c", "from metfa.runtime.cli import run; run()"]
_SETTLE_SECONDS = 2.0  # of the stream, which do not count


@click.command(cls=Command)
@click.option("--bundle", type=click.Path(path_type=Path), default=DEFAULT_DIRECTORY, show_default=True)
@click.option("--device", default="phantom:B", show_default=True, help="What is streamed.")
@click.option("--seconds", type=click.IntRange(min=5), default=20, show_default=True, help="Of each stream.")
@click.option("--turns", type=click.IntRange(min=1), default=5, show_default=True, help="Of one stream of each kind.")
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("benchmarks/results/connections.json"), show_default=True
)
def main(bundle: Path, device: str, seconds: int, turns: int, output: Path) -> None:
    """Time a stream without connections, and with all of them to peers that hang."""
    latencies: dict[str, list[dict[str, float]]] = {"none": [], "all": []}
    with tempfile.TemporaryDirectory() as temporary, _hanging() as port:
        peers = f"--mqtt mqtt://127.0.0.1:{port} --dicom store://PACS@127.0.0.1:{port} --igtl 127.0.0.1:{port} "
        options = {"none": [], "all": [*peers.split(), "--igtl-images"]}
        for turn in range(turns):
            for name in sorted(options, reverse=turn % 2 == 0):
                latencies[name].append(_stream(bundle, device, seconds, Path(temporary), options[name]))
                click.echo(f"{name:5} {latencies[name][-1]}")
    ratios = {
        share: median(with_all[share] / alone[share] for alone, with_all in zip(*latencies.values(), strict=True))
        for share in ("p50_ms", "p99_ms")
    }
    click.echo(f"all : none, median of {turns} turns: {ratios}")
    record = {"benchmark": "connections", "host": host(), "turns": latencies, "ratios": ratios}
    write_text(output, json.dumps(record, indent=2) + "\n")


def _stream(bundle: Path, device: str, seconds: int, folder: Path, options: list[str]) -> dict[str, float]:
    """Stream, and return what the time from capture to decision was."""
    records = folder / "events.jsonl"
    command = [*_COMMAND, "--bundle", str(bundle), "--device", device, "--seconds", str(seconds), "--no-window"]
    command += ["--events", str(records), "--overwrite", *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    lines = [json.loads(line) for line in records.read_text().splitlines()]
    frames = [line["latency_ms"] for line in lines if line["type"] == "frame" and line["time"] > _SETTLE_SECONDS]
    p50, p99 = np.percentile(frames, [50, 99])
    events = sum(line["type"] == "event" for line in lines)
    return {"frames": len(frames), "events": events, "p50_ms": float(p50), "p99_ms": float(p99)}


@contextmanager
def _hanging() -> Iterator[int]:
    """Yield the port of a peer that reads and answers nothing."""

    def read(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while connection.recv(1 << 16):
                pass

    def accept() -> None:
        with suppress(OSError):  # it is closed in the end
            while True:
                threading.Thread(target=read, args=(listening.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=accept, daemon=True).start()
        yield listening.getsockname()[1]


if __name__ == "__main__":
    main()
