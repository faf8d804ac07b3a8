"""Rules of selection, on candidates whose worth is known."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest
from benchmarks.studies.selection import Candidates, compare, main, read_runs
from click.testing import CliRunner

from metfa.training.selection.validators import Validators

if TYPE_CHECKING:
    from pathlib import Path


def validators(**values: float) -> Validators:
    usual = dict.fromkeys(Validators.__dataclass_fields__, 0.5)
    return Validators(**{**usual, "accuracy_error": 0.0, "diversity": 1.0, **values})


RUN = Candidates(
    record="table",
    pair="A → B",
    method="metfa-vi",
    validators=(
        validators(ami=0.4, nuclear_norm=0.9),
        validators(ami=0.8),
        validators(ami=0.9, supervised_accuracy=0.3),  # it has lost the source
        validators(ami=0.6, neighbourhood_density=0.9),
    ),
    target_f1=(0.5, 0.9, 0.2, 0.8),
)


def test_each_rule_chooses_what_it_prefers_and_the_oracle_says_what_that_costs() -> None:
    chosen = {name: f1 for name, (f1, _, _) in compare([RUN]).items()}
    assert (
        chosen["last step"]
        == chosen["the rule of metfa: the last sound step"]
        == chosen["neighbourhood density"]
        == 0.8
    )
    assert chosen["AMI"] == 0.9
    assert chosen["nuclear norm"] == 0.5
    assert compare([RUN])["last step"] == pytest.approx((0.8, 0.1, 0.1))


def record(method: str) -> dict[str, Any]:
    kept = [
        {"validators": asdict(each), "target_f1": f1} for each, f1 in zip(RUN.validators, RUN.target_f1, strict=True)
    ]
    return {"method": method, "config": {"source": "A", "target": "B"}, "evaluation": {"candidates": kept}}


def test_a_record_is_read_but_for_what_does_not_adapt(tmp_path: Path) -> None:
    path = tmp_path / "table" / "runs.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"runs": [record("metfa-vi"), record("source-only")]}))
    assert read_runs(path) == [RUN]
    result = CliRunner().invoke(main, [str(path)])
    assert result.exit_code == 0
    assert "Runs: 1, of metfa-vi; pairs: 1" in result.stdout
    assert "table" not in result.stdout
    assert "table, A → B, metfa-vi: 0.800 (1)\n" in CliRunner().invoke(main, [str(path), "--each"]).stdout


def test_older_records_lack_the_error_of_the_accuracy(tmp_path: Path) -> None:
    old = record("metfa-vi")
    for each in old["evaluation"]["candidates"]:
        del each["validators"]["accuracy_error"]
    path = tmp_path / "runs.json"
    path.write_text(json.dumps({"runs": [old]}))
    (run,) = read_runs(path)
    assert [each.accuracy_error for each in run.validators] == [0.0] * 4


@pytest.mark.parametrize("content", ["", "{", "{}", '{"runs": [{}]}', '{"runs": []}'])
def test_what_is_no_record_is_one_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "runs.json"
    path.write_text(content)
    result = CliRunner().invoke(main, [str(path)])
    assert result.exit_code == 1
    assert result.output.count("\n") == 1
