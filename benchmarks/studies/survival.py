"""What is left of each command that writes when it is killed at a random moment, and what the next start makes of it.

::

    python -m benchmarks.studies.survival

Each command is killed (SIGKILL) at moments spread over the time that it takes. What it left is looked at, and it is
started again, as a user would.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click
import cv2
import numpy as np

from metfa.runtime.benchmark.machine import host
from metfa.runtime.bundle.directory import CHECKPOINT, MANIFEST, UNFINISHED, WEIGHTS, Bundle, is_exported
from metfa.runtime.command import Command
from metfa.runtime.errors import MetfaError
from metfa.runtime.files import sha256, write_text

if TYPE_CHECKING:
    from collections.abc import Callable

RUN = ("--input-size", "28x28", "--preset", "small", "--candidates", "3", "--threads", "1", "--device", "cpu")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one command.

    Attributes:
        command: its name.
        kills: how often it was killed.
        undisturbed: what it leaves where nothing kills it.
        left: how often each state was left behind.
        then: how often each thing came of the next start.
    """

    command: str
    kills: int
    undisturbed: str
    left: dict[str, int]
    then: dict[str, int]


class Case:
    """A command in a folder of its own.

    Args:
        name: of the command.
        work: the folder, which holds the domains ``A`` and ``B`` and an exported bundle ``model``.
        steps: of a training run.
    """

    def __init__(self, name: str, work: Path, steps: int) -> None:
        self.name = name
        self._steps = steps
        self._work = work
        self.output = work / name

    def prepare(self) -> None:
        """Make the state in which the command is started first."""
        shutil.rmtree(self.output, ignore_errors=True)
        shutil.rmtree(self._work / "cache", ignore_errors=True)
        if self.name == "metfa-export":
            shutil.copytree(self._work / "trained", self.output)

    def arguments(self, *, again: bool) -> list[str]:
        """Return its arguments, for the first start or the one after it was killed."""
        domains = ["--source", str(self._work / "A"), "--target", str(self._work / "B")]
        output, model = str(self.output), str(self._work / "model")
        if self.name == "metfa-train":
            if again and (self.output / UNFINISHED / CHECKPOINT).exists():
                return ["--resume", "--bundle", output]
            if again and (self.output / MANIFEST).exists():
                return ["--help"]  # it was finished
            return [*domains, *RUN, "--steps", str(self._steps), "--bundle", output]
        if self.name == "metfa-export":
            return ["--fp16", output]
        if self.name == "metfa-evaluate":
            return ["--bundle", model, "--data", str(self._work / "B"), "--output", output]
        if self.name == "metfa-tune":
            return [*domains, *RUN, "--steps", "20", "--trials", "3", "--study", output]
        files = {
            "--events": "events.jsonl",
            "--output": "clip.mp4",
            "--snapshots": "snapshots",
            "--collect": "collected",
        }
        named = [part for option, file in files.items() for part in (option, str(self.output / file))]
        return ["--bundle", model, "--device", "phantom:B", "--seconds", "6", "--no-window", *named, "--overwrite"]

    def look(self) -> str:
        """Return in words what is there; raise where something is there that should not be."""
        return _LOOKS[self.name](self.output)


def _look_at_training(output: Path) -> str:
    if (output / MANIFEST).exists():
        bundle = Bundle.open(output)
        for name in bundle.files:
            bundle.read(name)
        return f"finished, weights {sha256(output / WEIGHTS)[:8]}"
    return "a checkpoint" if (output / UNFINISHED / CHECKPOINT).exists() else "nothing to go on with"


def _look_at_export(output: Path) -> str:
    bundle = Bundle.open(output)
    for name in bundle.files:
        bundle.read(name)
    return f"whole, {sum(map(is_exported, bundle.files))} exported files"


def _look_at_evaluation(output: Path) -> str:
    if not (output / "scores.json").exists():
        return "no scores"
    json.loads((output / "scores.json").read_text())
    return f"scores, {len(list(output.glob('*.png')))} pictures"


def _look_at_study(output: Path) -> str:
    return "a tuned run" if (output / "tuned.json").exists() else "a study" if output.exists() else "nothing"


def _look_at_stream(output: Path) -> str:
    events = output / "events.jsonl"
    whole = (
        [json.loads(line) for line in events.read_text().splitlines(keepends=True) if line.endswith("\n")]
        if events.exists()
        else []
    )
    for picture in [*output.glob("snapshots/*.png"), *output.glob("collected/**/*.png")]:
        if cv2.imread(str(picture)) is None:
            raise ValueError(f"{picture.name} is damaged")
    for record in output.glob("snapshots/*.json"):
        json.loads(record.read_text())
    clip = cv2.VideoCapture(str(output / "clip.mp4"))
    frames = 0
    while clip.read()[0]:
        frames += 1
    return f"{'some' if whole else 'no'} events, {'a clip that plays' if frames else 'no clip'}"


_LOOKS: dict[str, Callable[[Path], str]] = {
    "metfa-train": _look_at_training,
    "metfa-export": _look_at_export,
    "metfa-evaluate": _look_at_evaluation,
    "metfa-tune": _look_at_study,
    "metfa-stream": _look_at_stream,
}


@click.command(cls=Command, context_settings={"show_default": True})
@click.option("--kills", type=click.IntRange(min=1), default=20, help="Of each command.")
@click.option("--command", "names", type=click.Choice(list(_LOOKS)), multiple=True, default=list(_LOOKS))
@click.option("--steps", type=click.IntRange(min=1), default=600, help="Of a training run.")
@click.option("--seed", type=click.IntRange(min=0), default=0)
@click.option("--output", type=click.Path(path_type=Path), default=Path("benchmarks/results/survival.json"))
def main(kills: int, names: tuple[str, ...], steps: int, seed: int, output: Path) -> None:
    """Kill each command that writes at random moments, look at what is left, and start it again."""
    outcomes = []
    with TemporaryDirectory() as temporary:
        work = Path(temporary)
        _draw_domains(work)
        if not set(names) <= {"metfa-train", "metfa-tune"}:
            _make_bundles(work)
        for name in names:
            outcomes.append(_survive(Case(name, work, steps), kills, np.random.default_rng(seed)))
            click.echo(f"{name}: killed {kills} times")
            for title, counts in (("left", outcomes[-1].left), ("next start", outcomes[-1].then)):
                click.echo("\n".join(f"  {title}: {count} × {what}" for what, count in sorted(counts.items())))
    write_text(
        output,
        json.dumps({"benchmark": "survival", "host": host(), "outcomes": [asdict(each) for each in outcomes]}, indent=2)
        + "\n",
    )
    if any("Error" in what or "hidden" in what for outcome in outcomes for what in (*outcome.left, *outcome.then)):
        sys.exit(1)


def _survive(case: Case, kills: int, random: np.random.Generator) -> Outcome:
    case.prepare()
    began = time.monotonic()
    _start(case, again=False).communicate()
    lasted = time.monotonic() - began
    undisturbed = _describe(case)
    left: Counter[str] = Counter()
    then: Counter[str] = Counter()
    for moment in (np.arange(kills) + random.random(kills)) / kills:
        case.prepare()
        process = _start(case, again=False)
        try:
            process.communicate(timeout=lasted * moment)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        left[_describe(case)] += 1
        again = _start(case, again=True)
        _, error = again.communicate()
        then[f"Error: {error.strip().splitlines()[-1]}" if again.returncode else _describe(case, hidden=True)] += 1
    return Outcome(case.name, kills, undisturbed, dict(left), dict(then))


def _describe(case: Case, *, hidden: bool = False) -> str:
    """Return what a case left in words, and with ``hidden`` whether files are there that nobody sees."""
    try:
        state = case.look()
    except (MetfaError, ValueError, OSError) as error:
        return f"Error: {error}"
    names = sorted({path.name[:8] for path in case.output.rglob(".*")}) if hidden and case.output.exists() else []
    return f"{state}, hidden files {' '.join(names)}" if names else state


def _start(case: Case, *, again: bool) -> subprocess.Popen[str]:
    program = Path(sys.executable).with_name(case.name)
    return subprocess.Popen(
        [program, *case.arguments(again=again)],
        env={**os.environ, "XDG_CACHE_HOME": str(case.output.with_name("cache"))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that what it started is killed with it
    )


def _draw_domains(work: Path) -> None:
    """Draw two small domains."""
    for domain, level in (("A", 230), ("B", 120)):
        for label, thickness in (("disc", -1), ("ring", 2)):
            folder = work / domain / label
            folder.mkdir(parents=True)
            for number in range(12):
                image = np.random.default_rng(number).integers(0, 60, (40, 40), np.uint8)
                cv2.circle(image, (12 + number, 20), 9, level, thickness)
                cv2.imwrite(str(folder / f"{number}.png"), image)


def _make_bundles(work: Path) -> None:
    """Train a bundle, and export a copy of it."""
    trained, model = work / "trained", work / "model"
    domains = ("--source", work / "A", "--target", work / "B")
    for name, *arguments in (
        ("metfa-train", *domains, *RUN, "--steps", 20, "--bundle", trained),
        ("metfa-export", "--fp16", model),
    ):
        if name == "metfa-export":
            shutil.copytree(trained, model)
        program = Path(sys.executable).with_name(name)
        subprocess.run([program, *map(str, arguments)], check=True, capture_output=True)


if __name__ == "__main__":
    main()
