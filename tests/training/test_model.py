"""The network: sizes, normalisation, the deterministic path."""

import pytest
import torch

from metfa.runtime.bundle.contract import Normalisation
from metfa.training.model import Network, NetworkConfig, Normalise, reverse_gradient
from metfa.training.names import ENCODER_NAMES, EncoderName
from metfa.training.presets import PRESETS

PER_IMAGE = Normalisation(kind="per-image", scale=1.0, mean=None)


def config(height: int, width: int, embedding: int, encoder: EncoderName = "residual") -> NetworkConfig:
    return NetworkConfig(
        height, width, classes=6, encoder=encoder, embedding=embedding, temperature=0.05, normalisation=PER_IMAGE
    )


def test_features_are_those_of_the_released_code() -> None:
    assert config(224, 288, 4096).features == 8 * 28 * 36


def test_the_papers_preset_is_the_released_codes() -> None:
    assert PRESETS["paper"] == ("residual", 4096, 224, 288)


@pytest.mark.parametrize("preset", ["small", "edge", "compact"])
def test_what_is_deployed_is_small_enough_for_an_edge_device(preset: str) -> None:
    encoder, embedding, height, width = PRESETS[preset]
    network = Network(config(height, width, embedding, encoder))
    deployed = sum(p.numel() for name, p in network.named_parameters() if "log_variance" not in name)
    assert deployed <= 2_500_000


@pytest.mark.parametrize("size", [(28, 28), (29, 35), (56, 72), (100, 31)], ids=str)
@pytest.mark.parametrize("encoder", ENCODER_NAMES)
def test_any_input_size_from_28_works(size: tuple[int, int], encoder: EncoderName) -> None:
    network = Network(config(*size, embedding=16, encoder=encoder)).eval()
    logits, embedding = network(torch.randint(0, 256, (2, 1, *size), dtype=torch.uint8))
    assert logits.shape == (2, 6)
    assert embedding.shape == (2, 16)


def test_logits_are_cosines_over_the_temperature() -> None:
    network = Network(config(28, 28, 16)).eval()
    logits, _ = network(torch.randint(0, 256, (4, 1, 28, 28), dtype=torch.uint8))
    bound = network.classifier.prototypes.weight.norm(dim=1) / 0.05
    assert (logits.abs() <= bound + 1e-4).all()


def test_the_network_is_deterministic_when_evaluating() -> None:
    network = Network(config(28, 28, 16)).eval()
    frames = torch.randint(0, 256, (4, 1, 28, 28), dtype=torch.uint8)
    assert torch.equal(network(frames)[0], network(frames)[0])


def test_sampling_has_the_gaussians_moments() -> None:
    network = Network(config(28, 28, 16)).eval()
    gaussian = network.embedding(torch.randn(1, network.config.features, generator=torch.Generator().manual_seed(0)))
    noise = torch.Generator().manual_seed(0)
    samples = torch.cat([gaussian.sample(noise) for _ in range(4000)])
    torch.testing.assert_close(samples.mean(0), gaussian.mean[0], rtol=0, atol=0.1)
    torch.testing.assert_close(samples.var(0), gaussian.log_variance[0].exp(), rtol=0.15, atol=0)


def test_per_image_normalisation_standardises_each_image() -> None:
    frames = torch.randint(0, 256, (3, 1, 20, 30), dtype=torch.uint8)
    normalised = Normalise(Normalisation(kind="per-image", scale=255.0, mean=None))(frames)
    torch.testing.assert_close(normalised.mean(dim=(1, 2, 3)), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(normalised.std(dim=(1, 2, 3), correction=0), torch.full((3,), 255.0))


def test_an_image_without_contrast_becomes_zeros() -> None:
    assert (Normalise(PER_IMAGE)(torch.full((1, 1, 28, 28), 77, dtype=torch.uint8)) == 0).all()


def test_fixed_normalisation_subtracts_and_scales() -> None:
    frames = torch.tensor([[[[0, 255]]]], dtype=torch.uint8)
    normalised = Normalise(Normalisation(kind="fixed", scale=2 / 255, mean=127.5))(frames)
    torch.testing.assert_close(normalised, torch.tensor([[[[-1.0, 1.0]]]]))


@pytest.mark.parametrize("strength", [1.0, 0.5, 0.0])
def test_reversal_changes_the_sign_and_the_scale_of_the_gradient_only(strength: float) -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = reverse_gradient(x, strength)
    assert torch.equal(x, y)
    (3 * y).sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert x.grad.tolist() == [-3 * strength] * 2
