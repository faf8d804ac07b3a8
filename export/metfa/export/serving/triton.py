"""A bundle as a model repository of the Triton Inference Server.

::

    DIR/metfa/config.pbtxt          inputs, outputs, batching, warm-up, the contract, hashes
    DIR/metfa/labels.txt            a line for each logit
    DIR/metfa/VERSION/model.onnx    or the plans of TensorRT, one for each compute capability

Triton runs the graph and nothing else. Clients send frames as
:func:`metfa.runtime.imaging.preprocess.preprocess` makes them. ``metfa-stream --backend triton:…`` is one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from metfa.runtime.bundle.contract import METADATA_KEY
from metfa.runtime.bundle.directory import ENGINE_PATTERN, ONNX, ONNX_FP16
from metfa.runtime.bundle.engine_record import EngineRecord, record_name
from metfa.runtime.bundle.served import SERVED_KEY, ServedFiles
from metfa.runtime.errors import BundleError, ExportError

from .directory import new_directory
from .labels import join_labels

if TYPE_CHECKING:
    from pathlib import Path

    from metfa.runtime.bundle.directory import Bundle

MODEL = "metfa"
"""Name of the model in the repository."""

_LABELS = "labels.txt"
_MAX_FRAMES = 8  # in a batch of the ONNX; a plan knows its own limit
_MAX_WAIT_US = 2000  # for more frames to fill a batch: a small part of the 33 ms between frames


@dataclass(frozen=True, slots=True)
class _Served:
    """The files of the bundle that Triton is to load.

    Attributes:
        platform: Triton's name of what runs them.
        files: name in the bundle by name in the repository.
        default: the one that is loaded where no compute capability decides.
        by_compute_capability: name in the repository by compute capability.
        max_batch: the largest N.
    """

    platform: str
    files: dict[str, str]
    default: str
    by_compute_capability: dict[str, str]
    max_batch: int


def write_triton_repository(bundle: Bundle, directory: Path) -> Path:
    """Write ``directory/metfa``, a model that ``tritonserver --model-repository directory`` serves.

    It holds the bundle's TensorRT plans where there are any (Triton loads none of TensorRT for RTX), otherwise its FP16
    ONNX, otherwise its FP32 ONNX.

    Returns:
        The model's directory.

    Raises:
        BundleError: an artefact is missing or damaged.
        ExportError: a label cannot be written into a file of labels, or a plan takes no single frame.
        OutputError: the directory exists or cannot be written.
    """
    served = _find_served(bundle)
    labels = join_labels(bundle.contract.labels, "\n")
    with new_directory(directory / MODEL) as stage:
        contents = {name: bundle.read(artefact) for name, artefact in served.files.items()}
        record = ServedFiles({artefact: bundle.files[artefact] for artefact in sorted(served.files.values())})
        version = stage / str(record.version)
        version.mkdir()
        for name, content in contents.items():
            (version / name).write_bytes(content)
        (stage / _LABELS).write_text(labels, encoding="utf-8", newline="\n")
        (stage / "config.pbtxt").write_text(_config(bundle, served, record), encoding="utf-8", newline="\n")
    return directory / MODEL


def _find_served(bundle: Bundle) -> _Served:
    plans: dict[str, str] = {}
    by_compute_capability: dict[str, str] = {}
    batches = []
    for engine in bundle.matching(ENGINE_PATTERN):
        record = EngineRecord.parse(bundle.read(record_name(engine)), origin=record_name(engine))
        if record.plan_sha256 != bundle.files[engine]:
            raise BundleError(
                expected=f"the record of {engine} beside it",
                received="a record of another plan",
                remedy="export again with metfa-export --fp16",
            )
        if record.flavour == "tensorrt":
            name = f"model.sm{record.compute_capabilities[0].replace('.', '')}.plan"
            plans[name] = engine
            by_compute_capability |= dict.fromkeys(record.compute_capabilities, name)
            if record.batch.minimum > 1:
                raise ExportError(
                    expected=f"{engine} to take single frames, as Triton sends them",
                    received=f"an engine that takes {record.batch.minimum} or more",
                    remedy="export again with --batch 1,OPT,MAX",
                )
            batches.append(record.batch.maximum)
    if plans:
        return _Served("tensorrt_plan", plans, min(plans), by_compute_capability, min(batches))
    artefact = ONNX_FP16 if ONNX_FP16 in bundle.files else ONNX
    return _Served("onnxruntime_onnx", {"model.onnx": artefact}, "model.onnx", {}, _MAX_FRAMES)


def _config(bundle: Bundle, served: _Served, record: ServedFiles) -> str:
    """Return the configuration in the text form of Triton's ``ModelConfig``."""
    contract = bundle.contract
    frame = f"dims: [ 1, {contract.input.height}, {contract.input.width} ]"
    plans = "".join(
        f"cc_model_filenames {{ key: {_quoted(capability)} value: {_quoted(name)} }}\n"
        for capability, name in served.by_compute_capability.items()
    )
    # The first request of each size would otherwise wait for memory and kernels.
    warm_up = "".join(
        f'model_warmup {{ name: "{frames} frames" batch_size: {frames} '
        f'inputs {{ key: "frame" value {{ data_type: TYPE_UINT8 {frame} zero_data: true }} }} }}\n'
        for frames in sorted({1, served.max_batch})
    )
    parameters = "".join(
        f"parameters {{ key: {_quoted(key)} value {{ string_value: {_quoted(value)} }} }}\n"
        for key, value in ((METADATA_KEY, contract.to_json()), (SERVED_KEY, record.to_json()))
    )
    return f"""\
name: {_quoted(MODEL)}
platform: {_quoted(served.platform)}
max_batch_size: {served.max_batch}
default_model_filename: {_quoted(served.default)}
{plans}input {{ name: "frame" data_type: TYPE_UINT8 {frame} }}
output {{ name: "logits" data_type: TYPE_FP32 dims: [ {len(contract.labels)} ] label_filename: {_quoted(_LABELS)} }}
output {{ name: "embedding" data_type: TYPE_FP32 dims: [ {contract.embedding} ] }}
dynamic_batching {{ max_queue_delay_microseconds: {_MAX_WAIT_US} }}
{warm_up}{parameters}"""


def _quoted(text: str) -> str:
    """Return a string of protobuf's text form, whose escapes are those of JSON."""
    return json.dumps(text)
