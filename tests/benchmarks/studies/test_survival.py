"""A training run that is killed at a random moment goes on, and ends with the same weights; the benchmark says so."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from benchmarks.studies.survival import main
from click.testing import CliRunner

if TYPE_CHECKING:
    from pathlib import Path


def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(tmp_path: Path) -> None:
    record = tmp_path / "survival.json"
    arguments = ["--kills", "1", "--command", "metfa-train", "--steps", "60", "--output", str(record)]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    (outcome,) = json.loads(record.read_text())["outcomes"]
    assert sum(outcome["left"].values()) == 1
    assert outcome["undisturbed"].startswith("finished, weights ")
    assert outcome["then"] == {outcome["undisturbed"]: 1}  # the weights' hash is part of it
