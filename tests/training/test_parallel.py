"""Two processes on the CPU against one: the same objective and the same network, whatever the method."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from metfa.runtime.bundle.directory import Bundle
from metfa.runtime.errors import TrainingError
from metfa.training.methods import METHODS
from metfa.training.parallel import (
    Encoding,
    SharedBatchNorm2d,
    average_gradients,
    computes_in_bfloat16,
    make_fabric,
    with_precision,
)
from metfa.training.weights import read_tensors

from .conftest import make_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.processes import Interpreter

    from metfa.training.names import MethodName

STEPS = 3
ONE_OF_EACH = list({kind: name for name, kind in METHODS.items()}.values())  # of MetFA's rows, the last
SCRIPT = """\
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from tests.training.conftest import make_config, make_network, make_store
from metfa.training.names import DEFAULTS
from metfa.training.data.store import UNLABELLED, FrameStore
from metfa.training.fit import Trainer
from metfa.runtime.command import Interruption
from metfa.training.methods import build_method
from metfa.training.parallel import make_fabric
from metfa.training.selection.candidates import Candidates, Frames

torch.set_num_threads(1)
directory, processes, *methods = sys.argv[1:]
fabric = make_fabric("cpu", int(processes))
fabric.launch()
for name in methods:
    config = replace(make_config(), method=name, steps=STEPS, images_per_class=4, candidates=2)
    torch.manual_seed(0)
    method = build_method(config, make_network())
    source, target = make_store(6, 230), make_store(6, 120)
    if "target" not in method.supervision:
        target = FrameStore(target.frames, np.full_like(target.labels, UNLABELLED))
    into = Path(directory, name)
    (into / "candidates").mkdir(parents=True, exist_ok=True)
    frames = Frames({"source": source.frames, "target": target.frames}, {"source": source, "target": target})
    trainer = Trainer(method, source, target, into, Candidates(into / "candidates", frames), fabric)
    with Interruption() as interruption:
        assert trainer.run(interruption)
    end = {name: value.contiguous() for name, value in method.state_dict().items()}
    save_file(end, into / f"end-{fabric.global_rank}.safetensors")
"""


def train(interpreter: Interpreter, directory: Path, processes: int) -> None:
    """Train with every method; the processes are started as a cluster does, which tells each its rank."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        cluster = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    script = SCRIPT.replace("STEPS", str(STEPS))
    started = [
        interpreter.start(script, directory, processes, *ONE_OF_EACH, LOCAL_RANK=str(rank), TQDM_DISABLE="1", **cluster)
        for rank in range(processes)
    ]
    for process in started:
        ended = process.wait()
        assert ended.returncode == 0, ended.stderr


@pytest.fixture(scope="module")
def runs(interpreter: Interpreter, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """What one and what two processes made of every method."""
    alone, together = (tmp_path_factory.mktemp(name) for name in ("alone", "together"))
    train(interpreter, alone, 1)
    train(interpreter, together, 2)
    return alone, together


@pytest.mark.parametrize("method", ONE_OF_EACH)
def test_two_processes_have_the_objective_of_one(runs: tuple[Path, Path], method: MethodName) -> None:
    of_one, of_two = (
        [json.loads(line) for line in (directory / method / "metrics.jsonl").read_text().splitlines()]
        for directory in runs
    )
    assert [terms["step"] for terms in of_two] == [1, 2, 3]
    for one, two in zip(of_one, of_two, strict=True):
        assert two == pytest.approx(one, rel=2e-3, abs=1e-5)


@pytest.mark.parametrize("method", ONE_OF_EACH)
def test_two_processes_end_with_the_network_of_one(runs: tuple[Path, Path], method: MethodName) -> None:
    (one,) = (read_tensors(path) for path in (runs[0] / method).glob("end-*"))
    first, second = (read_tensors(runs[1] / method / f"end-{rank}.safetensors") for rank in (0, 1))
    for name, tensor in one.items():
        assert torch.equal(first[name], second[name]), f"{name} differs between the processes"
        difference = (first[name].float() - tensor.float()).abs().max()
        assert difference <= 5e-4 + 5e-3 * tensor.float().abs().max(), name


def test_one_process_keeps_the_candidates(runs: tuple[Path, Path]) -> None:
    kept = [sorted(path.name for path in (directory / "metfa-v").rglob("*") if path.is_file()) for directory in runs]
    assert set(kept[1]) - set(kept[0]) == {"end-1.safetensors"}


def test_shared_batch_norm_is_batch_norm_where_nothing_is_shared() -> None:
    torch.manual_seed(0)
    plain, shared = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    shared.__class__ = SharedBatchNorm2d
    x = torch.randn(4, 3, 5, 6)
    assert torch.equal(plain(x), shared(x))
    assert torch.equal(plain.running_var, shared.running_var)  # type: ignore[arg-type]


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    """A group of one process, whose batch norms share their statistics with nobody."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'rendezvous'}", rank=0, world_size=1)
    SharedBatchNorm2d.shares = True
    yield
    SharedBatchNorm2d.shares = False
    dist.destroy_process_group()


SHARES = """\
import sys

import torch
import torch.distributed as dist
from torch import nn

from metfa.training.parallel import SharedBatchNorm2d

rank, rendezvous, memory_format = int(sys.argv[1]), sys.argv[2], getattr(torch, sys.argv[3])
dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
SharedBatchNorm2d.shares = True
for affine in (True, False):
    torch.manual_seed(0)
    whole, shared = nn.BatchNorm2d(3, affine=affine), nn.BatchNorm2d(3, affine=affine)
    for parameter in whole.parameters():
        nn.init.normal_(parameter)
    shared.load_state_dict(whole.state_dict())
    shared.__class__ = SharedBatchNorm2d
    x = (torch.arange(8.0)[:, None, None, None] * torch.randn(8, 3, 5, 6)).to(memory_format=memory_format)
    weights = torch.randn(8, 3, 5, 6)
    mine = slice(4 * rank, 4 * rank + 4)
    inputs = x.clone().requires_grad_(), x[mine].clone().requires_grad_()
    (whole(inputs[0]) * weights).sum().backward()
    (shared(inputs[1]) * weights[mine]).sum().backward()
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad[mine], rtol=1e-4, atol=1e-5)
    for of_share, of_whole in zip(shared.parameters(), whole.parameters(), strict=True):
        dist.all_reduce(of_share.grad)
        torch.testing.assert_close(of_share.grad, of_whole.grad, rtol=1e-4, atol=1e-4)
    for of_share, of_whole in zip(shared.buffers(), whole.buffers(), strict=True):
        torch.testing.assert_close(of_share, of_whole, rtol=1e-5, atol=1e-6)
dist.destroy_process_group()
"""


@pytest.mark.parametrize("memory_format", ["contiguous_format", "channels_last"])
def test_shares_that_differ_are_normalised_as_the_whole(
    interpreter: Interpreter, tmp_path: Path, memory_format: str
) -> None:
    started = [interpreter.start(SHARES, rank, tmp_path / "rendezvous", memory_format) for rank in (0, 1)]
    ended = [process.wait() for process in started]
    assert [each.returncode for each in ended] == [0, 0], [each.stderr for each in ended]


@pytest.mark.usefixtures("group")
def test_the_gradient_is_given_the_statistics_that_a_gpu_insists_on(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[torch.Tensor | None] = []
    gradient_of = torch.ops.aten.native_batch_norm_backward

    def note(*arguments: Any) -> Any:
        given.extend(arguments[5:7])
        return gradient_of(*arguments)

    shared = nn.BatchNorm2d(3)
    shared.__class__ = SharedBatchNorm2d
    x = torch.randn(4, 3, 5, 6, requires_grad=True)
    with monkeypatch.context() as patch:  # which what compares tensors below must not see
        patch.setattr(torch.ops.aten, "native_batch_norm_backward", note)
        shared(x).square().sum().backward()
    mean, inverse_deviation = x.mean(dim=(0, 2, 3)), (x.var(dim=(0, 2, 3), correction=0) + shared.eps).rsqrt()
    torch.testing.assert_close(given, [mean, inverse_deviation])


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shared_statistics_are_float32_whatever_the_activations(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    plain, shared = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    nn.init.normal_(plain.weight)
    nn.init.normal_(plain.bias)
    shared.load_state_dict(plain.state_dict())
    shared.__class__ = SharedBatchNorm2d
    inputs = [(torch.randn(8, 3, 20, 30) + 5).to(dtype).requires_grad_()]
    inputs.append(inputs[0].detach().clone().requires_grad_())
    weights = torch.randn(8, 3, 20, 30)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
        outputs = [norm(x) for norm, x in zip((plain, shared), inputs, strict=True)]
    for output in outputs:
        (output.float() * weights).sum().backward()
    assert outputs[1].dtype == outputs[0].dtype == dtype
    step = 2**-6 if dtype is torch.bfloat16 else 1e-5  # that of bfloat16 at the largest outputs
    torch.testing.assert_close(outputs[1], outputs[0], rtol=0, atol=step)
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad, rtol=0, atol=step)
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(getattr(shared, name), getattr(plain, name), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(shared.weight.grad, plain.weight.grad, rtol=1e-3, atol=1e-3)


def test_bfloat16_is_the_encoder_s_alone() -> None:
    encoder = nn.Conv2d(1, 2, 3)
    frames = torch.randn(2, 1, 8, 8)
    features = Encoding(make_fabric("cpu", precision="bf16"), encoder)(encoder, frames)
    assert features.dtype == torch.float32
    exact = encoder(frames)
    assert 0 < (features - exact).abs().max() < 0.05


def test_alone_gradients_stay_as_they_are() -> None:
    weight = nn.Parameter(torch.ones(2))
    weight.grad = torch.tensor([1.0, 2.0])
    average_gradients([weight])
    assert weight.grad.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("device", "processes", "message"),
    [
        ("cuda:99", 1, "expected the device cuda:99, received .*; use --device cpu"),
        ("gpu", 1, "expected the device cpu, cuda or cuda:N, received 'gpu'; correct --device or leave it out"),
        ("meta", 1, "expected the device cpu, cuda or cuda:N, received 'meta'"),
    ],
)
def test_devices_that_are_not_there_are_named(device: str, processes: int, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        make_fabric(device, processes)


def run_command(source: Path, target: Path, directory: Path) -> subprocess.CompletedProcess[str]:
    domains: list[str | Path] = ["--source", source, "--target", target, "--bundle", directory / "bundle"]
    options = "--devices 2 --device cpu --preset small --input-size 28x28 --steps 4 --candidates 1 --images-per-class 2"
    return subprocess.run(
        [Path(sys.executable).with_name("metfa-train"), *domains, *options.split()],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        check=False,
        capture_output=True,
        text=True,
    )


def test_the_command_says_once_what_two_processes_did_and_what_was_wrong(
    source: Path, target: Path, tmp_path: Path
) -> None:
    next(target.rglob("*.png")).unlink()  # so that the training images, which are labelled anew, are odd in number
    done = run_command(source, target, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("macro scores on held-out frames") == 1
    assert Bundle.open(tmp_path / "bundle").files
    again = run_command(source, target, tmp_path)
    assert again.returncode == 1
    assert again.stderr.startswith("Error: expected no bundle in ")
    assert len(again.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("flags", "precision"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16 sse", "bf16"),
        ("flags\t\t: fpu amx_bf16 amx_tile", "bf16"),
        ("flags\t\t: fpu avx2 avx512f avx512_vnni", "fp32"),
        ("Features\t: fp asimd bf16", "fp32"),  # of an Arm CPU, where that was not measured
    ],
)
def test_cpus_that_compute_in_bfloat16_train_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, precision: str
) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{flags}\nbogomips\t: 5000\n")
    native = computes_in_bfloat16(tmp_path / "cpuinfo")
    monkeypatch.setattr("metfa.training.parallel.computes_in_bfloat16", lambda: native)
    assert with_precision(make_config(), "cpu").precision == precision
    assert with_precision(make_config(), "cuda").precision == "fp32"
    assert with_precision(replace(make_config(), precision="fp32"), "cpu").precision == "fp32"
    assert not computes_in_bfloat16(tmp_path / "nothing")
