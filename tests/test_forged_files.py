"""Files of a bundle as somebody else may have made them, hashes and all: each is refused before use, and why."""

from __future__ import annotations

import json
import pickle
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load_file, save_file

from metfa.export.artefacts import load_model
from metfa.export.frames import calibration_frames, default_frames
from metfa.export.graph import deploy, export_onnx
from metfa.export.serving.deepstream import write_deepstream
from metfa.export.serving.triton import write_triton_repository
from metfa.runtime.backends.choice import load_backend
from metfa.runtime.bundle.contract import METADATA_KEY
from metfa.runtime.bundle.directory import CONTRACT, MANIFEST, ONNX, ONNX_FP16, REFERENCE, WEIGHTS, Bundle, updating
from metfa.runtime.bundle.engine_record import SCHEMA, EngineRecord, record_name
from metfa.runtime.bundle.onnx_file import require_harmless
from metfa.runtime.bundle.records import to_json
from metfa.runtime.errors import BundleError, MetfaError
from metfa.runtime.files import sha256
from metfa.training.data import split_record
from metfa.training.data.split_record import RECORD, SPLIT
from metfa.training.weights import NETWORK

from .export.networks import make_bundle, make_contract, make_network

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Forge = Callable[[Path, Path], object]  # what is in the bundle → what is to enter it
    Use = Callable[[Bundle], object]

PLAN = "model.fp16.tensorrt.engine"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with graphs and what passes for a plan of TensorRT."""
    network = make_network()
    directory = make_bundle(tmp_path_factory.mktemp("whole") / "bundle", network)
    with updating(directory, keep=lambda _: True) as stage:
        export_onnx(deploy(network, "fp32"), make_contract(network), stage / ONNX)
        export_onnx(deploy(network, "fp16"), make_contract(network), stage / ONNX_FP16)
        (stage / PLAN).write_bytes(b"a plan")
        (stage / SPLIT).write_bytes(npy(HEAD))
        record = {
            "schema": SCHEMA,
            "plan_sha256": sha256(stage / PLAN),
            "onnx_sha256": sha256(stage / ONNX_FP16),
            "flavour": "tensorrt",
            "version": "10.3.0",
            "cuda": "12.6",
            "device": "Orin",
            "compute_capabilities": ["8.7"],
            "precision": "fp16",
            "batch": {"minimum": 1, "optimum": 1, "maximum": 8},
            "operations": {"convolutions": {"float16": 15}},
            "contract": json.loads(make_contract(network).to_json()),
        }
        (stage / record_name(PLAN)).write_text(json.dumps(record))
    return directory


def on_the_cpu(bundle: Bundle) -> object:
    return load_backend(bundle, "cpu", "fp32")


def to_triton(bundle: Bundle) -> object:
    return write_triton_repository(bundle, bundle.directory.parent / "models")


def to_deepstream(bundle: Bundle) -> object:
    return write_deepstream(bundle, bundle.directory.parent / "deepstream")


def split(bundle: Bundle) -> object:
    return split_record._load(bundle)


def reference(bundle: Bundle) -> object:
    return default_frames(bundle, bundle.contract.input)


def edit_json(name: str, **changes: Any) -> Forge:
    """Change fields of a JSON file; ``a__b`` is the field b of a."""

    def forge(directory: Path, stage: Path) -> None:
        document = json.loads((directory / name).read_text())
        for field, value in changes.items():
            *path, last = field.split("__")
            part = document
            for key in path:
                part = part[key]
            part[last] = value
        (stage / name).write_text(json.dumps(document))

    return forge


def write(name: str, content: bytes) -> Forge:
    return lambda _, stage: (stage / name).write_bytes(content)


def copy(source: str, name: str) -> Forge:
    return lambda directory, stage: shutil.copyfile(directory / source, stage / name)


def edit_tensors(name: str, change: Callable[[dict[str, torch.Tensor]], object]) -> Forge:
    def forge(directory: Path, stage: Path) -> None:
        tensors = load_file(directory / name)
        change(tensors)
        save_file(tensors, stage / name)

    return forge


def edit_onnx(change: Callable[[onnx.ModelProto], None], name: str = ONNX) -> Forge:
    def forge(directory: Path, stage: Path) -> None:
        model = onnx.load(directory / name)
        change(model)
        (stage / name).write_bytes(model.SerializeToString())

    return forge


def point_outside(tensor: TensorProto) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")


def weights_outside(model: onnx.ModelProto) -> None:
    point_outside(model.graph.initializer[0])


def constant_outside(model: onnx.ModelProto) -> None:
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "constant")
    point_outside(tensor)
    model.graph.node.append(helper.make_node("Constant", [], ["constant"], value=tensor))


def subgraph_outside(model: onnx.ModelProto) -> None:
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "inner")
    point_outside(tensor)
    inner = helper.make_graph([], "inner", [], [], [tensor])
    model.graph.node.append(helper.make_node("If", ["frame"], ["out"], then_branch=inner, else_branch=inner))


def larger_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 1 << 30


def other_contract(model: onnx.ModelProto) -> None:
    (entry,) = (entry for entry in model.metadata_props if entry.key == METADATA_KEY)
    entry.value = entry.value.replace("4CH", "4CH ")


def add_output(model: onnx.ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("relu", TensorProto.FLOAT, None))


def boundless_weights(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = 1 << 40


def npy(header: object, held: bytes = bytes(36)) -> bytes:
    text = f"{header}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + held


HEAD = {"descr": RECORD.descr, "fortran_order": False, "shape": (2,)}
HEADER = b'{"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4]}}'
BOUNDLESS = len(HEADER).to_bytes(8, "little") + HEADER + bytes(4)  # safetensors

CASES: dict[str, tuple[Forge, Use, str]] = {
    "weights are a pickle": (write(WEIGHTS, pickle.dumps({"a": 1})), load_model, "no safetensors file"),
    "weights with a boundless header": (write(WEIGHTS, b"\xff" * 7 + b"\x00{}"), load_model, "no safetensors file"),
    "weights of boundless shape": (write(WEIGHTS, BOUNDLESS), load_model, "no safetensors file"),
    "frames are a pickle": (write(REFERENCE, pickle.dumps([])), calibration_frames, "no safetensors file"),
    "weights of another network": (
        edit_tensors(WEIGHTS, lambda tensors: tensors.update({"encoder.0.weight": torch.zeros(9, 1, 3, 3)})),
        load_model,
        "size mismatch for encoder",
    ),
    "weights renamed": (copy(REFERENCE, WEIGHTS), load_model, "expected the weights of network.json"),
    "a network of boundless size": (edit_json(NETWORK, embedding=1 << 50), load_model, "the sizes of the contract"),
    "a network of another input": (edit_json(NETWORK, height=1 << 20), load_model, "the sizes of the contract"),
    "frames of another size": (
        edit_tensors(REFERENCE, lambda tensors: tensors.update(target=torch.zeros(2, 1, 9, 9, dtype=torch.uint8))),
        reference,
        r"received target of type torch.uint8 and shape \[2, 1, 9, 9\]",
    ),
    "labels that are no classes": (
        edit_tensors(REFERENCE, lambda tensors: tensors["source_labels"].fill_(99)),
        reference,
        "the class of each source frame",
    ),
    "a contract of boundless input": (
        edit_json(CONTRACT, input__height=1 << 30),
        on_the_cpu,
        "is beyond 4096x4096",
    ),
    "a contract of boundless embedding": (edit_json(CONTRACT, embedding=1 << 40), on_the_cpu, "up to 65536"),
    "a contract without scale": (
        edit_json(CONTRACT, input__normalisation={"kind": "fixed", "scale": float("nan"), "mean": 0.0}),
        on_the_cpu,
        "scale nan is not above 0",
    ),
    "a contract without end": (write(CONTRACT, b"[" * 100_000), on_the_cpu, "text that is not JSON"),
    "a graph cut off": (
        lambda directory, stage: (stage / ONNX).write_bytes((directory / ONNX).read_bytes()[:-100]),
        on_the_cpu,
        "a part of .* bytes where .* are left|a number that is cut off",
    ),
    "an empty graph": (write(ONNX, b""), on_the_cpu, "a file without a graph"),
    "a graph that is a pickle": (write(ONNX, pickle.dumps({"a": 1})), on_the_cpu, "expected an ONNX model in"),
    "weights outside": (edit_onnx(weights_outside), on_the_cpu, "a tensor whose data are in another file"),
    "a constant outside": (edit_onnx(constant_outside), on_the_cpu, "a tensor whose data are in another file"),
    "a subgraph": (edit_onnx(subgraph_outside), on_the_cpu, "an operator that runs a graph of its own"),
    "weights outside, to DeepStream": (
        edit_onnx(weights_outside, ONNX_FP16),
        to_deepstream,
        "a tensor whose data are in another file",
    ),
    "a graph of boundless input": (
        edit_onnx(larger_input),
        on_the_cpu,
        r"received frame uint8 \[N, 1, 1073741824, 40\]",
    ),
    "a graph of boundless weights": (edit_onnx(boundless_weights), on_the_cpu, "that ONNX Runtime .* can run"),
    "a graph with another output": (
        edit_onnx(add_output),
        on_the_cpu,
        "expected the tensors of the contract in .* relu float32",
    ),
    "a graph of another contract": (edit_onnx(other_contract), on_the_cpu, "a model with another contract"),
    "a graph renamed": (copy(WEIGHTS, ONNX), on_the_cpu, "expected an ONNX model in"),
    **{
        f"a split that {what}": (write(SPLIT, content), split, f"the record of a split in .*, received {received}")
        for what, content, received in (
            ("is a pickle", pickle.dumps(["split"]), "the magic string is not correct"),
            ("holds a pickle", npy({"descr": "|O", "fortran_order": False, "shape": (1,)}), "an array of object"),
            ("is boundless", npy(HEAD | {"shape": (1 << 60,)}), "36 bytes of data for 1152921504606846976 pictures"),
            ("has no end of brackets", npy("(" * 9000), ".+"),
            ("is code", npy("__import__('os')"), ".+"),
            ("is of the future", b"\x93NUMPY\x09\x00" + bytes(99), "another version of NPY"),
            ("is cut off", npy(HEAD)[:-1], "35 bytes of data for 2 pictures"),
            ("is of numbers", npy(HEAD | {"descr": "<f8"}), r"an array of float64 and shape \(2,\)"),
            ("has another dimension", npy(HEAD | {"shape": (2, 1)}), r"an array of .* and shape \(2, 1\)"),
            ("has a part that there is not", npy(HEAD, b"\7" * 36), "a domain or a split that there is not"),
        )
    },
    "a record of another plan": (
        edit_json(record_name(PLAN), plan_sha256="0" * 64),
        to_triton,
        "a record of another plan",
    ),
    "a plan of another record": (write(PLAN, b"another plan"), to_triton, "a record of another plan"),
    "a record that names a path": (
        edit_json(record_name(PLAN), compute_capabilities=["../../8.7"]),
        to_triton,
        "are not such as 8.6",
    ),
    "a record of boundless batches": (
        edit_json(record_name(PLAN), batch__maximum=1 << 40),
        to_triton,
        "to at most 1024",
    ),
    "a record that is no record": (write(record_name(PLAN), pickle.dumps({})), to_triton, "text that is not JSON"),
}


@pytest.mark.parametrize(("forge", "use", "reason"), CASES.values(), ids=CASES)
def test_a_forged_file_is_refused_before_use(whole: Path, tmp_path: Path, forge: Forge, use: Use, reason: str) -> None:
    directory = shutil.copytree(whole, tmp_path / "bundle")
    with updating(directory, keep=lambda _: True) as stage:
        forge(directory, stage)
    with pytest.raises(MetfaError, match=reason) as refusal:
        use(Bundle.open(directory))
    assert "\n" not in str(refusal.value)
    assert {path.name for path in tmp_path.iterdir()} <= {"bundle", "models"}
    assert not list(tmp_path.rglob("*.plan"))


@pytest.mark.parametrize(
    ("name", "use"),
    [
        (WEIGHTS, load_model),
        (REFERENCE, calibration_frames),
        (ONNX, on_the_cpu),
        (ONNX_FP16, to_deepstream),
        (PLAN, to_triton),
        (record_name(PLAN), to_triton),
    ],
)
@pytest.mark.parametrize("damage", ["tampered", "truncated", "emptied", "swapped", "gone"])
def test_a_file_that_is_not_the_one_that_was_written_is_refused(
    whole: Path, tmp_path: Path, name: str, use: Use, damage: str
) -> None:
    directory = shutil.copytree(whole, tmp_path / "bundle")
    data = (directory / name).read_bytes()
    forms = {
        "tampered": data[:-1] + bytes([data[-1] ^ 1]),
        "truncated": data[: len(data) // 2],
        "emptied": b"",
        "swapped": (directory / CONTRACT).read_bytes(),
    }
    if damage == "gone":
        (directory / name).unlink()
    else:
        (directory / name).write_bytes(forms[damage])
    with pytest.raises(BundleError, match=f"{name} as it was written|{name} in the bundle .* no such file"):
        use(Bundle.open(directory))


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/b", "..", ""])
def test_a_manifest_names_files_of_the_bundle_only(whole: Path, tmp_path: Path, name: str) -> None:
    directory = shutil.copytree(whole, tmp_path / "bundle")
    manifest = json.loads((directory / MANIFEST).read_text())
    manifest["files"][name] = "0" * 64
    (directory / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="is not the name of a file in the bundle"):
        Bundle.open(directory)


def test_what_was_not_forged_is_used(whole: Path, tmp_path: Path) -> None:
    """Or the refusals above would prove nothing."""
    bundle = Bundle.open(shutil.copytree(whole, tmp_path / "bundle"))
    for use in (load_model, calibration_frames, reference, split, on_the_cpu, to_triton, to_deepstream):
        use(bundle)
    record = EngineRecord.read(bundle.directory / record_name(PLAN))
    assert json.loads(to_json(record))["compute_capabilities"] == ["8.7"]


@given(data=st.binary(max_size=200))
def test_any_bytes_are_whole_or_refused(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.onnx"
    path.write_bytes(data)
    try:
        require_harmless(data, path)
    except BundleError as refusal:
        assert "any.onnx" in str(refusal)  # noqa: PT017  # what passes is no failure here
    else:
        assert data
