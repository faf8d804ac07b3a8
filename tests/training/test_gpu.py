"""What only a GPU can show of training: the CPU's objective, resumed runs, bfloat16, compilation."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from click.testing import CliRunner

from metfa.runtime.bundle.directory import Bundle
from metfa.runtime.command import Interruption
from metfa.training.cli.train import main
from metfa.training.encoders import ENCODERS, build_encoder
from metfa.training.fit import Trainer
from metfa.training.methods import METHODS, build_method
from metfa.training.parallel import make_fabric
from metfa.training.selection.candidates import Candidates, Frames

from .conftest import make_config, make_network, make_store

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from metfa.training.names import EncoderName, MethodName

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU and a PyTorch with CUDA"),
]


def train(directory: Path, device: str, **changes: Any) -> list[dict[str, float]]:
    """Train a few steps, and return the terms of each."""
    config = replace(make_config(), **{"steps": 4, "images_per_class": 4, "candidates": 1, **changes})
    torch.manual_seed(0)
    method = build_method(config, make_network())
    source, target = make_store(6, 230), make_store(6, 120)
    (directory / "candidates").mkdir(parents=True)
    frames = Frames({"source": source.frames, "target": target.frames}, {"source": source, "target": target})
    fabric = make_fabric(device, precision=config.precision)
    fabric.launch()
    trainer = Trainer(method, source, target, directory, Candidates(directory / "candidates", frames), fabric)
    assert trainer.run(Interruption())
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("encoder", ENCODERS)
def test_features_and_gradients_are_those_of_the_cpu(encoder: EncoderName) -> None:
    torch.manual_seed(0)
    on_cpu = build_encoder(encoder)
    on_gpu = copy.deepcopy(on_cpu).cuda()
    frames = torch.rand(8, 1, 64, 64)
    features = [on_cpu(frames), on_gpu(frames.cuda())]
    for each in features:
        each.square().mean().backward()
    torch.testing.assert_close(features[1].cpu(), features[0], rtol=2e-2, atol=2e-2)  # TF32 has 10 bits
    for one, other in zip(on_cpu.parameters(), on_gpu.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert (other.grad.cpu() - one.grad).norm() <= 0.05 * one.grad.norm() + 1e-6


@pytest.mark.parametrize("method", [name for name, kind in METHODS.items() if "target" not in kind.supervision])
def test_every_method_learns(tmp_path: Path, method: MethodName) -> None:
    terms = train(tmp_path, "cuda", method=method, steps=40)
    of_source = [step["ce"] for step in terms if "ce" in step]
    assert sum(of_source[-10:]) < sum(of_source[:10])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's own, while it compiles
@pytest.mark.parametrize("changes", [{"precision": "bf16"}, {"compiled": True}], ids=str)
def test_other_ways_of_computing_stay_near(tmp_path: Path, changes: dict[str, Any]) -> None:
    plain = train(tmp_path / "plain", "cuda")
    other = train(tmp_path / "other", "cuda", **changes)
    for one, another in zip(plain, other, strict=True):
        assert another["ce"] == pytest.approx(one["ce"], rel=0.1, abs=0.05)


def test_the_command_trains_on_the_gpu_and_its_model_runs_anywhere(source: Path, target: Path, tmp_path: Path) -> None:
    options = "--preset small --input-size 28x28 --steps 4 --candidates 1 --images-per-class 2 --device cuda"
    arguments = ["--source", str(source), "--target", str(target), "--bundle", str(tmp_path / "bundle")]
    result = CliRunner().invoke(main, [*arguments, *options.split()])
    assert result.exit_code == 0, result.output
    assert "model.safetensors" in Bundle.open(tmp_path / "bundle").files
