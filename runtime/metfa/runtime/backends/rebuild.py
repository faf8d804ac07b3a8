"""An engine for this host from the bundle's typed ONNX: what a device does where no engine of the bundle suits it.

Neither PyTorch nor the export extra is needed.
"""

from __future__ import annotations

import importlib.util
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from ..bundle import directory as bundles
from ..bundle.directory import Bundle, updating
from ..bundle.engine_record import LIVE_BATCH, EngineRecord, cuda_bindings_installed, installed_flavours
from ..errors import BackendError, BundleError
from ..lock import writing_alone
from .engine_builder import build_engine, find_target

if TYPE_CHECKING:
    from pathlib import Path

    from ..bundle.engine_record import BatchRange, Flavour
    from . import Backend
    from .tensorrt import TensorRtBackend

TOLERANCE = 0.02
"""The largest difference of a probability between the new engine and ONNX Runtime, as for FP16 in ``metfa-export``."""

_REMEDY = "run without --rebuild, and report this"


def rebuild_engine(bundle: Bundle) -> TensorRtBackend:
    """Build an engine for this GPU, compare it, add it to the bundle and load it.

    It is compared with ONNX Runtime, where that is installed, on frames of the phantom; what differs stays out. It
    takes as many frames at once as the bundle's engines do.

    Returns:
        The engine, whose description says what was done.

    Raises:
        BackendError: there is no GPU or no TensorRT here, or the engine computes something else.
        BundleError: the bundle holds no FP16 ONNX, or it is damaged.
        ExportError: TensorRT cannot build it, or not in half precision.
        OutputError: the bundle cannot be written.
    """
    from .gpu import current_device
    from .tensorrt import TensorRtBackend

    device = current_device()
    flavour = _flavour()
    name = bundles.ENGINE_PATTERN.replace("*", flavour)
    graph = bundle.read(bundles.ONNX_FP16)
    onnx = bundle.directory / bundles.ONNX_FP16
    target = find_target(flavour, (device.compute_capability,))
    with writing_alone(bundle.directory), updating(bundle.directory, keep=lambda _: True) as stage:
        record = build_engine(flavour, target, onnx, bundle.contract, stage / name, batch=_batch(bundle))
        if record.onnx_sha256 != bundle.files[bundles.ONNX_FP16]:
            raise BundleError(
                expected=f"{onnx} as it was a moment ago", received="another file", remedy="run the same command again"
            )
        proof = _compare(TensorRtBackend(stage / name, record, bundle.contract), onnx, graph, bundle)
    plan = Bundle.open(bundle.directory).read(name)
    rebuilt = TensorRtBackend(bundle.directory / name, record, bundle.contract, plan=plan)
    rebuilt.description += f", just built here, {proof}"
    return rebuilt


def _flavour() -> Flavour:
    """Return the flavour to build with: TensorRT where both are installed, as in loading."""
    if not (installed_flavours() and cuda_bindings_installed()):
        raise BackendError(
            expected="TensorRT and cuda-python, to rebuild the engine",
            received="a Python environment without them",
            remedy="pip install '.[tensorrt]' in a clone of metfa",
        )
    return installed_flavours()[0]


def _batch(bundle: Bundle) -> BatchRange:
    for record in bundle.matching(f"{bundles.ENGINE_PATTERN}.json"):
        with suppress(BackendError, BundleError):  # it may be why the engine is rebuilt
            return EngineRecord.parse(bundle.read(record), origin=record).batch
    return LIVE_BATCH


def _compare(engine: Backend, onnx: Path, graph: bytes, bundle: Bundle) -> str:
    """Return what the comparison with ONNX Runtime showed, or why there was none.

    Raises:
        BackendError: the two differ by more than ``TOLERANCE``.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        return "not compared: ONNX Runtime is not installed"
    from ..phantom.frames import phantom_frames
    from .onnxruntime import OnnxRuntimeBackend

    frames = phantom_frames(bundle.contract.input)
    expected = OnnxRuntimeBackend(onnx, bundle.contract, "cpu", content=graph).infer(frames).probabilities
    # One by one first, as a stream does, then together: the two take different ways through the GPU.
    received = np.concatenate([engine.infer(frames[[index]]).probabilities for index in range(len(frames))])
    difference = max(np.abs(computed - expected).max() for computed in (received, engine.infer(frames).probabilities))
    if not difference <= TOLERANCE:  # NaN differs, too
        raise BackendError(
            expected=f"the new engine to compute what ONNX Runtime does, within {TOLERANCE} of a probability",
            received=f"a difference of {difference:.3f}",
            remedy=_REMEDY,
        )
    return f"within {difference:.1e} of ONNX Runtime on {len(frames)} frames of the phantom"
