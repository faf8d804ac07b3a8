"""What a bundle tells of the source's classes: Gaussians as NumPy computes them, small, and strictly read."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from metfa.runtime.bundle.contract import (
    SCHEMA,
    DecisionSpec,
    InputSpec,
    ModelContract,
    Normalisation,
    Provenance,
)
from metfa.runtime.bundle.directory import CONTRACT, Bundle, updating
from metfa.runtime.decisions.scanner_check import ScannerReference
from metfa.runtime.errors import BundleError
from metfa.runtime.imaging.appearance import FEATURES
from metfa.training.class_embeddings import (
    EMBEDDINGS,
    MAX_DIRECTIONS,
    ClassEmbeddings,
    describe_classes,
    load_embeddings,
    save_embeddings,
)
from metfa.training.data.drawn import DrawnSource
from metfa.training.data.store import FrameStore
from metfa.training.evaluation.model import infer
from metfa.training.model import Network, classifier_alone
from metfa.training.views import make_views

from .conftest import LABELS, make_network, make_store


def make_embeddings(classes: int = 3, dimensions: int = 5, seed: int = 0) -> ClassEmbeddings:
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(classes, min(MAX_DIRECTIONS, dimensions), dimensions, generator=generator)
    return ClassEmbeddings(
        mean=torch.randn(classes, dimensions, generator=generator),
        directions=directions,
        variance=torch.rand(classes, dimensions, generator=generator),
        noise=torch.rand(classes, dimensions, generator=generator),
        count=torch.arange(1, classes + 1),
    )


def embed(network: Network, store: FrameStore) -> np.ndarray:
    return infer(network, store.frames).embedding.astype(np.float64)


@pytest.mark.parametrize("sampled", [False, True])
def test_draws_have_the_moments_of_their_class(sampled: bool) -> None:
    embeddings = make_embeddings()
    labels = torch.tensor([2, 0, 1]).repeat_interleave(40_000)
    drawn = embeddings.draw(labels, torch.Generator().manual_seed(1), sampled=sampled)
    assert drawn.dtype == torch.float32
    for label in range(3):
        own = drawn[labels == label].double().numpy()
        axes = embeddings.directions[label].double().numpy()
        alone = embeddings.variance[label] + (embeddings.noise[label] if sampled else 0)
        covariance = axes.T @ axes + np.diag(alone.double().numpy())
        np.testing.assert_allclose(own.mean(axis=0), embeddings.mean[label], atol=0.06)
        np.testing.assert_allclose(np.cov(own.T), covariance, atol=0.25)


def test_a_class_is_described_by_its_mean_its_variances_and_its_principal_directions() -> None:
    network, store = make_network().eval(), make_store(30, brightness=200)
    embeddings, means = describe_classes(network, store), embed(network, store)
    assert embeddings.count.tolist() == [30, 30, 30]
    for label in range(len(LABELS)):
        own = means[store.labels == label]
        np.testing.assert_allclose(embeddings.mean[label], own.mean(axis=0), atol=1e-5)
        axes = embeddings.directions[label].double().numpy()
        np.testing.assert_allclose(
            axes.T @ axes + np.diag(embeddings.variance[label].numpy()), np.cov(own.T), atol=1e-4
        )  # exactly, as D is not more than the directions


def test_what_few_directions_leave_out_stays_as_variance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metfa.training.class_embeddings.MAX_DIRECTIONS", 3)
    network, store = make_network().eval(), make_store(30, brightness=200)
    embeddings, means = describe_classes(network, store), embed(network, store)
    own = means[store.labels == 1]
    values, vectors = np.linalg.eigh(np.cov(own.T))
    largest = (vectors[:, -3:] * values[-3:]) @ vectors[:, -3:].T
    axes = embeddings.directions[1].double().numpy()
    np.testing.assert_allclose(axes.T @ axes, largest, atol=1e-4)
    np.testing.assert_allclose(
        embeddings.variance[1].numpy() + np.square(axes).sum(axis=0), own.var(axis=0, ddof=1), atol=1e-4
    )


def test_one_image_of_a_class_has_no_spread() -> None:
    network, store = make_network().eval(), make_store(1, brightness=200)
    embeddings = describe_classes(network, store)
    np.testing.assert_allclose(embeddings.mean, embed(network, store), atol=1e-5)
    assert not embeddings.variance.any()
    assert not embeddings.directions.any()


def test_embeddings_stand_for_frames() -> None:
    network, embeddings = make_network().eval(), make_embeddings(dimensions=16)
    zeros = (0.0,) * FEATURES
    source = DrawnSource(
        "A", LABELS, embeddings, ScannerReference("A", zeros, (zeros,) * FEATURES, (zeros,), limit=1.0)
    )
    train = source.store("train")
    assert np.bincount(train.labels).tolist() == [100, 100, 100]
    assert len(source.store("test").frames) == 0
    np.testing.assert_array_equal(train.frames[:5], source.store("train").frames[:5])
    assert not np.array_equal(train.frames[:5], source.store("val").frames[:5])

    alone = classifier_alone(make_network()).eval()
    said = infer(alone, train.frames)
    np.testing.assert_array_equal(said.embedding, train.frames[:])
    expected = network.classifier(torch.from_numpy(train.frames[:])).detach().numpy()
    np.testing.assert_allclose(said.logits, expected, atol=1e-5)

    views = make_views(train.frames, network.normalise, None, torch.device("cpu"))  # type: ignore[arg-type]
    chosen = np.array([0, 120, 299])
    np.testing.assert_array_equal(views.plain(chosen), train.frames[chosen])
    first, again = (views.augmented(chosen, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, views.augmented(chosen, torch.Generator().manual_seed(8)))
    labels = torch.from_numpy(train.labels[chosen])
    assert torch.equal(first, embeddings.draw(labels, torch.Generator().manual_seed(7), sampled=True))


def test_fourteen_classes_take_less_than_a_megabyte(tmp_path: Path) -> None:
    save_embeddings(make_embeddings(14, 128), tmp_path)
    assert (tmp_path / EMBEDDINGS).stat().st_size < 200_000


FORGED: dict[str, Callable[[dict[str, torch.Tensor]], object]] = {
    "a tensor less": lambda held: held.pop("noise"),
    "another shape": lambda held: held.update(mean=held["mean"][:, 1:].contiguous()),
    "another type": lambda held: held.update(mean=held["mean"].double()),
    "not finite": lambda held: held["directions"].fill_(torch.nan),
    "negative": lambda held: held["variance"].fill_(-1),
    "a class without images": lambda held: held["count"].fill_(0),
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
def test_forged_embeddings_are_refused(tmp_path: Path, forge: Callable[[dict[str, torch.Tensor]], object]) -> None:
    bundle = write_bundle(tmp_path / "bundle", make_embeddings(3, 16))
    held = load_file(bundle / EMBEDDINGS)
    load_embeddings(Bundle.open(bundle))
    forge(held)
    with updating(bundle, keep=lambda _: True) as stage:
        save_file(held, stage / EMBEDDINGS)
    with pytest.raises(BundleError, match="expected a Gaussian for each class of the contract in"):
        load_embeddings(Bundle.open(bundle))


def test_damaged_embeddings_are_refused(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", make_embeddings(3, 16))
    with updating(bundle, keep=lambda _: True) as stage:
        (stage / EMBEDDINGS).write_bytes(b"no tensors")
    with pytest.raises(BundleError, match="no safetensors file"):
        load_embeddings(Bundle.open(bundle))


def write_bundle(directory: Path, embeddings: ClassEmbeddings) -> Path:
    contract = ModelContract(
        schema=SCHEMA,
        labels=LABELS,
        embedding=embeddings.mean.shape[1],
        input=InputSpec(28, 28, "halve-linear", Normalisation("per-image", 1.0, None), None),
        decision=DecisionSpec(temperature=1.0, rejection=None, background=()),
        provenance=Provenance("tests", "source-only", "A", None),
    )
    with updating(directory, keep=lambda _: False) as stage:
        (stage / CONTRACT).write_text(contract.to_json(), encoding="utf-8")
        save_embeddings(embeddings, stage)
    return directory
