"""The graphs that an export makes, planned: how each is written, what runs it, and what its refusal means."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from metfa.runtime.backends.choice import Precision
from metfa.runtime.backends.onnxruntime import OnnxRuntimeBackend
from metfa.runtime.bundle.directory import ONNX, ONNX_FP16, ONNX_INT8, ONNX_INT8_TENSORRT
from metfa.runtime.bundle.engine_record import EngineRecord, OperationCounts, require_precision

from .frames import FrameSet
from .graph import export_onnx, half_arithmetic
from .inspection import Inspection, count_operations, inspect, require_inference_only
from .parity import run_module
from .quantise import Form, Quantiser, simulate
from .sensitivity import find_layers_to_keep

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from metfa.runtime.backends import Inference
    from metfa.runtime.bundle.contract import ModelContract
    from metfa.runtime.bundle.engine_record import EnginePrecision

    from .gate import Gate
    from .graph import Model

_ON_CPU = "ONNX Runtime on the CPU"


class Runner(NamedTuple):
    """What computes an artefact for the comparison with PyTorch.

    Attributes:
        name: of it.
        load: makes it ready, and returns what runs a batch of uint8 [N, 1, H, W].
    """

    name: str
    load: Callable[[], Callable[[NDArray[np.uint8]], Inference]]


@dataclass(frozen=True, slots=True)
class Built:
    """A file that was written, before the gate.

    Attributes:
        runners: what computes it here; each must agree with PyTorch.
        graph: what it holds, if it is an ONNX.
        operations: the proof of its precision, if that is reduced.
        engine: its record, if it is an engine.
        notes: why it was not built or not compared, one sentence each.
    """

    runners: tuple[Runner, ...] = ()
    graph: Inspection | None = None
    operations: OperationCounts | None = None
    engine: EngineRecord | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """A file to make.

    Attributes:
        name: of the file.
        precision: that it must be in.
        build: writes it to a path, beside what was built before.
        source: name of the graph that it is built from; it is left out where that was refused. None for the network.
        required: whether its refusal ends the export; other files are left out.
        remedy: finds what to do if it is refused; None for what goes with its precision.
    """

    name: str
    precision: Precision
    build: Callable[[Path], Built]
    source: str | None = None
    required: bool = False
    remedy: Callable[[], str] | None = None


@dataclass(frozen=True, slots=True)
class Int8Options:
    """How INT8 is made.

    Attributes:
        calibration: unlabelled frames of the target, which give the ranges.
        command: the command line that asks for it; where INT8 is refused, options are added that let it through.
        keep: names of layers that stay in float32.
    """

    calibration: FrameSet
    command: str
    keep: tuple[str, ...] = ()


def plan_fp32(model: Model) -> Plan:
    """Return the plan of the FP32 graph, which every export makes."""

    def build(path: Path) -> Built:
        export_onnx(model.deploy("fp32"), model.contract, path)
        return Built(_on_cpu(path, model.contract), _inspect(path))

    return Plan(ONNX, "fp32", build, required=True)


def plan_fp16(model: Model) -> Plan:
    """Return the plan of the FP16 graph. A CPU shows no overflow, so PyTorch computes it a second time."""

    def build(path: Path) -> Built:
        half = model.deploy("fp16")
        export_onnx(half, model.contract, path)
        rounding = Runner("half arithmetic in PyTorch", lambda: partial(run_module, half_arithmetic(half)))
        return _reduced(path, "fp16", (*_on_cpu(path, model.contract), rounding))

    return Plan(ONNX_FP16, "fp16", build)


class _Int8Form(NamedTuple):
    """One of the INT8 graphs, and what runs it; each must agree with PyTorch."""

    form: Form
    name: str
    runners: Callable[[Path], tuple[Runner, ...]]


def plan_int8(fp32: Path, contract: ModelContract, options: Int8Options, gate: Gate) -> list[Plan]:
    """Return the plans of the INT8 graphs, for CPUs and for TensorRT.

    Args:
        fp32: the graph that is quantised. It need not be there yet.
        contract: what it takes and returns.
        options: how to quantise.
        gate: says which layers must stay in float32 where it refuses one of the two.
    """
    forms = (
        _Int8Form("cpu", ONNX_INT8, lambda path: _on_cpu(path, contract)),
        _Int8Form("tensorrt", ONNX_INT8_TENSORRT, _as_tensorrt),
    )
    quantiser = cache(partial(Quantiser, fp32, options.calibration.frames))  # calibrates once for both
    remedy = cache(lambda: _int8_remedy(forms, quantiser(), options, gate))  # the same for both

    def build(form: _Int8Form, path: Path) -> Built:
        quantiser().write(form.form, path, keep=options.keep)
        return _reduced(path, "int8", form.runners(path), kept=len(options.keep))

    return [Plan(form.name, "int8", partial(build, form), source=ONNX, remedy=remedy) for form in forms]


def _int8_remedy(forms: Sequence[_Int8Form], quantiser: Quantiser, options: Int8Options, gate: Gate) -> str:
    """Return the command with which both forms pass."""
    with tempfile.TemporaryDirectory() as candidates:

        def keeping(layers: Sequence[str]) -> Iterator[Callable[[NDArray[np.uint8]], Inference]]:
            for form in forms:
                path = Path(candidates, form.name)
                quantiser.write(form.form, path, keep=(*options.keep, *layers))
                for runner in form.runners(path):
                    yield runner.load()

        layers = find_layers_to_keep(
            [layer.name for layer in quantiser.layers if layer.name not in options.keep],
            distance=lambda kept: sum(gate.distance("int8", infer) for infer in keeping(kept)),
            passes=lambda kept: all(gate.passes("int8", infer) for infer in keeping(kept)),
        )
    if layers is None:
        return "no layers to keep in FP32 would help: export without --int8"
    kept = " ".join(f"--keep {layer}" for layer in layers)
    return f"with these layers in FP32 it passes: {options.command} {kept}"


def _on_cpu(path: Path, contract: ModelContract) -> tuple[Runner, ...]:
    """Return what runs an ONNX on a CPU: ONNX Runtime, and OpenVINO where it is installed, by its own description."""
    runner = Runner(_ON_CPU, lambda: OnnxRuntimeBackend(path, contract, "cpu").infer)
    if importlib.util.find_spec("openvino") is None:
        return (runner,)
    from metfa.runtime.backends.openvino import OpenVinoBackend

    backend = OpenVinoBackend(path, contract)
    return runner, Runner(backend.description.removesuffix(f", {path.name}"), lambda: backend.infer)


def _as_tensorrt(path: Path) -> tuple[Runner, ...]:
    return (Runner("Q/DQ in float32, as TensorRT rounds", partial(simulate, path)),)


def _reduced(path: Path, precision: EnginePrecision, runners: tuple[Runner, ...], *, kept: int = 0) -> Built:
    """Return what was built, with the proof of its precision.

    Raises:
        ExportError: it is not in that precision.
    """
    graph = _inspect(path)
    operations = count_operations(graph)
    require_precision(path.name, operations, precision, kept=kept)
    return Built(runners, graph, operations)


def _inspect(path: Path) -> Inspection:
    require_inference_only(path)
    return inspect(path)
