"""The loop: it learns, goes on bit by bit where it stopped, and stops where it must."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metfa.runtime.bundle.directory import CHECKPOINT
from metfa.runtime.command import Interruption
from metfa.runtime.errors import BundleError, DivergenceError
from metfa.training.batch_norm import adopt_statistics
from metfa.training.config import TrainingConfig
from metfa.training.data.store import UNLABELLED, FrameSequence, FrameStore
from metfa.training.evaluation.model import evaluate
from metfa.training.fit import Trainer, candidate_steps, read_config
from metfa.training.methods import METHODS, Batch, Method, build_method
from metfa.training.metrics import METRICS
from metfa.training.model import Network
from metfa.training.names import MethodName
from metfa.training.parallel import make_fabric
from metfa.training.selection.candidates import Candidates, Frames
from metfa.training.selection.validators import Validators
from metfa.training.weights import read_metadata, read_tensors

from .conftest import LABELS, make_network, make_store

CPU = make_fabric("cpu")


def make_trainer(
    network: Network, config: TrainingConfig, directory: Path, *, images: int = 6, **options: Any
) -> Trainer:
    torch.manual_seed(0)  # the method's own layers
    method = build_method(config, network)
    source, target = make_store(images, 230), make_store(images, 120)
    if "target" not in method.supervision:
        target = FrameStore(target.frames, np.full_like(target.labels, UNLABELLED))
    (directory / "candidates").mkdir(parents=True, exist_ok=True)
    frames = Frames({"source": source.frames, "target": target.frames}, {"source": source, "target": target})
    candidates = Candidates(directory / "candidates", frames)
    return Trainer(method, source, target, directory, candidates, CPU, **options)


@pytest.fixture
def trainer(config: TrainingConfig, tmp_path: Path) -> Trainer:
    return make_trainer(make_network(), config, tmp_path)


class StopAfter(Interruption):
    """An interruption that comes after a number of looks."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self._looks = looks

    @property
    def requested(self) -> bool:
        self._looks -= 1
        return self._looks < 0

    @requested.setter
    def requested(self, value: bool) -> None:
        pass


@pytest.mark.parametrize("given", [False, True])
def test_a_method_that_labels_frames_is_calibrated_by_held_out_ones_of_the_source(
    config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, given: bool
) -> None:
    calibrated_by: list[tuple[torch.Tensor, list[int]]] = []
    calibrate, relabel = METHODS["metfa-vi"].calibrate, METHODS["metfa-vi"].relabel

    def note(method: Method, images: Iterable[torch.Tensor], labels: torch.Tensor) -> None:
        batches = list(images)
        calibrated_by.append((torch.cat(batches), labels.tolist()))
        calibrate(method, batches, labels)

    def label(method: Method, images: Iterable[torch.Tensor], count: int) -> torch.Tensor:
        assert len(calibrated_by) == given, "calibrated before it labels"
        return relabel(method, images, count)

    monkeypatch.setattr(METHODS["metfa-vi"], "calibrate", note)
    monkeypatch.setattr(METHODS["metfa-vi"], "relabel", label)
    held_out = make_store(4, 200)
    config = replace(config, method="metfa-vi", steps=4, source_first=0.0)
    network = make_network()
    trainer = make_trainer(network, config, tmp_path, held_out=held_out if given else None)
    assert trainer.run(StopAfter(10))
    assert len(calibrated_by) == given
    for images, labels in calibrated_by:
        torch.testing.assert_close(images, network.normalise(torch.from_numpy(held_out.frames[:])))
        assert labels == held_out.labels.tolist()


@pytest.mark.parametrize("balance", [False, True])
def test_the_targets_statistics_come_from_balanced_frames_where_its_batches_do(
    config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, balance: bool
) -> None:
    adopted: list[np.ndarray | None] = []

    def adopt(network: Network, frames: FrameSequence, pseudo_labels: np.ndarray | None) -> None:
        adopted.append(pseudo_labels)
        adopt_statistics(network, frames, pseudo_labels)

    monkeypatch.setattr("metfa.training.selection.candidates.adopt_statistics", adopt)
    config = replace(config, method="metfa-vi", balance=balance, steps=4, candidates=1)
    trainer = make_trainer(make_network(), config, tmp_path)
    assert trainer.run(Interruption())
    of_source, of_target = adopted
    assert of_source is None
    assert (of_target is not None) == balance
    assert of_target is None or of_target.shape == (len(make_store(6, 120).frames),)


def test_training_learns_the_source(config: TrainingConfig, tmp_path: Path) -> None:
    network = make_network()
    trainer = make_trainer(network, replace(config, steps=60, images_per_class=5), tmp_path, images=24)
    assert trainer.run(Interruption())
    adopt_statistics(network, make_store(24, 230).frames)
    assert evaluate(network, make_store(44, 230)).f1 > 0.9


KINDS: dict[str, dict[str, Any]] = {
    "metfa-v in one pass": {"method": "metfa-v", "stop": 5},
    "metfa-v alternating": {"method": "metfa-v", "game": "alternating", "stop": 5},
    "adda in its first stage": {"method": "adda", "stop": 4},
    "adda between its stages": {"method": "adda", "stop": 6},
    "adda in its second stage": {"method": "adda", "stop": 9},
    "mme": {"method": "mme", "stop": 5},
    "dann": {"method": "dann", "stop": 5},
    "shot before its second stage": {"method": "shot", "stop": 6},
    "shot in its second stage": {"method": "shot", "stop": 8},
    "metfa-vi": {"method": "metfa-vi", "stop": 8},
    "fine-tuned in its second stage": {"method": "fine-tuned", "stop": 8},
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_resumed_run_ends_bit_by_bit_where_an_uninterrupted_one_does(
    config: TrainingConfig, tmp_path: Path, kind: dict[str, Any]
) -> None:
    changes = {name: value for name, value in kind.items() if name != "stop"}
    config = replace(config, **changes, candidates=2)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert make_trainer(make_network(), config, whole).run(Interruption())

    assert not make_trainer(make_network(), config, cut).run(StopAfter(kind["stop"]))
    network = make_network()
    with torch.no_grad():
        next(network.parameters()).fill_(torch.nan)  # whatever is in memory must not matter
    resumed = make_trainer(network, config, cut)
    resumed.restore()
    assert resumed.step == kind["stop"]
    assert resumed.run(Interruption())

    files = [path.relative_to(whole) for path in whole.rglob("*") if path.is_file()]
    middle = {"adda": "00000009", "shot": "00000009", "metfa-vi": "00000007"}.get(config.method, "00000006")
    assert {path.name for path in files} == {CHECKPOINT, METRICS, f"{middle}.safetensors", "00000012.safetensors"}
    for file in files:
        if file.suffix == ".safetensors":  # whose metadata comes in any order
            assert read_metadata(whole / file) == read_metadata(cut / file)
            tensors, others = read_tensors(whole / file), read_tensors(cut / file)
            assert tensors.keys() == others.keys()
            assert all(torch.equal(tensor, others[name]) for name, tensor in tensors.items())
        else:
            assert (whole / file).read_bytes() == (cut / file).read_bytes()


@given(begin=st.integers(0, 100), steps=st.integers(1, 300), candidates=st.integers(1, 40))
def test_candidates_have_looked_at_the_target_and_are_spread_evenly(begin: int, steps: int, candidates: int) -> None:
    chosen = sorted(candidate_steps(TrainingConfig(steps=begin + steps, candidates=candidates), begin))
    assert len(chosen) == min(steps, candidates)
    assert chosen[0] >= begin + 1
    assert chosen[-1] == begin + steps
    gaps = np.diff([begin, *chosen])
    assert gaps.max() - gaps.min() <= 1 or candidates > steps


def test_a_run_of_one_step_has_a_candidate() -> None:
    """Though a method of two stages has not looked at the target by then."""
    assert candidate_steps(TrainingConfig(steps=1), begin=1) == {1}


def test_candidates_are_kept_and_told_of_at_their_steps(config: TrainingConfig, tmp_path: Path) -> None:
    told: list[tuple[int, Validators]] = []
    trainer = make_trainer(
        make_network(), config, tmp_path, on_candidate=lambda step, validators: told.append((step, validators))
    )
    assert trainer.run(Interruption())
    candidates = Candidates(tmp_path / "candidates", Frames({}, {}))
    assert candidates.steps() == [4, 8, 12]
    assert told == [(step, candidates.validators(step)) for step in (4, 8, 12)]


def test_whoever_is_told_of_candidates_may_end_the_run(config: TrainingConfig, tmp_path: Path) -> None:
    def stop(step: int, _: Validators) -> None:
        raise KeyError(step)

    with pytest.raises(KeyError, match="4"):
        make_trainer(make_network(), config, tmp_path, on_candidate=stop).run(Interruption())


def test_keeping_candidates_changes_nothing_in_training(config: TrainingConfig, tmp_path: Path) -> None:
    networks = [make_network(), make_network()]
    for network, candidates in zip(networks, (1, 12), strict=True):
        trainer = make_trainer(network, replace(config, candidates=candidates), tmp_path / str(candidates))
        assert trainer.run(Interruption())
    state = networks[0].state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in networks[1].state_dict().items())


@pytest.mark.parametrize("method", METHODS)
def test_every_method_sees_the_same_augmented_frames_and_only_the_labels_that_it_may(
    config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: MethodName
) -> None:
    """The source's and, but for the references, which choose the target's by class, the target's."""
    seen: dict[MethodName, Batch] = {}
    for name in ("metfa-v", method):
        monkeypatch.setattr(METHODS[name], "step", lambda _, batch, noise, step, name=name: seen.update({name: batch}))
        monkeypatch.setattr(Trainer, "_record", dict)
        trainer = make_trainer(
            make_network(), replace(config, method=name, balance=False, steps=5, candidates=1), tmp_path / name
        )
        trainer.run(StopAfter(4))
    reference, batch = seen["metfa-v"], seen[method]
    assert torch.equal(batch.source, reference.source)
    assert torch.equal(batch.labels, reference.labels)
    assert batch.labels.bincount().tolist() == [config.images_per_class] * len(LABELS)
    assert batch.target.shape == batch.source.shape
    if "target" in METHODS[method].supervision:
        assert batch.target_labels is not None
        assert batch.target_labels.bincount().tolist() == [config.images_per_class] * len(LABELS)
    else:
        assert batch.target_labels is None
        assert torch.equal(batch.target, reference.target)
    assert (batch.target_strong is not None) == (method == "metfa-vi")
    if batch.target_strong is not None:
        assert batch.target_strong.shape == batch.target.shape
        assert not torch.equal(batch.target_strong, batch.target)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("metfa-v", [True, True, True, True]),
        ("metfa-vi", [False, True, True, True]),
        ("shot", [False, False, False, True]),
        ("adda", [False, False, False, True]),
    ],
)
def test_the_target_is_looked_at_once_the_method_has_learnt_from_the_source(
    config: TrainingConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: MethodName,
    expected: list[bool],
) -> None:
    seen: list[Batch] = []
    step = METHODS[method].step

    def record(self: Method, batch: Batch, noise: torch.Generator, number: int) -> dict[str, torch.Tensor]:
        seen.append(batch)
        return step(self, batch, noise, number)

    monkeypatch.setattr(METHODS[method], "step", record)
    make_trainer(make_network(), replace(config, method=method, steps=5, candidates=1), tmp_path).run(StopAfter(4))
    assert [len(batch.target) > 0 for batch in seen] == expected
    assert all(len(batch.source) > 0 for batch in seen)


def test_metrics_after_the_checkpoint_are_dropped_on_resumption(trainer: Trainer, tmp_path: Path) -> None:
    trainer.run(StopAfter(5))
    with (tmp_path / METRICS).open("a") as file:
        file.write(json.dumps({"step": 6, "ce": 1.0}) + "\n")
    trainer.restore()
    assert [json.loads(line)["step"] for line in (tmp_path / METRICS).read_text().splitlines()] == [1, 2, 3, 4, 5]


def test_the_checkpoint_carries_the_configuration(trainer: Trainer, config: TrainingConfig, tmp_path: Path) -> None:
    trainer.run(StopAfter(1))
    assert read_config(tmp_path) == config


@pytest.mark.parametrize("damage", ["missing", "cut off"])
def test_damaged_metrics_do_not_stand_in_the_way(trainer: Trainer, tmp_path: Path, damage: str) -> None:
    trainer.run(StopAfter(5))
    path = tmp_path / METRICS
    content = path.read_text()
    path.unlink() if damage == "missing" else path.write_text(content + '{"step": 6, "c')
    trainer.restore()
    assert path.read_text() == ("" if damage == "missing" else content)


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated"])
def test_a_damaged_checkpoint_is_refused(trainer: Trainer, tmp_path: Path, damage: str) -> None:
    trainer.run(StopAfter(1))
    path = tmp_path / CHECKPOINT
    content = path.read_bytes()
    path.unlink() if damage == "missing" else path.write_bytes(content[: 0 if damage == "empty" else 1000])
    with pytest.raises(BundleError, match=CHECKPOINT if damage != "missing" else "unfinished run"):
        read_config(tmp_path)


@pytest.mark.parametrize("candidates", [1, 12], ids=["before the record", "before the first candidate"])
def test_a_term_that_is_not_finite_is_named(config: TrainingConfig, tmp_path: Path, candidates: int) -> None:
    network = make_network()
    with torch.no_grad():
        network.embedding.mean.weight.fill_(1e30)  # its square overflows; the hidden layers' batch norm undoes it
    trainer = make_trainer(network, replace(config, method="metfa-i", candidates=candidates), tmp_path)
    with pytest.raises(DivergenceError, match=r"received prior = inf at step 1;"):
        trainer.run(Interruption())


def test_a_network_that_the_last_step_ruined_is_no_candidate(config: TrainingConfig, tmp_path: Path) -> None:
    config = replace(config, method="source-only", steps=1, candidates=1, learning_rate=1e38)
    with pytest.raises(DivergenceError, match="finite outputs of the network, received NaN or infinity after step 1;"):
        make_trainer(make_network(), config, tmp_path).run(Interruption())
    assert not list((tmp_path / "candidates").iterdir())
