"""A frozen encoder stays as it is, its features are computed once, and a run on them is a run like any other."""

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from metfa.runtime.bundle.directory import Bundle
from metfa.training.batch_norm import adopt_statistics
from metfa.training.cli.train import main
from metfa.training.config import Augmentation, TrainingConfig
from metfa.training.data.store import Features, FrameStore
from metfa.training.encoders import ENCODERS
from metfa.training.evaluation.model import infer
from metfa.training.fit import Trainer
from metfa.training.frozen import COPIES, FrozenEncoder
from metfa.training.initial_weights import identify, load_initial
from metfa.training.methods import METHODS, build_method
from metfa.training.metrics import METRICS
from metfa.training.model import Network
from metfa.training.views import FeatureViews
from metfa.training.weights import load_network

from .conftest import make_network, make_store
from .encoders.published import write_weights

EXTENDED = Augmentation(flip=True, noise=0.1, extended=True)
CPU = torch.device("cpu")
ENCODER = ["--encoder", "sononet16", "--freeze-encoder", "--input-size", "28x28", "--embedding", "16"]
SMALL = ["--steps", "6", "--candidates", "2", "--images-per-class", "2", "--threads", "1", "--device", "cpu"]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return write_weights(tmp_path / "SonoNet16.npz")


@pytest.fixture
def network(weights: Path) -> Network:
    network = make_network("sononet16")
    load_initial(network.encoder, identify(str(weights), "sononet16"))
    return network


def make_frozen(network: Network, augmentation: Augmentation = EXTENDED) -> FrozenEncoder:
    return FrozenEncoder(network, augmentation, CPU)


def computations(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note, from now on, of how many copies of a frame features are computed, frame by frame."""
    counts: list[int] = []
    encode = FrozenEncoder._encode

    def counting(self: FrozenEncoder, frame: torch.Tensor, copies: int, strongly: bool, seed: int) -> np.ndarray:
        if seed:  # otherwise only the shape is asked for
            counts.append(copies)
        return encode(self, frame, copies, strongly, seed)

    monkeypatch.setattr(FrozenEncoder, "_encode", counting)
    return counts


@pytest.mark.parametrize("name", ENCODERS)
def test_the_whole_network_says_of_frames_what_the_head_says_of_features(name: str) -> None:
    network = make_network(name)
    adopt_statistics(network, make_store(6, 230).frames)
    encoder, store = make_frozen(network), make_store(4, 120)
    head = encoder.head()
    features = encoder.held_out(store)
    adopt_statistics(head, encoder.held_out(make_store(6, 120)).frames)
    torch.nn.init.normal_(head.classifier.prototypes.weight)
    expected, received = infer(head, features.frames), infer(encoder.whole(head), store.frames)
    np.testing.assert_allclose(received.embedding, expected.embedding, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(received.logits, expected.logits, rtol=1e-3, atol=1e-3)
    assert np.array_equal(features.labels, store.labels)


def test_the_first_copy_is_the_frame_as_it_is_and_no_other_is(network: Network) -> None:
    encoder, store = make_frozen(network), make_store(2, 230)
    held_out = encoder.held_out(store).frames[:]
    training = encoder.training(store, strongly=True).frames
    assert isinstance(training, Features)
    assert training.strong is not None
    assert training.weak.shape == training.strong.shape == (6, COPIES, 64, 1, 1)
    np.testing.assert_allclose(training[:], held_out, rtol=1e-3, atol=1e-5)
    copies = np.concatenate([training.weak, training.strong], axis=1).reshape(6, 2 * COPIES, -1)
    for of_frame in copies:
        assert len(np.unique(of_frame, axis=0)) == 2 * COPIES


def test_a_domain_s_own_statistics_standardise_the_features(network: Network) -> None:
    encoder = make_frozen(network)
    head, features = encoder.head(), encoder.held_out(make_store(20, 120)).frames
    adopt_statistics(head, features)
    with torch.inference_mode():
        standardised = head.encoder(torch.from_numpy(features[:]))
    informative = features[:].std(axis=0).ravel() > 0.02
    count = int(informative.sum())
    assert count > 10
    torch.testing.assert_close(standardised.mean(dim=0), torch.zeros(64), rtol=0, atol=1e-3)
    torch.testing.assert_close(standardised.std(dim=0)[informative], torch.ones(count), rtol=0, atol=0.02)


def test_views_draw_among_the_copies(network: Network) -> None:
    training = make_frozen(network).training(make_store(2, 230), strongly=True).frames
    assert isinstance(training, Features)
    assert training.strong is not None
    views, chosen = FeatureViews(training, CPU), np.array([3, 0, 3, 5] * 20)
    np.testing.assert_array_equal(views.plain(chosen), training.weak[chosen, 0])
    for strongly, copies in ((False, training.weak), (True, training.strong)):
        drawn = views.augmented(chosen, torch.Generator().manual_seed(0), strongly=strongly).numpy()
        matches = (drawn[:, None] == copies[chosen]).all(axis=(2, 3, 4))
        assert (matches.sum(axis=1) == 1).all()
        assert matches.any(axis=0).all()
        again = views.augmented(chosen, torch.Generator().manual_seed(0), strongly=strongly)
        np.testing.assert_array_equal(again, drawn)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])  # of a record of 276 bytes


def _flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(("damage", "lost"), [(_cut, 1), (_flip_a_bit, 1), (_empty, 6), (Path.unlink, 6)])
def test_features_are_computed_once_and_anew_where_the_cache_is_damaged(
    network: Network, cache: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None], lost: int
) -> None:
    counts, store = computations(monkeypatch), make_store(2, 230)
    first = make_frozen(network).held_out(store).frames[:]
    np.testing.assert_array_equal(make_frozen(network).held_out(store).frames[:], first)
    assert counts == [1] * 6
    (path,) = cache.glob("*/features.bin")
    damage(path)
    for _ in range(2):
        np.testing.assert_array_equal(make_frozen(network).held_out(store).frames[:], first)
        assert counts == [1] * (6 + lost)


def test_features_are_a_frame_s_own_whatever_is_beside_it(
    network: Network, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts, store = computations(monkeypatch), make_store(2, 230)
    first = make_frozen(network).training(store, strongly=False).frames
    order = np.array([4, 4, 1])
    some = FrameStore(store.frames[order], store.labels[order])
    again = make_frozen(network).training(some, strongly=False).frames
    assert isinstance(first, Features)
    assert isinstance(again, Features)
    np.testing.assert_array_equal(again.weak, first.weak[order])
    assert counts == [COPIES] * 6
    (path,) = cache.glob("*/features.bin")
    path.unlink()
    alone = make_frozen(network).training(some, strongly=False).frames
    assert isinstance(alone, Features)
    np.testing.assert_array_equal(alone.weak, again.weak)


def test_whatever_features_depend_on_has_a_cache_of_its_own(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    counts, store = computations(monkeypatch), make_store(1, 230)
    make_frozen(network).training(store, strongly=True)
    make_frozen(network, replace(EXTENDED, noise=0.2)).training(store, strongly=False)
    make_frozen(network).training(make_store(1, 120), strongly=False)
    with torch.no_grad():
        network.get_parameter("encoder.0.weight")[0, 0, 0, 0] += 1e-3
    make_frozen(network).training(store, strongly=False)
    assert counts == [COPIES] * (6 + 3 + 3 + 3)


@pytest.mark.parametrize("name", METHODS)
def test_optimisers_hold_what_is_not_frozen_and_nothing_else(
    config: TrainingConfig, network: Network, name: str
) -> None:
    method = build_method(replace(config, method=name), make_frozen(network).head())
    held = {id(each) for optimiser in method.optimisers for group in optimiser.param_groups for each in group["params"]}
    assert held <= {id(each) for each in method.parameters()}
    assert not [each for each, _ in method.named_parameters() if each.startswith("network.encoder")]


def invoke(source: Path, target: Path, bundle: Path, *options: object) -> Result:
    arguments = ["--source", source, "--target", target, "--bundle", bundle, *ENCODER, *SMALL, *options]
    return CliRunner().invoke(main, [str(each) for each in arguments])


def run(source: Path, target: Path, bundle: Path, *options: object) -> None:
    result = invoke(source, target, bundle, *options)
    assert result.exit_code == 0, result.output


def test_a_run_leaves_the_weights_and_the_inner_statistics_as_they_were(
    source: Path, target: Path, tmp_path: Path, weights: Path, network: Network
) -> None:
    run(source, target, tmp_path / "bundle", "--init", weights)
    written = load_network(Bundle.open(tmp_path / "bundle")).encoder.state_dict()
    standardisation = {f"47.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")}
    before = network.encoder.state_dict()
    assert {name for name, tensor in written.items() if not torch.equal(tensor, before[name])} == standardisation


def test_a_resumed_run_ends_bit_by_bit_where_an_uninterrupted_one_does(
    source: Path, target: Path, tmp_path: Path, cache: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run(source, target, whole, "--init", weights)

    step = Trainer._train_step

    def interrupted(trainer: Trainer) -> None:
        step(trainer)
        if trainer.step == 4:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_train_step", interrupted)
        assert invoke(source, target, cut, "--init", weights).exit_code == 130
    for path in cache.glob("*/features.bin"):
        path.unlink()  # which are computed again
    resumed = CliRunner().invoke(main, ["--resume", "--bundle", str(cut), "--device", "cpu"])
    assert resumed.exit_code == 0, resumed.output
    expected, received = load_network(Bundle.open(whole)).state_dict(), load_network(Bundle.open(cut)).state_dict()
    assert all(torch.equal(tensor, received[name]) for name, tensor in expected.items())
    assert (whole / METRICS).read_bytes() == (cut / METRICS).read_bytes()
