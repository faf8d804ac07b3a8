"""Typed ONNX to a TensorRT plan: one code path from TensorRT 10.3 to 11, and for TensorRT for RTX."""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..bundle.engine_record import (
    LIVE_BATCH,
    SCHEMA,
    EngineRecord,
    OperationCounts,
    cuda_bindings_installed,
    import_flavour,
    quiet_logger,
    record_name,
    require_precision,
)
from ..bundle.records import to_json
from ..errors import BackendError, ExportError, OutputError
from ..files import cache_directory, replacing, sha256, write_text, writing_to

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ..bundle.contract import ModelContract
    from ..bundle.engine_record import BatchRange, EnginePrecision, Flavour


_OTHER_VERSION = "install another version of TensorRT"


@dataclass(frozen=True, slots=True)
class Target:
    """What an engine is built for.

    Attributes:
        compute_capabilities: such as ``8.6``.
        device: name of the GPU here, where the engine is built for it alone.
    """

    compute_capabilities: tuple[str, ...]
    device: str | None


def find_target(flavour: Flavour, requested: Sequence[str]) -> Target:
    """Return what ``flavour`` builds for: TensorRT for RTX for GPUs by their kind, TensorRT for the GPU here.

    Args:
        flavour: an installed flavour.
        requested: compute capabilities; empty for all that TensorRT for RTX lists.

    Raises:
        BackendError: the flavour needs a GPU, and there is none.
        ExportError: the flavour cannot build for what was requested.
    """
    if flavour == "tensorrt_rtx":
        buildable = tuple(_compute_capabilities(import_flavour(flavour)))
    else:
        if not cuda_bindings_installed():
            raise BackendError(
                expected="cuda-python, to ask for the GPU",
                received="a Python environment without it",
                remedy="pip install '.[tensorrt]' in a clone of metfa",
            )
        from .gpu import current_device

        device = current_device()
        if requested and device.compute_capability not in requested:
            raise BackendError(
                expected=f"this GPU's compute capability, {device.compute_capability}, among those asked for",
                received=", ".join(requested),
                remedy="build the engine on the GPU that will run it",
            )
        return Target((device.compute_capability,), device.name)
    if unknown := sorted(set(requested) - set(buildable)):
        raise ExportError(
            expected=f"compute capabilities among {', '.join(buildable)}, for which {flavour} builds here",
            received=", ".join(unknown),
            remedy="correct or leave out --compute-capability",
        )
    return Target(tuple(requested) or buildable, device=None)


def build_engine(
    flavour: Flavour,
    target: Target,
    onnx: Path,
    contract: ModelContract,
    engine: Path,
    *,
    precision: EnginePrecision = "fp16",
    kept: int = 0,
    batch: BatchRange = LIVE_BATCH,
    workspace: int | None = None,
) -> EngineRecord:
    """Build the plan ``engine`` from a typed FP16 or Q/DQ ONNX, and write its record beside it.

    Args:
        flavour: what builds it and will run it.
        target: the GPUs that it is for.
        onnx: the graph.
        contract: what the graph takes and returns.
        engine: where to write.
        precision: of the graph.
        kept: how many of its convolutions and matrix products are in float32 all the same.
        batch: how many frames it takes at once.
        workspace: the most bytes of GPU memory that TensorRT may use beside the network's own; None for no limit.

    Raises:
        ExportError: TensorRT refused, or the network that it read is not in that precision.
        OutputError: a file cannot be written.
    """
    trt = import_flavour(flavour)
    graph = onnx.read_bytes()
    logger = quiet_logger(trt)
    builder = trt.Builder(logger)
    # By name: the flag's number changed between versions. It makes TensorRT keep the types of the ONNX.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(graph):
        reasons = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        raise _refusal(trt, f"read {onnx.name}", reasons, _OTHER_VERSION)
    operations = _count_operations(trt, network)
    require_precision(engine.name, operations, precision, kept=kept)
    config = _configure(trt, builder, target, contract, batch, workspace)
    plan = _build_plan(builder, network, config, _timing_cache_path(trt, target))
    if plan is None:
        remedy = "give more --workspace, or install another version of TensorRT" if workspace else _OTHER_VERSION
        raise _refusal(trt, f"build {engine.name}", logger.messages, remedy)
    with writing_to(engine):
        engine.write_bytes(plan)
    record = EngineRecord(
        schema=SCHEMA,
        plan_sha256=sha256(engine),
        onnx_sha256=hashlib.sha256(graph).hexdigest(),
        flavour=flavour,
        version=trt.__version__,
        cuda=_cuda_version(),
        device=target.device,
        compute_capabilities=target.compute_capabilities,
        precision=precision,
        batch=batch,
        operations=operations,
        contract=contract,
    )
    write_text(engine.with_name(record_name(engine.name)), to_json(record))
    return record


def _configure(
    trt: Any, builder: Any, target: Target, contract: ModelContract, batch: BatchRange, workspace: int | None
) -> Any:
    """Return the builder's configuration: batches, memory and, for TensorRT for RTX, the GPUs."""
    config = builder.create_builder_config()
    size = contract.input
    counts = (batch.minimum, batch.optimum, batch.maximum)
    profile = builder.create_optimization_profile()
    profile.set_shape("frame", *((frames, 1, size.height, size.width) for frames in counts))
    config.add_optimization_profile(profile)
    if workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace)
    if target.device is None:
        listed = _compute_capabilities(trt)
        config.num_compute_capabilities = len(target.compute_capabilities)
        for index, capability in enumerate(target.compute_capabilities):
            config.set_compute_capability(listed[capability], index)
    return config


def _build_plan(builder: Any, network: Any, config: Any, timings: Path | None) -> Any:
    """Return the plan, with what was measured of this GPU before; None where TensorRT refuses."""
    if timings is not None:
        _use_timing_cache(config, timings)
    plan = builder.build_serialized_network(network, config)
    if timings is not None and plan is not None:
        _keep_timing_cache(config, timings)
    return plan


def _timing_cache_path(trt: Any, target: Target) -> Path | None:
    """Return where TensorRT's measurements of this GPU are kept; None where they are not.

    RTX measures at run time if at all, and there are users without a home.
    """
    if target.device is None:
        return None
    device = re.sub(r"[^0-9A-Za-z]+", "-", target.device)
    try:
        return cache_directory() / "tensorrt" / f"{trt.__version__}-{device}.timings"
    except OutputError:  # measuring again is no reason to give up
        return None


def _use_timing_cache(config: Any, path: Path) -> None:
    """Spare the builder what it has measured before; TensorRT begins anew where it finds a cache damaged or foreign."""
    held = b""
    with suppress(OSError):
        held = path.read_bytes()
    cache = config.create_timing_cache(held)
    if not config.set_timing_cache(cache, ignore_mismatch=False):
        config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)


def _keep_timing_cache(config: Any, path: Path) -> None:
    # The next build measures again where this cannot be written: no reason to lose the engine.
    with suppress(OutputError), replacing(path) as temporary:
        temporary.write_bytes(config.get_timing_cache().serialize())


def _compute_capabilities(trt: Any) -> dict[str, Any]:
    """Return the members SM75, …, SM120 of ``trt.ComputeCapability`` as 7.5, …, 12.0."""
    members = trt.ComputeCapability.__members__.items()
    return {f"{name[2:-1]}.{name[-1]}": member for name, member in members if name.startswith("SM")}


def _count_operations(trt: Any, network: Any) -> OperationCounts:
    """Count what TensorRT read, as :func:`metfa.export.inspection.count_operations` counts what it was given."""
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    dequantised = {layer.get_output(0).name for layer in layers if layer.type == trt.LayerType.DEQUANTIZE}
    names = {trt.DataType.HALF: "float16", trt.DataType.FLOAT: "float32"}
    kinds = {trt.LayerType.CONVOLUTION: "convolutions", trt.LayerType.MATRIX_MULTIPLY: "matrix products"}
    counts: OperationCounts = {}
    for layer in layers:
        if layer.type in kinds:
            # A convolution whose weights are constants has one input.
            inputs = [layer.get_input(index) for index in range(2)]
            kind = counts.setdefault(kinds[layer.type], {})
            quantised = all(tensor is not None and tensor.name in dequantised for tensor in inputs)
            computed_in = "int8" if quantised else names.get(layer.get_output(0).dtype, "other")
            kind[computed_in] = kind.get(computed_in, 0) + 1
    return counts


def _cuda_version() -> str | None:
    if not cuda_bindings_installed():
        return None
    from .gpu import runtime_version

    return runtime_version()


def _refusal(trt: Any, what: str, reasons: list[str], remedy: str) -> ExportError:
    return ExportError(
        expected=f"{trt.__name__} {trt.__version__} to {what}",
        received=" ".join(reasons) or "a refusal without a reason",
        remedy=remedy,
    )
