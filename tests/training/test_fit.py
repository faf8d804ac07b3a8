"""The loop: it learns, goes on bit by bit where it stopped, and stops where it must."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from metfa.runtime.command import Interruption
from metfa.runtime.errors import BundleError, TrainingError
from metfa.training.batch_norm import adopt_statistics
from metfa.training.config import TrainingConfig
from metfa.training.data.store import FrameStore
from metfa.training.evaluate import evaluate
from metfa.training.fit import CHECKPOINT, METRICS, Trainer, read_config
from metfa.training.model import Network

from .conftest import LABELS, draw


def make_store(count: int, brightness: int) -> FrameStore:
    frames = [draw(label, seed, brightness)[10:38, 18:46] for label in LABELS for seed in range(count)]
    return FrameStore(np.stack(frames)[:, np.newaxis], np.repeat(np.arange(len(LABELS)), count))


@pytest.fixture
def trainer(network: Network, config: TrainingConfig, tmp_path: Path) -> Trainer:
    return make_trainer(network, config, tmp_path)


def make_trainer(network: Network, config: TrainingConfig, directory: Path) -> Trainer:
    torch.manual_seed(0)  # the method's own layers
    target = make_store(10, 120).frames
    return Trainer(network, config, make_store(10, 230), target, directory, torch.device("cpu"))


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


def test_training_learns_the_source(network: Network, config: TrainingConfig, tmp_path: Path) -> None:
    trainer = make_trainer(network, replace(config, steps=150, images_per_class=5), tmp_path)
    assert trainer.run(Interruption())
    adopt_statistics(network, make_store(10, 230).frames)
    assert evaluate(network, make_store(10, 230)).f1 > 0.9


def test_a_resumed_run_ends_bit_by_bit_where_an_uninterrupted_one_does(
    network: Network, config: TrainingConfig, tmp_path: Path
) -> None:
    initial = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    directories = [tmp_path / name for name in ("whole", "cut")]
    for directory in directories:
        directory.mkdir()

    assert make_trainer(network, config, directories[0]).run(Interruption())
    whole = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    network.load_state_dict(initial)
    assert not make_trainer(network, config, directories[1]).run(StopAfter(5))
    network.load_state_dict(initial)  # whatever is in memory must not matter
    resumed = make_trainer(network, config, directories[1])
    resumed.restore()
    assert resumed.step == 5
    assert resumed.run(Interruption())

    assert all(torch.equal(tensor, whole[name]) for name, tensor in network.state_dict().items())
    assert len({(directory / METRICS).read_text() for directory in directories}) == 1


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


def test_a_term_that_is_not_finite_is_named(network: Network, config: TrainingConfig, tmp_path: Path) -> None:
    with torch.no_grad():
        network.embedding.mean.weight.fill_(1e30)  # its square overflows; the hidden layers' batch norm undoes it
    trainer = make_trainer(network, replace(config, method="metfa-i"), tmp_path)
    with pytest.raises(TrainingError, match=r"received prior = inf at step 1;"):
        trainer.run(Interruption())
