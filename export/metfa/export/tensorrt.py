"""Typed ONNX to a TensorRT plan: one code path from TensorRT 10.3 to 11, and for TensorRT for RTX."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from metfa.runtime.engine import (
    SCHEMA,
    EngineRecord,
    OperationCounts,
    cuda_bindings_installed,
    import_flavour,
    quiet_logger,
    record_name,
)
from metfa.runtime.errors import BackendError, ExportError
from metfa.runtime.files import sha256, write_text, writing_to
from metfa.runtime.records import to_json

from .precision import require_half

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from metfa.runtime.contract import ModelContract
    from metfa.runtime.engine import Flavour

MAX_BATCH = 8
"""The largest N that an engine takes. It is tuned for 1: a live stream has one frame at a time."""


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
                remedy="pip install 'metfa[tensorrt]'",
            )
        from metfa.runtime.backends.gpu import current_device

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


def build_engine(flavour: Flavour, target: Target, onnx: Path, contract: ModelContract, engine: Path) -> EngineRecord:
    """Build the plan ``engine`` from a typed FP16 ONNX, and write its record beside it.

    Raises:
        ExportError: TensorRT refused, or the network that it read is not in half precision.
        OutputError: a file cannot be written.
    """
    trt = import_flavour(flavour)
    logger = quiet_logger(trt)
    builder = trt.Builder(logger)
    # By name: the flag's number changed between versions. It makes TensorRT keep the types of the ONNX.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(onnx.read_bytes()):
        reasons = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        raise _refusal(trt, f"read {onnx.name}", reasons)
    operations = _count_operations(trt, network)
    require_half(engine.name, operations)
    config = builder.create_builder_config()
    size = contract.input
    profile = builder.create_optimization_profile()
    profile.set_shape("frame", *((batch, 1, size.height, size.width) for batch in (1, 1, MAX_BATCH)))
    config.add_optimization_profile(profile)
    if target.device is None:
        listed = _compute_capabilities(trt)
        config.num_compute_capabilities = len(target.compute_capabilities)
        for index, capability in enumerate(target.compute_capabilities):
            config.set_compute_capability(listed[capability], index)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise _refusal(trt, f"build {engine.name}", logger.messages)
    with writing_to(engine):
        engine.write_bytes(plan)
    record = EngineRecord(
        schema=SCHEMA,
        plan_sha256=sha256(engine),
        onnx_sha256=sha256(onnx),
        flavour=flavour,
        version=trt.__version__,
        cuda=_cuda_version(),
        device=target.device,
        compute_capabilities=target.compute_capabilities,
        precision="fp16",
        max_batch=MAX_BATCH,
        operations=operations,
        contract=contract,
    )
    write_text(engine.with_name(record_name(engine.name)), to_json(record))
    return record


def _compute_capabilities(trt: Any) -> dict[str, Any]:
    """Return the members SM75, …, SM120 of ``trt.ComputeCapability`` as 7.5, …, 12.0."""
    members = trt.ComputeCapability.__members__.items()
    return {f"{name[2:-1]}.{name[-1]}": member for name, member in members if name.startswith("SM")}


def _count_operations(trt: Any, network: Any) -> OperationCounts:
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    convolutions = [layer for layer in layers if layer.type == trt.LayerType.CONVOLUTION]
    products = [layer for layer in layers if layer.type == trt.LayerType.MATRIX_MULTIPLY]
    return OperationCounts(
        convolutions=len(convolutions),
        half_convolutions=sum(layer.get_output(0).dtype == trt.DataType.HALF for layer in convolutions),
        matrix_products=len(products),
        half_matrix_products=sum(layer.get_output(0).dtype == trt.DataType.HALF for layer in products),
    )


def _cuda_version() -> str | None:
    if not cuda_bindings_installed():
        return None
    from metfa.runtime.backends.gpu import runtime_version

    return runtime_version()


def _refusal(trt: Any, what: str, reasons: list[str]) -> ExportError:
    return ExportError(
        expected=f"{trt.__name__} {trt.__version__} to {what}",
        received=" ".join(reasons) or "a refusal without a reason",
        remedy="install another version of TensorRT",
    )
