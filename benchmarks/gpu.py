"""All that needs a GPU, as one command; ``make gpu`` runs it with whatever Python has PyTorch, and installs nothing.

::

    make gpu
    make gpu PYTHON=/opt/torch/bin/python BUNDLE=runs/metfa
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from metfa.runtime.benchmark.machine import host
from metfa.runtime.command import Command
from metfa.runtime.files import write_text
from metfa.training.parallel import make_fabric

SECONDS = 450
"""Of all parts together: eight minutes, less what starting and writing take."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one part came to.

    Attributes:
        name: of the part.
        command: what was run.
        exit_code: of it; None where its time was over, or none was left.
        seconds: that it took.
        output: the end of what it printed.
        record: what it measured, where it got so far.
    """

    name: str
    command: list[str]
    exit_code: int | None
    seconds: float
    output: str
    record: object


@click.command(cls=Command)
@click.option("--device", type=click.Choice(["cuda", "cpu"]), default="cuda", show_default=True)
@click.option("--bundle", type=click.Path(path_type=Path), help="Exported; times its artefacts, too.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("runs/gpu"), show_default=True)
@click.option(
    "--seconds", type=click.IntRange(min=1), default=SECONDS, show_default=True, help="Of all parts together."
)
def main(device: str, bundle: Path | None, output: Path, seconds: int) -> None:
    """Run the GPU's tests, time training with each encoder, and every way to run a bundle; write gpu.json."""
    make_fabric(device)  # says in a line where there is none
    encoders, backends = output / "encoders.json", output / "backends"
    python = [sys.executable, "-m"]
    parts = {
        # The tests first: who has a GPU for minutes wants to know whether it is right before how fast it is.
        "tests": ([*python, "pytest", "-q", "-rs", "-m", "gpu", "tests/training", "tests/runtime/backends"], None),
        "training": (
            [*python, "benchmarks.train.encoders", "--device", device, "--output", str(encoders)],
            encoders,
        ),
    }
    if bundle is not None:
        run = "from metfa.runtime.benchmark.cli import run; run()"  # of a checkout, no command may be installed
        command = [sys.executable, "-c", run, "--bundle", str(bundle), "--output", str(backends)]
        parts["inference"] = (command, backends / "benchmark.json")
    deadline = time.monotonic() + seconds
    done: list[Part] = []
    for name, (command, record) in parts.items():
        click.echo(f"{name}: {' '.join(command)}")
        done.append(_run(name, command, record, deadline))
        click.echo(done[-1].output)
        report = {"benchmark": "gpu", "device": device, "host": host(), "parts": [asdict(part) for part in done]}
        write_text(output / "gpu.json", json.dumps(report, indent=2) + "\n")  # what is there, is there
    for part in done:
        outcome = "out of time" if part.exit_code is None else "done" if part.exit_code == 0 else "failed"
        click.echo(f"{part.name:10} {outcome}, {part.seconds:.0f} s")
    if any(part.exit_code != 0 for part in done):
        sys.exit(1)


def _run(name: str, command: list[str], record: Path | None, deadline: float) -> Part:
    if record is not None:
        record.unlink(missing_ok=True)  # of an earlier run
    began = time.monotonic()
    try:
        process = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=max(deadline - began, 0.1), check=False
        )
        exit_code, said = process.returncode, process.stdout
    except subprocess.TimeoutExpired as ended:
        exit_code, said = None, ended.stdout or b""
    measured = json.loads(record.read_text(encoding="utf-8")) if record is not None and record.exists() else None
    output = said.decode(errors="replace")[-4000:]
    return Part(name, command, exit_code, time.monotonic() - began, output, measured)


if __name__ == "__main__":
    main()
