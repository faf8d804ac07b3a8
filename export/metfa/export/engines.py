"""TensorRT engines, planned: which can be built here, from which graph, for which GPUs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from metfa.runtime.backends.choice import has_nvidia_gpu
from metfa.runtime.backends.engine_builder import Target, build_engine, find_target
from metfa.runtime.bundle.directory import ENGINE_PATTERN, ENGINE_PATTERN_INT8, ONNX_FP16, ONNX_INT8_TENSORRT
from metfa.runtime.bundle.engine_record import LIVE_BATCH, BatchRange, cuda_bindings_installed, installed_flavours
from metfa.runtime.errors import BackendError, ExportError

from .inspection import count_operations, inspect
from .plans import Built, Plan, Runner

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from metfa.runtime.bundle.contract import ModelContract
    from metfa.runtime.bundle.engine_record import EnginePrecision, EngineRecord, Flavour

_TURING = "7.5"
_FILES: dict[EnginePrecision, tuple[str, str]] = {
    "fp16": (ONNX_FP16, ENGINE_PATTERN),
    "int8": (ONNX_INT8_TENSORRT, ENGINE_PATTERN_INT8),
}
"""By precision, the graph that an engine is built from, and the engine's name."""


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


def find_targets(compute_capabilities: Sequence[str]) -> tuple[dict[Flavour, Target], list[str]]:
    """Return what each installed flavour of TensorRT builds for, and why others build nothing.

    Raises:
        ExportError: nothing can be built for the compute capabilities that were asked for.
    """
    targets: dict[Flavour, Target] = {}
    notes: list[str] = []
    for flavour in installed_flavours():
        try:
            targets[flavour] = find_target(flavour, compute_capabilities)
        except BackendError as refusal:  # noqa: PERF203  # there are two
            notes.append(f"no {flavour} engine was built: {refusal}")
    if not installed_flavours():
        notes.append(
            "no engine was built: neither TensorRT nor TensorRT for RTX is installed "
            "(in a clone of metfa, pip install '.[tensorrt]' on the device or '.[rtx]' on any machine)"
        )
    if compute_capabilities and not targets:
        raise ExportError(
            expected=f"TensorRT, to build an engine for compute capability {', '.join(compute_capabilities)}",
            received="; ".join(notes),
            remedy="install it, or leave out --compute-capability",
        )
    return targets, notes


def plan_engines(
    precision: EnginePrecision,
    contract: ModelContract,
    targets: Mapping[Flavour, Target],
    options: EngineOptions,
    *,
    kept: int = 0,
) -> list[Plan]:
    """Return a plan of an engine for each flavour of TensorRT.

    Args:
        precision: of the graph that they are built from.
        contract: what it takes and returns.
        targets: the GPUs that each flavour builds for.
        options: what else the engines are for.
        kept: how many layers of the graph are in float32 all the same.
    """
    onnx, pattern = _FILES[precision]

    def build(flavour: Flavour, asked: Target, path: Path) -> Built:
        target = _able(flavour, asked, path.with_name(onnx)) if precision == "int8" else asked
        unable = f"{path.name} is not for compute capability {_TURING}, which has no such matrix products"
        notes = () if target == asked else (unable,)
        if not target.compute_capabilities:
            return Built(notes=notes)
        record = build_engine(
            flavour,
            target,
            path.with_name(onnx),
            contract,
            path,
            precision=precision,
            kept=kept,
            batch=options.batch,
            workspace=options.workspace,
        )
        built = Built(operations=record.operations, engine=record, notes=notes)
        runner = _find_runner(path, record)
        if isinstance(runner, str):
            return replace(built, notes=(*notes, f"{path.name} was built but not run here: {runner}"))
        return replace(built, runners=(runner,))

    return [
        Plan(pattern.replace("*", flavour), precision, partial(build, flavour, target), source=onnx)
        for flavour, target in targets.items()
    ]


def _able(flavour: Flavour, target: Target, onnx: Path) -> Target:
    """Return the target without GPUs that cannot multiply the matrices of an INT8 graph.

    There, TensorRT for RTX multiplies matrices in half precision only, and not in INT8 with float results.
    """
    if flavour != "tensorrt_rtx" or "matrix products" not in count_operations(inspect(onnx)):
        return target
    others = tuple(capability for capability in target.compute_capabilities if capability != _TURING)
    return replace(target, compute_capabilities=others)


def _find_runner(path: Path, record: EngineRecord) -> Runner | str:
    """Return what runs an engine here, or why nothing does."""
    if not cuda_bindings_installed():
        return "cuda-python is not installed"
    if not has_nvidia_gpu():
        return "there is no NVIDIA GPU"
    from metfa.runtime.backends.gpu import current_device
    from metfa.runtime.backends.tensorrt import TensorRtBackend

    try:
        device = current_device()
    except BackendError as refusal:
        return refusal.received
    if device.compute_capability not in record.compute_capabilities:
        return f"it is not for this {device.name}"
    return Runner(f"{record.flavour} on {device.name}", lambda: TensorRtBackend(path, record, record.contract).infer)
