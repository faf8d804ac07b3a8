"""One export, from a network in PyTorch to all its files, each of them through the gate."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from metfa.runtime.backends.choice import has_nvidia_gpu
from metfa.runtime.backends.engine_builder import Target, build_engine, find_target
from metfa.runtime.backends.onnxruntime import OnnxRuntimeBackend
from metfa.runtime.bundle.contract import software
from metfa.runtime.bundle.directory import (
    ENGINE_PATTERN,
    ENGINE_PATTERN_INT8,
    ONNX,
    ONNX_FP16,
    ONNX_INT8,
    ONNX_INT8_TENSORRT,
    PARITY,
)
from metfa.runtime.bundle.engine_record import (
    LIVE_BATCH,
    BatchRange,
    EngineRecord,
    cuda_bindings_installed,
    installed_flavours,
    record_name,
    require_precision,
)
from metfa.runtime.bundle.records import to_json
from metfa.runtime.errors import BackendError, ExportError, ParityError
from metfa.runtime.files import write_text
from metfa.training.weights import load_network

from .frames import FrameSet
from .gate import Gate
from .graph import Model, deploy, export_onnx, half_arithmetic
from .inspection import Inspection, count_operations, inspect, require_inference_only
from .parity import run_module
from .quantise import Form, Quantiser, simulate
from .report import SCHEMA, ParityReport
from .sensitivity import find_layers_to_keep
from .sononet import METHOD, load_sononet, sononet_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from metfa.runtime.backends import Inference
    from metfa.runtime.bundle.directory import Bundle
    from metfa.runtime.bundle.engine_record import EnginePrecision, Flavour, OperationCounts


_ON_CPU = "ONNX Runtime on the CPU"
_TURING = "7.5"


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What TensorRT engines are for.

    Attributes:
        compute_capabilities: of the GPUs that they must run on; empty for all that can be built for here.
        batch: how many frames they take at once.
        workspace: the most bytes of GPU memory beside the network's own; None for no limit.
    """

    compute_capabilities: tuple[str, ...] = ()
    batch: BatchRange = LIVE_BATCH
    workspace: int | None = None


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


@dataclass(frozen=True, slots=True)
class Artefacts:
    """What an export made.

    Attributes:
        parity: what the gate measured.
        engines: record of each engine, by file name.
        notes: why an engine was not built or not compared, one sentence each.
        refusals: why artefacts of reduced precision were left out again, by file name.
    """

    parity: ParityReport
    engines: dict[str, EngineRecord]
    notes: tuple[str, ...]
    refusals: dict[str, ParityError]


class _Int8Form(NamedTuple):
    """One of the INT8 graphs, and what runs it for the comparison."""

    form: Form
    name: str
    computed_by: str
    runner: Callable[[Path], Callable[[NDArray[np.uint8]], Inference]]


def load_model(bundle: Bundle) -> Model:
    """Load the network of a bundle that ``metfa-train`` or ``metfa-export --sononet`` made.

    Raises:
        BundleError: its weights are missing, damaged, or those of another network.
    """
    if bundle.contract.provenance.method == METHOD:
        return sononet_model(load_sononet(bundle), bundle.contract)
    network = load_network(bundle)
    return Model(network, partial(deploy, network), bundle.contract)


def write_artefacts(
    model: Model,
    frames: Sequence[FrameSet],
    directory: Path,
    *,
    fp16: bool,
    int8: Int8Options | None,
    engine: EngineOptions,
    largest_differences: Path | None,
) -> Artefacts:
    """Write the artefacts of ``model`` and their parity report into ``directory``.

    Args:
        model: what to export.
        frames: what to compare on, by domain.
        directory: where to write; what is there after an error is not to be used.
        fp16: whether to make the FP16 graph, and engines of it with the flavours of TensorRT that are installed.
        int8: how to make the INT8 graphs, and engines of the one for TensorRT; None for neither.
        engine: what the engines are for.
        largest_differences: where to draw the frames on which each artefact is furthest from PyTorch, whether or not
            it passes; None for nowhere.

    Raises:
        ExportError: an artefact cannot be made or is not in its precision.
        ParityError: the FP32 graph is beyond its tolerance; of others the result says so.
        OutputError: a file cannot be written.
    """
    targets, notes = _find_targets(engine.compute_capabilities) if fp16 or int8 else ({}, [])
    run = _Run(model, directory, Gate(model, frames, largest_differences), engine, targets)
    run.write_fp32()
    if fp16:
        run.write_fp16()
    if int8:
        run.write_int8(int8)
    report = ParityReport(
        SCHEMA, software(), run.gate.compared_on, tuple(run.gate.comparisons), run.operations, run.graphs
    )
    write_text(directory / PARITY, to_json(report))
    return Artefacts(report, run.engines, (*notes, *run.notes), run.refusals)


class _Run:
    """Writes the artefacts of one export one after another, each through the gate."""

    def __init__(
        self, model: Model, directory: Path, gate: Gate, engine: EngineOptions, targets: dict[Flavour, Target]
    ) -> None:
        self.gate = gate
        self.graphs: dict[str, Inspection] = {}
        self.operations: dict[str, OperationCounts] = {}
        self.engines: dict[str, EngineRecord] = {}
        self.notes: list[str] = []
        self.refusals: dict[str, ParityError] = {}
        self._model = model
        self._directory = directory
        self._engine = engine
        self._targets = targets

    def write_fp32(self) -> None:
        path = self._directory / ONNX
        export_onnx(self._model.deploy("fp32"), self._model.contract, path)
        self._inspect(path)
        self.gate.let_through(ONNX, "fp32", _ON_CPU, self._on_cpu(path))

    def write_fp16(self) -> None:
        half, path = self._model.deploy("fp16"), self._directory / ONNX_FP16
        with self._unless_refused(ONNX_FP16):
            export_onnx(half, self._model.contract, path)
            self._inspect(path)
            require_precision(ONNX_FP16, self._prove(path), "fp16")
            self.gate.let_through(ONNX_FP16, "fp16", _ON_CPU, self._on_cpu(path))
            rounded = partial(run_module, half_arithmetic(half))
            self.gate.let_through(ONNX_FP16, "fp16", "half arithmetic in PyTorch", rounded)
        if ONNX_FP16 not in self.refusals:
            self._build_engines(path, ENGINE_PATTERN, "fp16", kept=0)

    def write_int8(self, options: Int8Options) -> None:
        quantiser = Quantiser(self._directory / ONNX, options.calibration.frames)
        forms = (
            _Int8Form("cpu", ONNX_INT8, _ON_CPU, self._on_cpu),
            _Int8Form("tensorrt", ONNX_INT8_TENSORRT, "Q/DQ in float32, as TensorRT rounds", simulate),
        )
        kept = len(options.keep)
        remedy = cache(partial(self._int8_remedy, forms, quantiser, options))  # the same for both
        for form in forms:
            path = self._directory / form.name
            with self._unless_refused(form.name):
                quantiser.write(form.form, path, keep=options.keep)
                self._inspect(path)
                require_precision(form.name, self._prove(path), "int8", kept=kept)
                self.gate.let_through(form.name, "int8", form.computed_by, form.runner(path), remedy=remedy)
        if ONNX_INT8_TENSORRT not in self.refusals:
            self._build_engines(self._directory / ONNX_INT8_TENSORRT, ENGINE_PATTERN_INT8, "int8", kept=kept)

    def _int8_remedy(self, forms: Sequence[_Int8Form], quantiser: Quantiser, options: Int8Options) -> str:
        """Return the command with which both forms pass."""
        with tempfile.TemporaryDirectory() as candidates:

            def keeping(form: _Int8Form, layers: Sequence[str]) -> Callable[[NDArray[np.uint8]], Inference]:
                path = Path(candidates, form.name)
                quantiser.write(form.form, path, keep=(*options.keep, *layers))
                return form.runner(path)

            layers = find_layers_to_keep(
                [layer.name for layer in quantiser.layers if layer.name not in options.keep],
                distance=lambda kept: sum(self.gate.distance("int8", keeping(form, kept)) for form in forms),
                passes=lambda kept: all(self.gate.would_let_through("int8", keeping(form, kept)) for form in forms),
            )
        if layers is None:
            return "no layers to keep in FP32 would help: export without --int8"
        kept = " ".join(f"--keep {layer}" for layer in layers)
        return f"with these layers in FP32 it passes: {options.command} {kept}"

    @contextmanager
    def _unless_refused(self, name: str) -> Iterator[None]:
        """Leave the artefact that the block makes out again where the gate refuses it, and note why."""
        try:
            yield
        except ParityError as refusal:
            self.refusals[name] = refusal
            for file in (name, record_name(name)):
                (self._directory / file).unlink(missing_ok=True)
            self.graphs.pop(name, None)
            self.operations.pop(name, None)
            self.engines.pop(name, None)
            self.gate.forget(name)

    def _inspect(self, path: Path) -> None:
        require_inference_only(path)
        self.graphs[path.name] = inspect(path)

    def _prove(self, path: Path) -> OperationCounts:
        self.operations[path.name] = count_operations(self.graphs[path.name])
        return self.operations[path.name]

    def _on_cpu(self, path: Path) -> Callable[[NDArray[np.uint8]], Inference]:
        return OnnxRuntimeBackend(path, self._model.contract, "cpu").infer

    def _build_engines(self, onnx: Path, pattern: str, precision: EnginePrecision, *, kept: int) -> None:
        for flavour, asked in self._targets.items():
            name = pattern.replace("*", flavour)
            target = asked
            # TensorRT for RTX multiplies matrices there in half precision only, and not in INT8 with float results.
            if precision == "int8" and flavour == "tensorrt_rtx" and "matrix products" in self.operations[onnx.name]:
                others = tuple(capability for capability in asked.compute_capabilities if capability != _TURING)
                target = replace(asked, compute_capabilities=others)
            if target != asked:
                self.notes.append(f"{name} is not for compute capability {_TURING}, which has no such matrix products")
            if not target.compute_capabilities:
                continue
            record = build_engine(
                flavour,
                target,
                onnx,
                self._model.contract,
                self._directory / name,
                precision=precision,
                kept=kept,
                batch=self._engine.batch,
                workspace=self._engine.workspace,
            )
            self.engines[name], self.operations[name] = record, record.operations
            self._compare_engine(self._directory / name, record)

    def _compare_engine(self, path: Path, record: EngineRecord) -> None:
        """Compare an engine where it can run; otherwise note why it was not compared."""
        built = f"{path.name} was built but not run here"
        if not cuda_bindings_installed():
            self.notes.append(f"{built}: cuda-python is not installed")
            return
        if not has_nvidia_gpu():
            self.notes.append(f"{built}: there is no NVIDIA GPU")
            return
        from metfa.runtime.backends.gpu import current_device
        from metfa.runtime.backends.tensorrt import TensorRtBackend

        try:
            device = current_device()
        except BackendError as refusal:
            self.notes.append(f"{built}: {refusal.received}")
            return
        if device.compute_capability not in record.compute_capabilities:
            self.notes.append(f"{built}: it is not for this {device.name}")
            return
        backend = TensorRtBackend(path, record, self._model.contract)
        with self._unless_refused(path.name):
            self.gate.let_through(path.name, record.precision, f"{record.flavour} on {device.name}", backend.infer)


def _find_targets(compute_capabilities: Sequence[str]) -> tuple[dict[Flavour, Target], list[str]]:
    """Return what each installed flavour of TensorRT builds for, and why others build nothing."""
    targets: dict[Flavour, Target] = {}
    notes: list[str] = []
    for flavour in installed_flavours():
        try:
            targets[flavour] = find_target(flavour, compute_capabilities)
        except BackendError as refusal:  # noqa: PERF203  # there are two
            notes.append(f"no {flavour} engine was built: {refusal}")
    if not installed_flavours():
        notes.append(
            "no engine was built: neither TensorRT (pip install 'metfa[tensorrt]', on the device) nor TensorRT for RTX "
            "(pip install 'metfa[rtx]', on any machine) is installed"
        )
    if compute_capabilities and not targets:
        raise ExportError(
            expected=f"TensorRT, to build an engine for compute capability {', '.join(compute_capabilities)}",
            received="; ".join(notes),
            remedy="install it, or leave out --compute-capability",
        )
    return targets, notes
