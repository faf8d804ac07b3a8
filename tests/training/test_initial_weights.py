"""What an encoder begins with: known by its hash, refused where it is of another encoder."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from metfa.runtime.bundle.directory import Bundle
from metfa.runtime.errors import MetfaError, TrainingError
from metfa.training.cli.train import main
from metfa.training.config import CONFIG
from metfa.training.initial_weights import identify, load_initial
from metfa.training.weights import load_network

from .conftest import make_network
from .encoders.published import write_weights

SMALL = "--input-size 28x28 --steps 2 --candidates 1 --images-per-class 2 --threads 1 --device cpu --method source-only"


def train(source: Path, target: Path, bundle: Path, *options: object) -> Result:
    arguments = ["--source", source, "--target", target, "--bundle", bundle, *SMALL.split(), *options]
    return CliRunner().invoke(main, [str(each) for each in arguments])


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return write_weights(tmp_path / "SonoNet16.npz")


def test_training_goes_on_from_the_weights_of_a_bundle_and_of_what_that_began_with(
    source: Path, target: Path, tmp_path: Path, weights: Path
) -> None:
    first = train(source, target, tmp_path / "first", "--encoder", "sononet16", "--init", weights)
    assert first.exit_code == 0, first.output
    begun = json.loads((tmp_path / "first" / CONFIG).read_text())["initial_weights"]
    assert begun["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert begun["licence"] == "Apache-2.0"
    assert "Baumgartner et al." in begun["origin"]

    held = identify(str(tmp_path / "first"), "sononet16")
    assert (held.sha256, held.licence) == (Bundle.open(tmp_path / "first").files["model.safetensors"], "Apache-2.0")
    assert held.origin.startswith("a bundle of source-only, ")
    assert begun["origin"] in held.origin
    network = make_network("sononet16")
    load_initial(network.encoder, held)
    trained = load_network(Bundle.open(tmp_path / "first")).encoder.state_dict()
    assert all(torch.equal(tensor, trained[name]) for name, tensor in network.encoder.state_dict().items())

    options = ("--encoder", "sononet16", "--init", tmp_path / "first", "--learning-rate", 1e-12)
    second = train(source, target, tmp_path / "second", *options)
    assert second.exit_code == 0, second.output
    for name, parameter in load_network(Bundle.open(tmp_path / "second")).encoder.named_parameters():
        torch.testing.assert_close(parameter.detach(), trained[name], rtol=1e-5, atol=1e-5)


def test_weights_of_another_encoder_are_refused_before_anything_is_read(
    source: Path, target: Path, tmp_path: Path, weights: Path
) -> None:
    small = train(source, target, tmp_path / "small", "--preset", "small")
    assert small.exit_code == 0, small.output
    refused = {
        "initial weights of the encoder edge, received": ("--encoder", "edge", "--init", weights),
        "of strided; choose --encoder strided": ("--encoder", "sononet16", "--init", tmp_path / "small"),
        "No such file": ("--encoder", "sononet16", "--init", tmp_path / "absent.npz"),
        "received a directory without bundle.json": ("--encoder", "sononet16", "--init", source),
        "expected --init or --from with --freeze-encoder": ("--freeze-encoder",),
    }
    for reason, options in refused.items():
        result = train(source, Path("/nowhere"), tmp_path / "bundle", *options)
        assert result.exit_code != 0
        assert reason in result.output
        assert sum(", received " in line for line in result.output.splitlines()) == 1
        assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "SonoNet16.npz"
    path.write_bytes(content)
    held = identify(str(path), "sononet16")
    with pytest.raises(MetfaError, match="the arrays arr_0, arr_1, … of SonoNet-16") as refusal:
        load_initial(make_network("sononet16").encoder, held)
    assert "\n" not in str(refusal.value)


def test_weights_that_have_changed_since_the_run_began_are_refused(weights: Path) -> None:
    held = identify(str(weights), "sononet16")
    weights.write_bytes(weights.read_bytes() + b"\0")
    with pytest.raises(TrainingError, match="that the run began with, SHA-256"):
        load_initial(make_network("sononet16").encoder, held)
