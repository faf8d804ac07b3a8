from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from tests.training.encoders.published import make_arrays
from torch import nn

from metfa.export.cli import main
from metfa.export.sononet import LABELS, deploy_sononet, read_published_weights
from metfa.runtime.backends.onnxruntime import OnnxRuntimeBackend
from metfa.runtime.bundle.contract import Region
from metfa.runtime.bundle.directory import ONNX, Bundle
from metfa.runtime.errors import SourceError
from metfa.runtime.imaging.images import read_image
from metfa.runtime.imaging.preprocess import preprocess
from metfa.training.development import NORMALISATION
from metfa.training.encoders import build_encoder
from metfa.training.initial_weights import identify, load_initial
from metfa.training.model import Normalise

if TYPE_CHECKING:
    from tests.processes import Interpreter

ROI = Region(81, 115, 793, 619)
TRUE_LABELS = {
    "4CH.tiff": "4CH",
    "BRAIN-CB.tiff": "Brain (Cb.)",
    "FEMUR.tiff": "Femur",
    "KIDNEYS.tiff": "Kidneys",
    "LVOT.tiff": "LVOT",
    "PROFILE.tiff": "Profile",
}


@pytest.fixture(scope="module")
def arrays() -> list[np.ndarray]:
    return make_arrays()


def test_weights_are_read_in_the_published_order(arrays: list[np.ndarray], tmp_path: Path) -> None:
    np.savez(tmp_path / "weights.npz", *arrays)
    network = read_published_weights(tmp_path / "weights.npz")
    x = torch.randn(1, 1, 8, 8)
    weight, beta, gamma, mean, inverse = map(torch.from_numpy, arrays[:5])
    convolved = torch.conv2d(x, weight, padding=1)
    shape = (1, -1, 1, 1)
    expected = (convolved - mean.view(shape)) * (gamma * inverse).view(shape) + beta.view(shape)
    torch.testing.assert_close(network.features[:2](x), expected, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_the_deployed_network_computes_what_was_published(arrays: list[np.ndarray], tmp_path: Path) -> None:
    np.savez(tmp_path / "weights.npz", *arrays)
    network = read_published_weights(tmp_path / "weights.npz")
    frames = torch.randint(0, 256, (2, 1, 64, 80), dtype=torch.uint8)
    for expected, received in zip(network(frames), deploy_sononet(network, "fp32")(frames), strict=True):
        torch.testing.assert_close(received, expected, rtol=1e-3, atol=1e-3)


def test_damaged_weights_are_refused_in_one_line(arrays: list[np.ndarray], tmp_path: Path) -> None:
    whole, damaged = tmp_path / "whole.npz", tmp_path / "damaged.npz"
    np.savez(whole, *arrays)
    pickled = np.empty(1, object)
    contents = {
        "empty": b"",
        "truncated": whole.read_bytes()[:-5000],
        "text": b"no archive",
        "one array": _npz(tmp_path, arrays[0]),
        "one less": _npz(tmp_path, *arrays[:-1]),
        "another shape": _npz(tmp_path, *arrays[:-1], np.zeros(15, np.float32)),
        "a pickle": _npz(tmp_path, pickled),
    }
    for what, content in contents.items():
        damaged.write_bytes(content)
        with pytest.raises(SourceError, match=r"SonoNet-16 in .*damaged\.npz, received") as refusal:
            read_published_weights(damaged)
        assert "\n" not in str(refusal.value), what
    with pytest.raises(SourceError, match="No such file"):
        read_published_weights(tmp_path / "absent.npz")


def test_an_npy_file_and_other_names_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.zeros(3))
    np.savez(tmp_path / "named.npz", weights=np.zeros(3))
    for name in ("one.npy", "named.npz"):
        with pytest.raises(SourceError, match="holds something else"):
            read_published_weights(tmp_path / name)


def test_a_trained_bundle_is_not_replaced(trained: Path) -> None:
    result = CliRunner().invoke(main, ["--sononet", "SonoNet16.npz", "--bundle", str(trained)])
    assert result.exit_code == 1
    assert "a bundle of metfa-v; choose another directory" in result.output
    Bundle.open(trained).read("model.safetensors")


def _npz(folder: Path, *arrays: np.ndarray) -> bytes:
    np.savez(folder / "other.npz", *arrays)
    return (folder / "other.npz").read_bytes()


@pytest.fixture(scope="module")
def sononet_data() -> Path:
    data = os.environ.get("METFA_DATA")
    if data is None:
        pytest.skip("METFA_DATA does not name the folder with the published weights and frames")
    return Path(data) / "sononet"


def test_the_published_network_labels_real_frames_in_every_precision(
    sononet_data: Path, tmp_path: Path, interpreter: Interpreter
) -> None:
    bundle, frames = tmp_path / "sononet16", sononet_data / "frames"
    options = ["--fp16", "--int8", "--sononet", sononet_data / "SonoNet16.npz", "--bundle", bundle]
    options += ["--frames", frames, "--calibration", frames, "--roi", ROI]
    exported = interpreter.run("from metfa.export.cli import run; run()", *options)
    assert exported.returncode == 0, exported.stderr
    assert exported.stderr == ""
    assert "14 convolutions in float16" in exported.stdout
    for name in ("model.int8.onnx", "model.int8.tensorrt.onnx", "model.int8.tensorrt_rtx.engine"):
        assert f"{name}: 14 convolutions in int8" in exported.stdout
    for precision in ("fp32", "fp16", "int8"):
        events = tmp_path / f"{precision}.jsonl"
        command = [
            str(Path(sys.executable).with_name("metfa-stream")),
            "--bundle",
            str(bundle),
            "--device",
            str(frames),
        ]
        command += ["--roi", str(ROI), "--precision", precision, "--events", str(events), "--no-window"]
        subprocess.run(command, capture_output=True, check=True)
        observed = [json.loads(line) for line in events.read_text().splitlines()]
        assert {record["source"]: record["label"] for record in observed} == TRUE_LABELS
        assert all(tuple(record["probabilities"]) == LABELS for record in observed)
        assert min(record["confidence"] for record in observed) > 0.99

    images = np.stack(
        [preprocess(read_image(frames / name), height=224, width=288, region=ROI) for name in TRUE_LABELS]
    )
    published = OnnxRuntimeBackend(bundle / ONNX, Bundle.open(bundle).contract, "cpu").infer(images).embedding
    received = encoder_features(sononet_data / "SonoNet16.npz", images)
    np.testing.assert_allclose(received, published, rtol=1e-3, atol=1e-3)


@torch.inference_mode()
def encoder_features(weights: Path, images: np.ndarray) -> np.ndarray:
    """Return what training's encoder of these weights makes of frames, before it standardises them, [N, 64]."""
    encoder = build_encoder("sononet16")
    load_initial(encoder, identify(str(weights), "sononet16"))
    layers = nn.Sequential(Normalise(NORMALISATION), *list(encoder.eval())[: -encoder.adapting], nn.Flatten())
    features: np.ndarray = layers(torch.from_numpy(images)).numpy()
    return features
