"""A training run that is killed at random moments goes on, and ends with the same weights; the benchmark says so."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from benchmarks.studies.survival import main
from click.testing import CliRunner

if TYPE_CHECKING:
    from pathlib import Path


def test_killed_runs_end_with_the_same_weights(tmp_path: Path) -> None:
    record = tmp_path / "survival.json"
    arguments = ["--kills", "2", "--command", "metfa-train", "--steps", "60", "--output", str(record)]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    (outcome,) = json.loads(record.read_text())["outcomes"]
    assert sum(outcome["left"].values()) == 2
    ((state, count),) = outcome["then"].items()  # one state: the weights' hash is part of it
    assert count == 2
    assert state.startswith("finished, weights ")
