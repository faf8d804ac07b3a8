"""One export, from a network in PyTorch to all its files, each of them through the gate."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from metfa.runtime.backends.engine_builder import Target, build_engine, find_target
from metfa.runtime.backends.onnxruntime import OnnxRuntimeBackend
from metfa.runtime.bundle import ENGINE_PATTERN, ONNX, ONNX_FP16, PARITY
from metfa.runtime.contract import software
from metfa.runtime.engine import (
    LIVE_BATCH,
    BatchRange,
    EngineRecord,
    cuda_bindings_installed,
    installed_flavours,
    require_half,
)
from metfa.runtime.errors import BackendError, ExportError
from metfa.runtime.files import write_text
from metfa.runtime.records import to_json
from metfa.training.weights import load_network

from .gate import TOLERANCES, require_parity
from .graph import Model, count_operations, deploy, export_onnx
from .inspection import Inspection, inspect, require_inference_only
from .parity import Comparison, measure, run_in_batches, run_module, summarise
from .precision import half_arithmetic
from .report import SCHEMA, Compared, ParityReport
from .sononet import METHOD, load_sononet, sononet_model
from .worst import find_worst, write_worst

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from metfa.runtime.backends import Inference
    from metfa.runtime.backends.choice import Precision
    from metfa.runtime.bundle import Bundle
    from metfa.runtime.engine import Flavour, OperationCounts

    from .frames import FrameSet
    from .graph import DeployedModel


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
class Export:
    """What an export made.

    Attributes:
        parity: what the gate measured.
        engines: record of each engine, by file name.
        notes: why an engine was not built or not compared, one sentence each.
    """

    parity: ParityReport
    engines: dict[str, EngineRecord]
    notes: tuple[str, ...]


def load_model(bundle: Bundle) -> Model:
    """Load the network of a bundle that ``metfa-train`` or ``metfa-export --sononet`` made.

    Raises:
        BundleError: its weights are missing, damaged, or those of another network.
    """
    if bundle.contract.provenance.method == METHOD:
        return sononet_model(load_sononet(bundle), bundle.contract)
    network = load_network(bundle)
    return Model(network, partial(deploy, network), bundle.contract)


def export(
    model: Model,
    frames: Sequence[FrameSet],
    directory: Path,
    *,
    fp16: bool,
    engine: EngineOptions,
    worst: Path | None,
) -> Export:
    """Write the artefacts of ``model`` and their parity report into ``directory``.

    Args:
        model: what to export.
        frames: what to compare on, by domain.
        directory: where to write; what is there after an error is not to be used.
        fp16: whether to make the FP16 graph, and engines with the flavours of TensorRT that are installed.
        engine: what the engines are for.
        worst: where to draw the frames on which each artefact is furthest from PyTorch, whether or not it passes; None
            for nowhere.

    Raises:
        ExportError: an artefact cannot be made, or is beyond its tolerance.
        OutputError: a file cannot be written.
    """
    targets, notes = _find_targets(engine.compute_capabilities) if fp16 else ({}, [])
    gate = _Gate(model, frames, worst)
    graphs: dict[str, Inspection] = {}
    operations: dict[str, OperationCounts] = {}
    engines: dict[str, EngineRecord] = {}

    def write_graph(name: str, deployed: DeployedModel) -> Path:
        path = directory / name
        export_onnx(deployed, model.contract, path)
        require_inference_only(path)
        graphs[name] = inspect(path)
        return path

    gate.pass_onnx(write_graph(ONNX, model.deploy("fp32")), "fp32")
    if fp16:
        half = model.deploy("fp16")
        path = write_graph(ONNX_FP16, half)
        operations[ONNX_FP16] = count_operations(path)
        require_half(ONNX_FP16, operations[ONNX_FP16])
        gate.pass_onnx(path, "fp16")
        rounded = half_arithmetic(half)
        gate.compare(ONNX_FP16, "fp16", "half arithmetic in PyTorch", lambda frames: run_module(rounded, frames))
    for flavour, target in targets.items():
        name = ENGINE_PATTERN.replace("*", flavour)
        record = build_engine(
            flavour,
            target,
            directory / ONNX_FP16,
            model.contract,
            directory / name,
            batch=engine.batch,
            workspace=engine.workspace,
        )
        engines[name], operations[name] = record, record.operations
        notes += gate.pass_engine(directory / name, record)
    report = ParityReport(
        SCHEMA, software(), gate.compared_on, tuple(gate.comparisons), dict(sorted(operations.items())), graphs
    )
    write_text(directory / PARITY, to_json(report))
    return Export(report, engines, tuple(notes))


class _Gate:
    """Compares artefacts with the network in PyTorch on the same frames, and keeps what it measured."""

    def __init__(self, model: Model, frames: Sequence[FrameSet], worst: Path | None) -> None:
        self.comparisons: list[Comparison] = []
        self._contract = model.contract
        self._frames = frames
        self._worst = worst
        self._expected = [run_module(model.network, domain.frames) for domain in frames]
        self.compared_on = {
            domain.name: Compared(
                len(domain.frames),
                domain.description,
                None if domain.labels is None else float((expected.logits.argmax(1) == domain.labels).mean()),
            )
            for domain, expected in zip(frames, self._expected, strict=True)
        }

    def compare(
        self,
        artefact: str,
        precision: Precision,
        computed_by: str,
        infer: Callable[[NDArray[np.uint8]], Inference],
    ) -> None:
        labels = self._contract.labels
        domains, worst = {}, []
        for domain, expected in zip(self._frames, self._expected, strict=True):
            received = infer(domain.frames)
            differences = measure(expected, received, tie=TOLERANCES[precision].tie)
            domains[domain.name] = summarise(domain, labels, expected, received, differences)
            worst += find_worst(domain, labels, expected, received, differences)
        if self._worst:
            write_worst(self._worst, artefact, computed_by, worst)
        comparison = Comparison(artefact, precision, computed_by, domains)
        require_parity(comparison)
        self.comparisons.append(comparison)

    def pass_onnx(self, path: Path, precision: Precision) -> None:
        backend = OnnxRuntimeBackend(path, self._contract, "cpu")
        self.compare(
            path.name, precision, "ONNX Runtime on the CPU", lambda frames: run_in_batches(backend.infer, frames)
        )

    def pass_engine(self, path: Path, record: EngineRecord) -> list[str]:
        """Compare an engine where it can run; otherwise return a sentence that says why it was not compared."""
        if not cuda_bindings_installed():
            return [f"{path.name} was built but not run here: cuda-python is not installed"]
        from metfa.runtime.backends.gpu import current_device
        from metfa.runtime.backends.tensorrt import TensorRtBackend

        try:
            device = current_device()
        except BackendError as refusal:
            return [f"{path.name} was built but not run here: {refusal.received}"]
        if device.compute_capability not in record.compute_capabilities:
            return [f"{path.name} was built but not run here: it is not for this {device.name}"]
        backend = TensorRtBackend(path, record, self._contract)
        self.compare(
            path.name,
            record.precision,
            f"{record.flavour} on {device.name}",
            lambda frames: run_in_batches(backend.infer, frames),
        )
        return []


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
