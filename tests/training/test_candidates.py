"""What is kept for selection comes back as it was, with what the validators said of it."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from metfa.runtime.errors import BundleError, OutputError
from metfa.training.config import TrainingConfig
from metfa.training.data.store import UNLABELLED, FrameStore
from metfa.training.evaluation.model import infer
from metfa.training.methods import METHODS, Method, Role, build_method
from metfa.training.model import Network
from metfa.training.names import MethodName
from metfa.training.selection.candidates import Candidates, Frames, network_for
from metfa.training.selection.validators import standard_error, validate

from .conftest import make_network, make_store

ROLES: tuple[Role, ...] = ("source", "target")


def hide(store: FrameStore) -> FrameStore:
    return FrameStore(store.frames, np.full_like(store.labels, UNLABELLED))


def make_frames(target: FrameStore) -> Frames:
    """Statistics from other frames than the validators'."""
    train: dict[Role, np.ndarray] = {"source": make_store(8, 200).frames[::2], "target": make_store(8, 90).frames[::2]}
    return Frames(train, {"source": make_store(4, 230), "target": target})


def make_method(config: TrainingConfig, name: MethodName) -> Method:
    """ADDA's two networks differ."""
    torch.manual_seed(1)
    method = build_method(replace(config, method=name), make_network())
    if name == "adda":
        started = method.get_buffer("started")
        started.fill_(True)
        for parameter in method.network.encoder.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    return method


def same(one: Network, other: Network) -> bool:
    tensors = other.state_dict()
    return all(torch.equal(tensor, tensors[name]) for name, tensor in one.state_dict().items())


@pytest.mark.parametrize("name", ["source-only", "adabn", "adda", "metfa-v", "fine-tuned"])
def test_what_is_kept_comes_back_bit_by_bit(config: TrainingConfig, tmp_path: Path, name: MethodName) -> None:
    method = make_method(config, name)
    before = copy.deepcopy(method.state_dict())
    target = make_store(4, 120)
    frames = make_frames(target if "target" in method.supervision else hide(target))
    candidates = Candidates(tmp_path, frames)
    validators = candidates.add(12, method)
    assert candidates.steps() == [12]
    assert candidates.validators(12) == validators
    assert all(torch.equal(tensor, before[key]) for key, tensor in method.state_dict().items())

    exported, source = candidates.networks(12, method.network.config)
    assert same(exported, network_for(method, method.home, frames))
    assert same(source, network_for(method, "source", frames))
    assert same(exported, source) == (method.home == "source")
    assert not exported.training
    assert not source.training
    shared = dict(source.named_parameters())
    assert all(torch.equal(value, shared[key]) for key, value in exported.named_parameters()) == (name != "adda")

    expected = infer(exported, target.frames)
    labelled = make_store(4, 230) if method.supervision == ("source",) else target
    judge = source if method.supervision == ("source",) else exported
    accuracy = (infer(judge, labelled.frames).logits.argmax(axis=1) == labelled.labels).mean()
    error = standard_error(float(accuracy), len(labelled.labels))
    assert validators == validate(expected.probabilities, expected.embedding, float(accuracy), error)


@pytest.mark.parametrize("name", METHODS)
def test_target_labels_decide_nothing_where_the_method_may_not_see_them(
    config: TrainingConfig, tmp_path: Path, name: MethodName
) -> None:
    """They are not given, and were they given, nothing would look at them."""
    target = make_store(4, 120)
    said = []
    for number, labels in enumerate((target.labels, target.labels[::-1], hide(target).labels)):
        method = make_method(config, name)
        (tmp_path / str(number)).mkdir()
        frames = make_frames(FrameStore(target.frames, labels.copy()))
        said.append(Candidates(tmp_path / str(number), frames).add(1, method))
    unsupervised = "target" not in METHODS[name].supervision
    assert (said[0] == said[1] == said[2]) == unsupervised


def test_steps_are_in_order_and_a_candidate_is_replaced_by_its_repetition(
    config: TrainingConfig, tmp_path: Path
) -> None:
    candidates = Candidates(tmp_path, make_frames(hide(make_store(4, 120))))
    for step in (1000, 9, 100_000_000, 10, 9):
        candidates.add(step, make_method(config, "adabn"))
    assert candidates.steps() == [9, 10, 1000, 100_000_000]


@pytest.mark.parametrize("content", [b"", b"no tensors"], ids=["empty", "text"])
def test_a_damaged_candidate_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "00000012.safetensors").write_bytes(content)
    candidates = Candidates(tmp_path, make_frames(hide(make_store(4, 120))))
    with pytest.raises(BundleError, match=r"00000012\.safetensors"):
        candidates.validators(12)
    with pytest.raises(BundleError, match=r"00000012\.safetensors"):
        candidates.networks(12, make_network().config)


def test_a_full_disk_is_one_line_and_leaves_no_candidate(
    config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    candidates = Candidates(tmp_path, make_frames(hide(make_store(4, 120))))
    method = make_method(config, "metfa-v")
    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(OutputError, match="received No space left on device; free space"):
        candidates.add(1, method)
    assert list(tmp_path.rglob("*.safetensors")) == []
