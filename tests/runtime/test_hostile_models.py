"""Models that mean no good, in bundles whose hashes fit: one line each, and an end when a signal asks for it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from metfa.runtime.backends.choice import load_backend
from metfa.runtime.backends.guard import interruptible, memory_limit
from metfa.runtime.bundle import directory as bundles
from metfa.runtime.bundle.directory import Bundle
from metfa.runtime.errors import BackendError, BundleError, MetfaError

from .conftest import make_bundle, make_contract, make_onnx

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Change = Callable[[onnx.GraphProto], None]


def hostile(directory: Path, change: Change) -> Path:
    """Return a bundle whose graph was changed; ``change`` is to make ``mean`` of ``true mean``, float [N]."""
    contract = make_contract()
    model = onnx.ModelProto.FromString(make_onnx(contract))
    (reduce,) = (node for node in model.graph.node if node.op_type == "ReduceMean")
    reduce.output[0] = "true mean"
    place = list(model.graph.node).index(reduce) + 1
    rest = list(model.graph.node)[place:]
    del model.graph.node[place:]
    change(model.graph)
    model.graph.node.extend(rest)
    make_bundle(directory, contract)
    with bundles.updating(directory, keep=lambda _: True) as stage:
        (stage / bundles.ONNX).write_bytes(model.SerializeToString())
    return directory


def constant(graph: onnx.GraphProto, name: str, value: object, kind: type[np.generic]) -> None:
    graph.initializer.append(numpy_helper.from_array(np.array(value, kind), name))


def endless(graph: onnx.GraphProto) -> None:
    constant(graph, "often", 2**62, np.int64)
    constant(graph, "go on", True, np.bool_)
    body = helper.make_graph(
        [helper.make_node("Identity", ["go on before"], ["go on after"]), helper.make_node("Abs", ["x"], ["y"])],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go on before", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("go on after", TensorProto.BOOL, []),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
        ],
    )
    graph.node.append(helper.make_node("Loop", ["often", "go on", "true mean"], ["mean"], body=body))


def add(graph: onnx.GraphProto, size: int, times: int, *, of_frames: bool) -> None:
    """Add ``times`` × the sum of ``size`` numbers; they can be folded while loading unless they are ``of_frames``."""
    constant(graph, "size", [size], np.int64)
    constant(graph, "zero", 0, np.float32)
    last = "true mean"
    for turn in range(times):
        if of_frames:
            graph.node.append(helper.make_node("Mul", [last, "zero"], [f"nothing {turn}"]))
            graph.node.append(helper.make_node("Expand", [f"nothing {turn}", "size"], [f"many {turn}"]))
        else:
            graph.node.append(
                helper.make_node(
                    "ConstantOfShape",
                    ["size"],
                    [f"many {turn}"],
                    value=numpy_helper.from_array(np.full(1, turn, np.float32)),  # equal nodes would become one
                )
            )
        graph.node.append(helper.make_node("ReduceSum", [f"many {turn}"], [f"sum {turn}"], keepdims=0))
        graph.node.append(helper.make_node("Add", [last, f"sum {turn}"], [f"last {turn}"]))
        last = f"last {turn}"
    graph.node.append(helper.make_node("Identity", [last], ["mean"]))


def folding(graph: onnx.GraphProto) -> None:
    add(graph, 1 << 34, 1, of_frames=False)


def spreading(graph: onnx.GraphProto) -> None:
    add(graph, 1 << 32, 1, of_frames=True)


def failing(graph: onnx.GraphProto) -> None:
    constant(graph, "beyond", [1 << 20], np.int64)
    graph.node.append(helper.make_node("Gather", ["true mean", "beyond"], ["mean"]))


def other_shape(graph: onnx.GraphProto) -> None:
    constant(graph, "two", [2], np.int64)
    graph.node.append(helper.make_node("Tile", ["true mean", "two"], ["mean"]))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            endless,
            "a graph without loops and branches in .*, received an operator that runs a graph of its own; export",
        ),
        (folding, r"Failed to allocate memory for requested buffer of size 68719476736"),
        (spreading, r"Failed to allocate memory for requested buffer of size 17179869184"),
        (failing, r"model\.onnx to run on 1 frames, received .*indices element out of data bounds.*; export"),
        (other_shape, r"expected logits \[1, 3\] and embedding \[1, 1\] of .*, received \[2, 3\] and \[2, 1\]; "),
    ],
)
def test_a_model_that_cannot_be_run_is_one_line(tmp_path: Path, change: Change, reason: str) -> None:
    def use() -> None:
        backend, _ = load_backend(Bundle.open(hostile(tmp_path / "bundle", change)), "cpu")
        backend.infer(np.zeros((1, 1, 32, 40), np.uint8))

    with pytest.raises(MetfaError, match=reason) as refusal:
        use()
    assert isinstance(refusal.value, (BackendError, BundleError))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("of_frames", [False, True], ids=["while it is loaded", "while it runs"])
def test_a_signal_ends_a_model_that_takes_for_ever(tmp_path: Path, number: signal.Signals, *, of_frames: bool) -> None:
    bundle = hostile(tmp_path / "bundle", lambda graph: add(graph, 1 << 25, 1000, of_frames=of_frames))
    code = (
        "import onnxruntime\nfrom metfa.runtime.cli import run\n"
        "class Told(onnxruntime.InferenceSession):\n"
        "    def __init__(self, *a, **n): print('loading', flush=True); super().__init__(*a, **n)\n"
        "    def run(self, *a, **n): print('running', flush=True); return super().run(*a, **n)\n"
        "onnxruntime.InferenceSession = Told\nrun()"
    )
    arguments = ["--bundle", str(bundle), "--device", "phantom:B", "--no-window"]
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "loading\n"
        if of_frames:
            assert process.stdout.readline() == "running\n"
        time.sleep(0.3)  # into native code
        assert process.poll() is None
        process.send_signal(number)
        _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (130, "Interrupted; the same command begins anew\n")


@pytest.mark.parametrize(
    ("temperature", "received"),
    [
        ("1e40", "temperature 1e+40 is not from 0.001 to 1000"),
        ("1e400", "temperature inf is not from 0.001 to 1000"),
        ("1" + "0" * 400, "one of 1329 bits"),
        ("1e-300", "temperature 1e-300 is not from 0.001 to 1000"),
        ("NaN", "temperature nan is not from 0.001 to 1000"),
    ],
)
def test_a_temperature_that_is_none(bundle: Path, temperature: str, received: str) -> None:
    text = json.dumps(json.loads((bundle / bundles.CONTRACT).read_text()))
    with bundles.updating(bundle, keep=lambda _: True) as stage:
        (stage / bundles.CONTRACT).write_text(text.replace('"temperature": 1.0', f'"temperature": {temperature}'))
    with pytest.raises(MetfaError, match=re.escape(received)):
        Bundle.open(bundle)


@pytest.mark.parametrize("label", ["", "x" * 65, "plane\x1b[2J", "plane\n2", "plane\x9b", "\u202eenalp", "\u2028"])
def test_a_label_that_controls_a_terminal_is_refused(bundle: Path, label: str) -> None:
    document = json.loads((bundle / bundles.CONTRACT).read_text())
    document["labels"][1] = label
    with bundles.updating(bundle, keep=lambda _: True) as stage:
        (stage / bundles.CONTRACT).write_text(json.dumps(document))
    with pytest.raises(MetfaError, match="is not of 1 to 64 characters, none of which controls a terminal") as refusal:
        Bundle.open(bundle)
    assert str(refusal.value).isprintable()


def test_what_native_code_raises_or_returns_passes_through() -> None:
    assert interruptible(lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        interruptible(lambda: 1 / 0)


def test_a_memory_limit_holds_and_goes() -> None:
    with pytest.raises(MemoryError), memory_limit(64 << 20):
        np.ones(1 << 28, np.uint8)
    assert np.ones(1 << 28, np.uint8).size == 1 << 28
