"""The paper's tables on two small domains: what is written, what is taken up again, what is refused."""

import csv
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from benchmarks.tables import ablation, rates, report, runs
from benchmarks.tables.__main__ import main
from benchmarks.tables.report import markdown, read_result
from benchmarks.tables.runs import Direction, DomainChoice, Run
from click.testing import CliRunner, Result

from metfa.runtime.errors import BundleError
from metfa.training.config import CONFIG
from metfa.training.outcome import EVALUATION

SMALL = ["--preset", "small", "--input-size", "28x28", "--steps", "6", "--images-per-class", "2"]
SMALL += ["--candidates", "2", "--threads", "1", "--device", "cpu"]


def run(folder: Path, *arguments: str) -> Result:
    domains = ["--source", str(folder / "a"), "--target", str(folder / "b"), "--output", str(folder / "table")]
    return CliRunner().invoke(main, [*domains, *arguments, *SMALL])


def read_csv(table: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((table / "table.csv").read_text().splitlines()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two domains of two classes, bright and dark, and their table: two methods, both directions, two seeds."""
    folder = tmp_path_factory.mktemp("tables")
    generator = np.random.default_rng(0)
    for domain, brightness in (("a", 230), ("b", 120)):
        for label, box in (("high", slice(2, 12)), ("low", slice(20, 30))):
            (folder / domain / label).mkdir(parents=True)
            for number in range(8):
                image = generator.integers(0, 60, (32, 32)).astype(np.uint8)
                image[box, 2 * number : 2 * number + 16] = brightness
                assert cv2.imwrite(str(folder / domain / label / f"{number}.png"), image)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        result = run(folder, "--methods", "source-only,metfa-v", "--both-directions", "--seeds", "2")
    assert result.exit_code == 0, result.output
    assert "a → " in result.output.replace(str(folder) + "/", "")
    return folder


@pytest.fixture(autouse=True)
def cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))


def test_a_table_is_markdown_csv_json_and_pictures(folder: Path) -> None:
    table = folder / "table"
    text = (table / "table.md").read_text()
    assert text.count("| metfa-v |") == 4  # two directions; scores and selection
    assert "metfa-v − source-only, the best baseline, on the target" in text
    rows = read_csv(table)
    assert [(row["direction"], row["method"], row["seeds"]) for row in rows] == [
        (direction, method, "2")
        for direction in ("source-to-target", "target-to-source")
        for method in ("source-only", "metfa-v")
    ]
    for kind in ("confusion", "embedding"):
        for direction in ("source-to-target", "target-to-source"):
            assert cv2.imread(str(table / f"{kind}-{direction}.png")) is not None
            assert (table / f"{kind}-{direction}.svg").read_text().startswith("<?xml")


def test_mean_and_deviation_are_those_of_the_runs(folder: Path) -> None:
    runs = json.loads((folder / "table" / "runs.json").read_text())["runs"]
    for row in read_csv(folder / "table"):
        of_row = [run for run in runs if (run["direction"], run["method"]) == (row["direction"], row["method"])]
        assert sorted(run["seed"] for run in of_row) == [0, 1]
        scores = [run["evaluation"]["target"]["f1"] for run in of_row]
        oracle = [max(each["target_f1"] for each in run["evaluation"]["candidates"]) for run in of_row]
        assert float(row["target F1, mean"]) == pytest.approx(sum(scores) / 2, abs=1e-4)
        assert float(row["target F1, deviation"]) == pytest.approx(abs(scores[0] - scores[1]) / 2**0.5, abs=1e-4)
        assert float(row["target F1, oracle, mean"]) == pytest.approx(sum(oracle) / 2, abs=1e-4)


def test_both_directions_swap_the_domains(folder: Path) -> None:
    for run_ in json.loads((folder / "table" / "runs.json").read_text())["runs"]:
        names = (Path(run_["config"]["source"]).name, Path(run_["config"]["target"]).name)
        assert names == (("a", "b") if run_["direction"] == "source-to-target" else ("b", "a"))


def test_finished_runs_are_not_repeated_and_a_lost_one_is(folder: Path) -> None:
    bundles = sorted((folder / "table" / "runs").glob("*/*/*"))
    lost, kept = bundles[0], bundles[1:]
    before = (folder / "table" / "table.csv").read_text()
    times = [(bundle / EVALUATION).stat().st_mtime_ns for bundle in kept]
    shutil.rmtree(lost)
    result = run(folder, "--methods", "source-only,metfa-v", "--both-directions", "--seeds", "2")
    assert result.exit_code == 0, result.output
    assert [(bundle / EVALUATION).stat().st_mtime_ns for bundle in kept] == times
    assert (folder / "table" / "table.csv").read_text() == before  # the same seed, the same numbers


def test_a_run_that_fails_is_named_and_the_others_are_tabulated(folder: Path) -> None:
    domains = ["--source", str(folder / "a"), "--target", str(folder / "b"), "--output", str(folder / "failed")]
    special = ["--options-for", "metfa-*", "--learning-rate 1e30"]
    result = CliRunner().invoke(main, [*domains, "--methods", "source-only,metfa-v", "--seeds", "1", *special, *SMALL])
    assert result.exit_code == 1
    assert "source-to-target/metfa-v/0 failed: expected finite" in result.output
    assert "| source-only |" in (folder / "failed" / "table.md").read_text()


def test_a_process_that_is_killed_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "_begin", os._exit)
    domains = ["--source", str(folder / "a"), "--target", str(folder / "b"), "--output", str(folder / "killed")]
    result = CliRunner().invoke(main, [*domains, "--methods", "adabn", "--seeds", "1", *SMALL])
    assert result.exit_code == 1
    assert result.output.splitlines()[-1] == (
        "Error: expected processes that train to come to their end, received one that was killed, as happens where "
        "memory runs out; free memory or give fewer --jobs; the same command goes on with what is done"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "metfa-ix"], "expected all or some of source-only, adabn"),
        (["--seeds", "0"], "0 is not in the range"),
        (["--stepps", "3"], "No such option"),
        (["--seed", "3"], "received --seed, which the table decides for each run; leave it out"),
        (["--options-for", "metfa-*", "--bundle x"], "received --bundle, which the table decides"),
        (["--options-for", "metfa-*", "--learning-rate fast"], "'fast' is not a valid float"),
        (["stray"], "unexpected extra argument (stray)"),
        (["--source-roi", "0,0,20,20"], "expected the domains and options that the runs in"),
    ],
    ids=["method", "seeds", "misspelt", "the table's", "the table's for some", "no number", "stray", "other settings"],
)
def test_bad_input_is_one_line(folder: Path, arguments: list[str], message: str) -> None:
    result = run(folder, *arguments)
    assert result.exit_code != 0
    assert message in result.output
    assert result.output.count("\n") == 1


def test_a_target_without_labels_cannot_be_tabulated(folder: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(next((folder / "table" / "runs").glob("source-to-target/metfa-v/0")), bundle)
    direction = Direction("source-to-target", DomainChoice("a", None), DomainChoice("b", None))
    run_ = Run(direction, "metfa-v", 0)
    assert "one seed; the model" in markdown([read_result(run_, bundle)], direction)
    evaluation = json.loads((bundle / EVALUATION).read_text())
    (bundle / EVALUATION).write_text(json.dumps({**evaluation, "target": None}))
    with pytest.raises(BundleError, match="expected a labelled target"):
        read_result(run_, bundle)
    (bundle / CONFIG).unlink()
    with pytest.raises(BundleError, match=r"expected training\.json"):
        read_result(run_, bundle)


def test_an_ablation_has_a_row_for_each_variant(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablation, "VARIANTS", {"whole": "", "without the teacher": "--lambda-consistency 0"})
    output = folder / "ablation"
    domains = ["--source", str(folder / "a"), "--target", str(folder / "b"), "--output", str(output), "--seeds", "1"]
    result = CliRunner().invoke(ablation.main, [*domains, *SMALL])
    assert result.exit_code == 0, result.output
    runs = json.loads((output / "ablation.json").read_text())["runs"]
    assert [(run["variant"], run["options"], run["seed"]) for run in runs] == [
        ("whole", "", 0),
        ("without the teacher", "--lambda-consistency 0", 0),
    ]
    trained = [json.loads((output / f"runs/{n}/source-to-target/metfa-vi/0" / CONFIG).read_text()) for n in (0, 1)]
    assert [each["weights"]["consistency"] for each in trained] == [5, 0]
    rows = [line.split(" | ")[-1].rstrip(" |") for line in (output / "ablation.md").read_text().splitlines()[-2:]]
    assert rows == [f"{run['target F1, oracle']:.3f}" for run in runs]
    other = CliRunner().invoke(ablation.main, [*domains, *SMALL, "--no-flip"])
    assert "the domains and options that the runs in" in other.output


def test_each_seed_takes_the_rate_that_the_rule_prefers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "FACTORS", {1.0: "its own rate", 3.0: "three times it"})
    output = folder / "rates"
    domains = ["--source", str(folder / "a"), "--target", str(folder / "b"), "--output", str(output), "--seeds", "1"]
    result = CliRunner().invoke(rates.main, [*domains, "--methods", "mme", *SMALL])
    assert result.exit_code == 0, result.output
    runs = json.loads((output / "rates.json").read_text())["runs"]
    assert [(run["method"], run["factor"], run["learning_rate"]) for run in runs] == [
        ("mme", 1, 0.01),
        ("mme", 3, 0.03),
    ]
    direction = Direction("source-to-target", *(DomainChoice(str(folder / name), None) for name in "ab"))
    run_ = Run(direction, "mme", 0)
    of_run = {factor: read_result(run_, output / "runs" / f"{factor:g}" / run_.name) for factor in (1.0, 3.0)}

    def scored(factor: float, ami: float, accuracy: float) -> report.Result:
        evaluation = of_run[factor].evaluation
        candidates = tuple(
            replace(each, validators=replace(each.validators, ami=ami, supervised_accuracy=accuracy, diversity=1.0))
            for each in evaluation.candidates
        )
        return replace(of_run[factor], evaluation=replace(evaluation, candidates=candidates))

    assert rates.preferred({1.0: scored(1, 0.4, 0.9), 3.0: scored(3, 0.5, 0.9)}) == 3
    assert rates.preferred({1.0: scored(1, 0.4, 0.9), 3.0: scored(3, 0.5, 0.7)}) == 1  # it has unlearnt its classes
    assert rates.preferred({1.0: scored(1, 0.4, 0.9), 3.0: scored(3, 0.4, 0.9)}) == 1
    cells = (output / "rates.md").read_text().splitlines()[-1].split(" | ")
    preferred = rates.preferred(of_run)
    assert cells[3:5] == [cells[1 if preferred == 1 else 2], f"{rates.FACTORS[preferred]}: 1"]
    assert [run["preferred"] for run in runs] == [factor == preferred for factor in (1, 3)]
