"""An encoder that is compiled computes what it is, ends as it would have, and needs a compiler."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from click.testing import CliRunner
from torch import nn
from torch._dynamo.exc import TorchDynamoException

from metfa.runtime.bundle.directory import CHECKPOINT, UNFINISHED
from metfa.runtime.errors import CompilationError
from metfa.training.cli.train import main
from metfa.training.methods import METHODS
from metfa.training.metrics import METRICS
from metfa.training.parallel import Encoding, compiling, make_fabric

from .conftest import make_network

if TYPE_CHECKING:
    from collections.abc import Iterator

# PyTorch's own, in what it loads to compile.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++ to compile with")
_SMALL = "--input-size 28x28 --preset small --steps 6 --candidates 2 --images-per-class 2"
SMALL = [*_SMALL.split(), "--threads", "1", "--device", "cpu", "--precision", "fp32"]


def interrupt(_: object, step: int) -> float:
    """Stand in for a method's progress in a run that is to end after a step."""
    signal.raise_signal(signal.SIGTERM)
    return step / 6


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where compiled code is kept: at first there is none."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("compiled")
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder))
        yield folder


@needs_compiler
def test_features_and_gradients_are_those_of_the_encoder(cache: Path) -> None:
    networks = [make_network() for _ in range(2)]
    networks[1].load_state_dict(networks[0].state_dict())
    frames = torch.randn(6, 1, 28, 28)
    fabric = make_fabric("cpu")
    features = []
    for network, compiled in zip(networks, (False, True), strict=True):
        features.append(Encoding(fabric, network, compiled=compiled)(network.train().encoder, frames))
        features[-1].square().sum().backward()  # type: ignore[no-untyped-call]
    assert any(cache.rglob("*.so"))
    torch.testing.assert_close(features[1], features[0], rtol=1e-4, atol=1e-5)
    for parameters in zip(*(network.encoder.parameters() for network in networks), strict=True):
        torch.testing.assert_close(parameters[1].grad, parameters[0].grad, rtol=1e-3, atol=1e-3)
    for statistics in zip(*(network.encoder.buffers() for network in networks), strict=True):
        torch.testing.assert_close(statistics[1], statistics[0], rtol=1e-4, atol=1e-5)
    deepcopy(networks[1])  # as for a candidate


@needs_compiler
def test_a_resumed_run_ends_with_the_same_bits(
    source: Path, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*arguments: object) -> int:
        return CliRunner().invoke(main, list(map(str, arguments))).exit_code

    begun = ["--source", source, "--target", target, *SMALL, "--compile"]
    assert run(*begun, "--bundle", tmp_path / "whole") == 0
    with monkeypatch.context() as patch:
        patch.setattr(METHODS["metfa-v"], "progress", interrupt)
        assert run(*begun, "--bundle", tmp_path / "cut") == 130
    assert (tmp_path / "cut" / UNFINISHED / CHECKPOINT).exists()
    assert run("--resume", "--bundle", tmp_path / "cut", "--device", "cpu") == 0
    for file in ("model.safetensors", METRICS):
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "cut" / file).read_bytes()


def test_without_a_compiler_one_line_tells_what_is_missing(source: Path, target: Path, tmp_path: Path) -> None:
    metfa_train = Path(sys.executable).with_name("metfa-train")
    done = subprocess.run(
        [metfa_train, "--source", source, "--target", target, *SMALL, "--compile", "--bundle", tmp_path / "bundle"],
        env={**os.environ, "CXX": str(tmp_path / "c++"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "compiled")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("Error: expected to be able to compile the encoder, which takes a C++ compiler, ")
    assert last.endswith("; install g++ and python3-dev, or use --no-compile")


@pytest.mark.parametrize(
    ("said", "received"),
    [
        ("C++ compile error\n\nCommand:\ng++ x.cpp\n\nOutput:\nx.cpp:1:10: fatal error: Python.h: No such file",) * 2,
        ("\nNo working C++ compiler found\n\nSet TORCHDYNAMO_VERBOSE=1", "No working C++ compiler found"),
        ("", "TorchDynamoException"),
    ],
)
def test_the_reason_is_the_compilers(said: str, received: str) -> None:
    with pytest.raises(CompilationError) as raised, compiling():
        raise TorchDynamoException(said)
    assert raised.value.received == received.splitlines()[-1].strip()


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_compiler_that_ctrl_c_ends_is_no_failure(
    source: Path, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupted: bool
) -> None:
    def fail(*_: object) -> None:
        if interrupted:
            signal.raise_signal(signal.SIGINT)
        raise TorchDynamoException("g++ was ended")

    monkeypatch.setattr(METHODS["metfa-v"], "step", fail)
    bundle = tmp_path / "bundle"
    command = ["--source", source, "--target", target, *SMALL, "--compile", "--bundle", bundle]
    result = CliRunner().invoke(main, list(map(str, command)))
    last = result.output.splitlines()[-1]
    if interrupted:
        assert (result.exit_code, last) == (130, "Interrupted; nothing was saved yet, the same command begins anew")
    else:
        assert result.exit_code == 1
        assert "received g++ was ended; install g++" in last
    assert not (bundle / UNFINISHED / CHECKPOINT).exists()


def test_whether_to_compile_may_change_when_a_run_is_resumed(
    source: Path, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "bundle"
    begun = ["--source", source, "--target", target, *SMALL, "--no-compile", "--bundle", bundle]
    with monkeypatch.context() as patch:
        patch.setattr(METHODS["metfa-v"], "progress", interrupt)
        assert CliRunner().invoke(main, list(map(str, begun))).exit_code == 130
    compiled: list[object] = []

    def compile_nothing(encoder: nn.Module, **_: object) -> nn.Module:
        compiled.append(encoder)
        return encoder

    monkeypatch.setattr(torch, "compile", compile_nothing)
    resume = ["--resume", "--bundle", str(bundle), "--device", "cpu"]
    assert CliRunner().invoke(main, [*resume, "--compile"]).exit_code == 0
    assert len(compiled) == 2  # the network's and its teacher's
