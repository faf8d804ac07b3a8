"""The published SonoNet-16 as a network of metfa: what its weights say of its classes, and what becomes of it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from metfa.export.sononet import LABELS, read_published_weights, save_sononet
from metfa.runtime.bundle.contract import Region
from metfa.runtime.bundle.directory import SCANNERS, WEIGHTS, Bundle, updating
from metfa.runtime.imaging.images import read_image
from metfa.runtime.imaging.preprocess import preprocess
from metfa.training.cli.train import main
from metfa.training.config import CONFIG
from metfa.training.development import NORMALISATION
from metfa.training.model import Network, NetworkConfig
from metfa.training.sononet import SonoNet, load_sononet
from metfa.training.transplant import classes_of, transplant

from .conftest import write_classes
from .encoders.published import make_arrays, published_features

CONFIGURATION = NetworkConfig(
    height=224,
    width=288,
    classes=14,
    encoder="sononet16",
    embedding=64,
    temperature=0.05,
    normalisation=NORMALISATION,
)
FEATURES = 64


@pytest.fixture(scope="module")
def arrays() -> list[np.ndarray]:
    """Random weights whose classifier is sure of itself, as a trained one is."""
    *hidden, weight, beta, gamma, mean, inverse = make_arrays()
    return [*hidden, 10 * weight, beta, gamma, mean, inverse]


@pytest.fixture(scope="module")
def published(arrays: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> SonoNet:
    path = tmp_path_factory.mktemp("weights") / "SonoNet16.npz"
    np.savez(path, *arrays)
    return read_published_weights(path)


@pytest.fixture(scope="module")
def network(published: SonoNet) -> Network:
    return transplant(published, CONFIGURATION)


@pytest.fixture(scope="module")
def bundle(published: SonoNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bundles") / "sononet16"
    with updating(directory, keep=lambda _: False) as stage:
        save_sononet(published, stage)
    return directory


def moments(arrays: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and deviation of the last hidden layer's outputs, of a million draws of what its batch norm makes."""
    _, beta, gamma, _, _ = arrays[-10:-5]
    drawn = np.maximum(np.random.default_rng(0).normal(beta, gamma, (1_000_000, FEATURES)), 0)
    return drawn.mean(axis=0), drawn.std(axis=0)


def weights_of_classes(arrays: list[np.ndarray]) -> np.ndarray:
    """Return what the published classifier multiplies standardised features by, less the mean over the classes."""
    weight, _, gamma, _, inverse = arrays[-5:]
    scaled = weight[:, :, 0, 0] * (gamma * inverse)[:, None] * moments(arrays)[1]
    centred: np.ndarray = scaled - scaled.mean(axis=0)
    return centred


def test_the_classifier_is_the_bayes_rule_of_the_gaussians(arrays: list[np.ndarray], published: SonoNet) -> None:
    """Linear discriminant analysis, the other way round: from means and what is left of unit variance to weights."""
    means = classes_of(published).mean.double().numpy() / 2
    within = np.eye(FEATURES) - means.T @ means / len(means)
    assert np.linalg.eigvalsh(within).min() > 0
    np.testing.assert_allclose(np.linalg.solve(within, means.T).T, weights_of_classes(arrays), rtol=0.02, atol=0.02)


def test_the_gaussians_have_the_variance_that_is_left_within_the_classes(published: SonoNet) -> None:
    classes = classes_of(published)
    means = classes.mean.double() / 2
    within = 1 - means.square().mean(dim=0)  # of each dimension
    described = (classes.directions.double().square().sum(dim=1) + classes.variance.double()) / 4
    torch.testing.assert_close(described, within.expand(14, -1), rtol=1e-4, atol=1e-4)
    assert bool((classes.noise == 1).all())


def test_the_embedding_is_twice_the_standardised_features(arrays: list[np.ndarray], network: Network) -> None:
    frames = torch.randint(0, 256, (2, 1, 64, 80), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, deviation = (torch.from_numpy(each) for each in moments(arrays))
    expected = 2 * (published_features(arrays, frames) - mean) / deviation
    with torch.inference_mode():
        _, embedding = network(frames)
    torch.testing.assert_close(embedding.double(), expected, rtol=0.02, atol=0.02)


def test_the_new_classifier_names_what_the_published_one_names(
    arrays: list[np.ndarray], published: SonoNet, network: Network
) -> None:
    labels = torch.arange(14).repeat(50)
    drawn = classes_of(published).draw(labels, torch.Generator().manual_seed(1), sampled=False)
    with torch.inference_mode():
        named: Tensor = network.classifier(drawn).argmax(dim=1)
    by_published = (drawn.numpy() / 2 @ weights_of_classes(arrays).T).argmax(axis=1)
    assert (named.numpy() == by_published).mean() > 0.9
    assert (by_published == labels.numpy()).mean() > 0.9


def test_it_is_the_same_each_time_and_leaves_other_draws_alone(published: SonoNet, network: Network) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    again = transplant(published, CONFIGURATION).state_dict()
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(tensor, again[name]) for name, tensor in network.state_dict().items())


def test_a_bundle_of_published_weights_adapts_and_its_successor_does(bundle: Path, tmp_path: Path) -> None:
    target = write_classes(tmp_path / "target", 5, brightness=120)
    for folder in target.iterdir():  # frames without labels
        for image in folder.iterdir():
            image.rename(target / f"{folder.name}-{image.name}")
        folder.rmdir()
    frozen = "--freeze-encoder --steps 2 --candidates 1 --images-per-class 2 --threads 1 --device cpu"

    def adapt(origin: Path, successor: Path) -> str:
        result = CliRunner().invoke(
            main, ["--from", str(origin), "--target", str(target), "--bundle", str(successor), *frozen.split()]
        )
        assert result.exit_code == 0, result.output
        return result.output

    output = adapt(bundle, tmp_path / "first")
    assert f"no images, as what {bundle} knows of its 14 classes stands for them" in output
    first = Bundle.open(tmp_path / "first")
    assert first.contract.labels == LABELS
    assert json.loads(first.read(SCANNERS))["source"]["name"] == str(target)
    assert json.loads(first.read(SCANNERS))["target"] is None
    adapt(tmp_path / "first", tmp_path / "second")
    chain = json.loads((tmp_path / "second" / CONFIG).read_text())["origin"]["chain"]
    assert [(each["method"], each["sha256"]) for each in chain] == [
        ("sononet-16", Bundle.open(bundle).files[WEIGHTS]),
        ("metfa-vi", first.files[WEIGHTS]),
    ]


@pytest.mark.skipif("METFA_DATA" not in os.environ, reason="METFA_DATA does not name the folder with real frames")
def test_it_names_real_frames_as_published_does() -> None:
    data = Path(os.environ["METFA_DATA"], "sononet")
    published = read_published_weights(data / "SonoNet16.npz")
    region = Region(81, 115, 793, 619)
    images = sorted((data / "frames").iterdir())
    frames = np.stack([preprocess(read_image(path), height=224, width=288, region=region) for path in images])
    network = transplant(published, CONFIGURATION)
    with torch.inference_mode():
        expected, _ = published(torch.from_numpy(frames))
        logits, _ = network(torch.from_numpy(frames))
    assert logits.argmax(dim=1).tolist() == expected.argmax(dim=1).tolist()
    assert len(set(expected.argmax(dim=1).tolist())) == 6


def test_the_weights_of_a_bundle_are_those_that_it_was_made_from(bundle: Path, published: SonoNet) -> None:
    held = load_sononet(Bundle.open(bundle)).state_dict()
    assert all(torch.equal(tensor, held[name]) for name, tensor in published.state_dict().items())
