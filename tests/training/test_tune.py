"""``metfa-tune`` as users run it, and the rule by which it judges trials."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import optuna
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from metfa.runtime.bundle import records
from metfa.runtime.bundle.contract import Region
from metfa.runtime.errors import CompilationError, TrainingError
from metfa.training.cli.run_options import make_config
from metfa.training.cli.train import main as train
from metfa.training.cli.tune import main
from metfa.training.config import CONFIG, TrainingConfig
from metfa.training.data.pair import DomainPair, read_pair
from metfa.training.methods import METHODS
from metfa.training.outcome import EVALUATION
from metfa.training.parallel import make_fabric
from metfa.training.selection.validators import Validators
from metfa.training.tuning.database import FILE
from metfa.training.tuning.space import configure, first, suggest
from metfa.training.tuning.study import FORMER, RUNNING, open_study
from metfa.training.tuning.trials import Model, Trial, value, winner

from .conftest import write_classes
from .studies import SMALL, run, trials_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import torch

    from metfa.training.data.listing import Split
    from metfa.training.data.store import FrameStore
    from metfa.training.methods import Batch, Method, Role

CPU = make_fabric("cpu")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return tmp_path / "study"


def test_what_was_found_trains_the_same_model(source: Path, target: Path, study: Path, tmp_path: Path) -> None:
    regions = ("--source-roi", "0,0,60,40", "--target-roi", "2,3,50,40")
    result = run("--source", source, "--target", target, "--study", study, *SMALL, *regions, "--trials", 3)
    assert result.exit_code == 0, result.output
    assert [f"trial {number} of 3: " in result.output for number in (1, 2, 3)] == [True] * 3
    assert "chosen: trial" in result.output
    assert sorted(path.name for path in study.iterdir()) == [FILE, "tuned.json"]

    bundle = tmp_path / "bundle"
    arguments = ["--config", str(study / "tuned.json"), "--bundle", str(bundle), "--device", "cpu"]
    trained = CliRunner().invoke(train, arguments)
    assert trained.exit_code == 0, trained.output
    config = records.from_json(
        TrainingConfig, (bundle / CONFIG).read_bytes(), origin="", remedy="", error=TrainingError
    )
    tuned = json.loads((study / "tuned.json").read_text())
    assert (config.learning_rate, config.embedding) == (tuned["learning-rate"], tuned["embedding"])
    assert config.weights.confusion == tuned["lambda-mcc"]
    assert isinstance(config.target_region, Region)
    assert config.target_region.width == 50
    evaluation = json.loads((bundle / EVALUATION).read_text())
    models = [attributes.get("model") for *_, attributes in trials_of(study)]
    candidates = {candidate["step"]: candidate["validators"] for candidate in evaluation["candidates"]}
    step = evaluation["selected_step"]
    assert {"step": step, "validators": candidates[step]} in models


def test_the_targets_labels_change_no_bit(
    source: Path, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = sorted(target.rglob("*.png"))
    true = [picture.parent.name for picture in pictures]
    shuffled = np.random.default_rng(0).permutation(true).tolist()
    for name, labels in (("true", true), ("shuffled", shuffled)):
        for number, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
            folder = tmp_path / name / "device" / label
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(picture, folder / f"{number:03}.png")
        monkeypatch.chdir(tmp_path / name)
        result = run("--source", source, "--target", "device", "--study", "study", *SMALL, "--trials", 3)
        assert result.exit_code == 0, result.output
    studies_of = [tmp_path / name / "study" for name in ("true", "shuffled")]
    assert trials_of(studies_of[0]) == trials_of(studies_of[1])
    assert len(trials_of(studies_of[0])) == 3
    assert (studies_of[0] / "tuned.json").read_bytes() == (studies_of[1] / "tuned.json").read_bytes()


def test_no_frame_of_a_test_split_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    frames = DomainPair.frames

    def watch(self: DomainPair, role: Role, split: Split) -> FrameStore:
        used.append(split)
        return frames(self, role, split)

    monkeypatch.setattr(DomainPair, "frames", watch)
    for domain, brightness in (("source", 230), ("target", 120)):
        for part, count in (("train", 6), ("test", 1)):
            write_classes(tmp_path / domain / part, count, brightness)
    domains = ("--source", tmp_path / "source", "--target", tmp_path / "target")
    result = run(*domains, "--study", tmp_path / "study", *SMALL, "--trials", 1)
    assert result.exit_code == 0, result.output
    assert set(used) == {"train", "val"}


def test_a_terminated_search_goes_on_to_the_same_end(
    source: Path, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = ["--source", str(source), "--target", str(target), *SMALL, "--trials", "3"]
    whole, cut = tmp_path / "whole" / "study", tmp_path / "cut" / "study"
    assert run(*common, "--study", whole).exit_code == 0

    step = METHODS["metfa-vi"].step
    taken: list[int] = []

    def interrupted(method: Method, batch: Batch, noise: torch.Generator, number: int) -> dict[str, torch.Tensor]:
        taken.append(number)
        if len(taken) == 6 + 3:  # of the second trial
            signal.raise_signal(signal.SIGTERM)
        return step(method, batch, noise, number)

    with monkeypatch.context() as patch:
        patch.setattr(METHODS["metfa-vi"], "step", interrupted)
        terminated = run(*common, "--study", cut)
    assert taken == [*range(6), *range(3)]
    assert terminated.exit_code == 130, terminated.output
    assert terminated.stdout.startswith("trial 1 of 3: ")
    assert terminated.stderr.splitlines()[-1] == "Interrupted; the same command goes on"
    assert [path.name for path in cut.iterdir()] == [FILE]

    resumed = run(*common, "--study", cut)
    assert resumed.exit_code == 0, resumed.output
    assert "trial 1 of 3" not in resumed.output
    assert trials_of(cut) == trials_of(whole)
    assert (cut / "tuned.json").read_bytes() == (whole / "tuned.json").read_bytes()
    assert resumed.output.endswith(run(*common, "--study", cut).output)  # there is nothing left to run


def small(source: Path, target: Path) -> TrainingConfig:
    """The run that ``SMALL`` describes."""
    with main.make_context("metfa-tune", ["--source", str(source), "--target", str(target), *SMALL]) as context:
        others = {"directory", "storage", "trials", "output", "device"}
        return make_config(**{name: option for name, option in context.params.items() if name not in others})


def test_a_pruned_trial_leaves_nothing_and_does_not_win(
    source: Path, target: Path, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PruneTheFirst(optuna.pruners.BasePruner):
        def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
            return trial.number == 0

    monkeypatch.setattr(optuna.pruners, "MedianPruner", lambda **_: PruneTheFirst())
    result = run("--source", source, "--target", target, "--study", study, *SMALL, "--seed", 1, "--trials", 2)
    assert result.exit_code == 0, result.output
    assert "trial 1 of 2: pruned at step 3" in result.output
    assert "chosen: trial 2" in result.output
    assert not list(study.glob(f"{RUNNING}*"))


def test_a_run_that_diverges_is_a_failed_trial(source: Path, target: Path, study: Path) -> None:
    common = ("--source", source, "--target", target, "--study", study, *SMALL, "--learning-rate", "1e30")
    for _ in range(2):  # the second time, there is nothing left to run
        result = run(*common, "--trials", 1)
        assert result.exit_code == 1
        assert "Error: expected a trial that comes to its end, received 1 that did not" in result.output
        assert [path.name for path in study.iterdir()] == [FILE]


def test_a_compiler_that_is_missing_fails_no_trial(
    source: Path, target: Path, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise CompilationError(expected="g++", received="none", remedy="install it")

    command = ("--source", source, "--target", target, "--study", study, *SMALL, "--trials", 1)
    with monkeypatch.context() as patch:
        patch.setattr(METHODS["metfa-v"], "step", fail)
        assert run(*command).output.splitlines()[-1] == "Error: expected g++, received none; install it"
    result = run(*command)
    assert result.exit_code == 0, result.output
    assert "chosen: trial 1" in result.output


def judged(accuracy: float, ami: float, diversity: float = 1.0) -> Validators:
    return Validators(accuracy, 0.0, ami, ami, 1.0, 1.0, -1.0, 1.0, diversity)


def ended(*validators: Validators) -> list[Trial]:
    return [Trial(number, {}, Model(1, of_trial), "") for number, of_trial in enumerate(validators, 1)]


@pytest.mark.parametrize(
    ("trials", "number"),
    [
        (ended(judged(0.90, 0.5), judged(0.91, 0.6)), 2),
        (ended(judged(0.90, 0.5), judged(0.50, 0.9)), 1),  # has unlearnt its classes
        (ended(judged(0.80, 0.9), judged(0.95, 0.5)), 2),  # the guard is the study's: trial 1 looked sound in its time
        (ended(judged(0.90, 0.5), judged(0.91, 0.9, diversity=0.05)), 1),  # has collapsed
        (ended(judged(0.90, 0.9, diversity=0.05), judged(0.95, 0.5, diversity=0.05)), 2),  # all have
        (ended(judged(0.90, 0.5), judged(0.90, 0.5)), 1),  # equals: the first has the defaults
        ([Trial(1, {}, None, "pruned at step 3"), *ended(judged(0.9, 0.1))], 1),
    ],
)
def test_the_winner(trials: Sequence[Trial], number: int) -> None:
    chosen = winner(trials, adapts=True)
    assert chosen.number == number
    assert chosen.model is not None


def test_a_method_that_does_not_adapt_is_judged_by_accuracy() -> None:
    trials = ended(judged(0.95, 0.1, diversity=0.05), judged(0.94, 0.9))
    assert winner(trials, adapts=False).number == 1
    assert value(judged(0.95, 0.1), 1.0, adapts=False) == 0.95


@given(
    st.lists(
        st.builds(judged, st.floats(0, 1), st.floats(-1, 1), st.floats(0, 1)),
        min_size=1,
        max_size=6,
    ),
    st.booleans(),
)
def test_the_winner_has_the_highest_value_beside_the_best_accuracy(judgements: list[Validators], adapts: bool) -> None:
    best = max(of_trial.supervised_accuracy for of_trial in judgements)
    values = [value(of_trial, best, adapts=adapts) for of_trial in judgements]
    chosen = winner(ended(*judgements), adapts=adapts)
    assert values[chosen.number - 1] == max(values)


def test_a_method_is_searched_by_the_terms_that_it_has(config: TrainingConfig) -> None:
    own = ["learning-rate", "embedding"]
    assert list(first(replace(config, method="dann"))) == own
    assert list(first(replace(config, method="metfa-i"))) == [*own, "lambda-ce", "lambda-prior", "lambda-h"]
    without = replace(config, weights=replace(config.weights, metric=0.0))
    assert "lambda-m" not in first(without)
    assert configure(without, first(without)) == without


@pytest.mark.parametrize(("embedding", "learning_rate"), [(128, 1e-3), (4096, 1e-5), (16, 0.5)])
def test_the_ranges_hold_where_the_search_begins(config: TrainingConfig, embedding: int, learning_rate: float) -> None:
    begun = replace(config, embedding=embedding, learning_rate=learning_rate)
    trial = optuna.create_study().ask()
    suggest(trial, begun)
    distributions = trial.distributions
    assert first(begun).keys() == distributions.keys()
    for name, number in first(begun).items():
        distribution = distributions[name]
        assert distribution._contains(distribution.to_internal_repr(number))


def test_trials_try_other_parameters_after_a_new_start(
    source: Path, target: Path, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = ("--source", source, "--target", target, "--study", study, *SMALL)
    for trials in (1, 2, 3):
        assert run(*common, "--trials", trials).exit_code == 0
    with open_study(small(source, target), study) as opened:
        rates = [trial.parameters["learning-rate"] for trial in opened.finished()]
    assert len(set(rates)) == 3
    assert rates[0] == 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trials", "0"], "0 is not in the range x>=1"),
        (["--method", "magic"], "'magic' is not one of"),
        (["--method", "fine-tuned"], "expected a method that needs no target labels, received fine-tuned"),
        (["--method", "auto"], "expected one method to tune, received auto; choose another --method"),
        (["--source", "target/blob"], "received images without labels"),
        (["--target", "missing"], "expected a folder, a table"),
        (["--study", "file/study"], "expected to be able to write"),
        (["--study", "file"], "expected to be able to write"),
        (["--study", "damaged"], "received database disk image is malformed; restore the file, or delete it"),
        (["--study", "foreign"], "received file is not a database; restore the file, or delete it"),
        (["--study", "former"], "received one of an earlier version (journal.jsonl); name another directory"),
        (["--study", "other"], "received another method (metfa-vi, not adabn)"),
        (["--study", "edited"], "received an unknown field 'validators.variety'"),
        (["--device", "cuda:99"], "expected the device cuda:99"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: Path,
    target: Path,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("not a directory")
    for name, file in (("damaged", FILE), ("foreign", FILE), ("former", FORMER)):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text("of no database, and longer than the header of one. " * 10)
    begun = replace(small(source, target), source="source", target="target")
    for name, config in (("edited", begun), ("other", replace(begun, method="adabn"))):
        with open_study(config, tmp_path / name) as study:
            if name == arguments[1]:
                study.run_trial(read_pair(config), CPU, 1)
    with closing(sqlite3.connect(tmp_path / "edited" / FILE)) as database, database:
        database.execute("UPDATE trial_user_attributes SET value_json = replace(value_json, 'diversity', 'variety')")
    whole = (tmp_path / "edited" / FILE).read_bytes()
    (tmp_path / "damaged" / FILE).write_bytes(whole[: len(whole) // 2])
    defaults = {"--source": "source", "--target": "target", "--study": "study", "--trials": "1"}
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    result = run(*SMALL, *(part for pair in {**defaults, **given}.items() for part in pair))
    assert result.exit_code != 0
    assert message in result.output
    assert result.output.startswith("Error: ")
    assert result.output.count("\n") == 1
    assert not list(tmp_path.rglob("tuned.json"))
