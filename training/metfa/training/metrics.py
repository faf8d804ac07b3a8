"""The file of a run's metrics: a line of JSON for each step."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from metfa.runtime.files import write_text, writing_to

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

METRICS = "metrics.jsonl"


def append_metrics(directory: Path, metrics: Iterable[dict[str, float]]) -> None:
    """Append steps: of each its number, as ``step``, and the value of each term of the objective.

    Raises:
        OutputError: the file cannot be written.
    """
    path = directory / METRICS
    with writing_to(path), path.open("a", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(each) + "\n" for each in metrics)


def keep_metrics_until(directory: Path, step: int) -> None:
    """Drop the steps after ``step``, and a last line that was cut off.

    Raises:
        OutputError: the file cannot be written.
    """
    path = directory / METRICS
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    whole = (line for line in lines if line.endswith("\n"))
    write_text(path, "".join(line for line in whole if json.loads(line)["step"] <= step))


def read_metrics(directory: Path) -> list[dict[str, float]]:
    """Return of each step of a run its number, as ``step``, and the value of each term of the objective."""
    return [json.loads(line) for line in (directory / METRICS).read_text(encoding="utf-8").splitlines()]
