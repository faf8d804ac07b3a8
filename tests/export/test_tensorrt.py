from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from metfa.export.graph import count_operations
from metfa.export.tensorrt import MAX_BATCH, Target, build_engine, find_target
from metfa.runtime.bundle import ONNX, ONNX_FP16
from metfa.runtime.engine import EngineRecord, record_name
from metfa.runtime.errors import ExportError
from metfa.runtime.files import sha256

from .networks import make_contract, make_network

if TYPE_CHECKING:
    from pathlib import Path

trt = pytest.importorskip("tensorrt_rtx", reason="needs TensorRT for RTX, whose builder works without a GPU")

ENGINE = "model.fp16.tensorrt_rtx.engine"
AMPERE = Target(("8.6",), None)


def test_the_engine_is_a_plan_in_half_precision_with_its_record(exported: Path) -> None:
    record = EngineRecord.read(exported / record_name(ENGINE))
    assert record.plan_sha256 == sha256(exported / ENGINE)
    assert record.onnx_sha256 == sha256(exported / ONNX_FP16)
    assert (record.flavour, record.version) == ("tensorrt_rtx", trt.__version__)
    assert (record.precision, record.max_batch, record.device) == ("fp16", MAX_BATCH, None)
    assert record.operations.half_convolutions == record.operations.convolutions == 15
    assert record.operations.half_matrix_products == record.operations.matrix_products == 3
    assert record.operations == count_operations(exported / ONNX_FP16)
    assert record.contract == make_contract(make_network())
    assert {"7.5", "8.6", "12.0"} <= set(record.compute_capabilities)


def test_listed_compute_capabilities_are_built_for_and_others_refused() -> None:
    assert find_target("tensorrt_rtx", ("8.6", "8.9")) == Target(("8.6", "8.9"), None)
    with pytest.raises(ExportError, match=r"expected compute capabilities among 7\.5, .* received 6\.1;"):
        find_target("tensorrt_rtx", ("8.6", "6.1"))


def test_fp32_built_silently_is_refused(exported: Path, tmp_path: Path) -> None:
    contract = make_contract(make_network())
    with pytest.raises(ExportError, match=r"every convolution of .* in half precision, received 0 of 15"):
        build_engine("tensorrt_rtx", AMPERE, exported / ONNX, contract, tmp_path / ENGINE)
    assert not (tmp_path / ENGINE).exists()


@pytest.mark.parametrize(("size", "received"), [(0, "received 0 of 0"), (1000, "to read model.fp16.onnx, received")])
def test_a_damaged_onnx_is_refused_in_one_line(exported: Path, tmp_path: Path, size: int, received: str) -> None:
    damaged = tmp_path / ONNX_FP16
    damaged.write_bytes((exported / ONNX_FP16).read_bytes()[:size])
    with pytest.raises(ExportError, match=received) as refusal:
        build_engine("tensorrt_rtx", AMPERE, damaged, make_contract(make_network()), tmp_path / ENGINE)
    assert "\n" not in str(refusal.value)


def test_an_engine_for_the_oldest_and_the_newest_gpu(exported: Path, tmp_path: Path) -> None:
    target = Target(("7.5", "12.0"), None)
    contract = make_contract(make_network())
    record = build_engine("tensorrt_rtx", target, exported / ONNX_FP16, contract, tmp_path / ENGINE)
    assert record.compute_capabilities == ("7.5", "12.0")
    assert EngineRecord.read(tmp_path / record_name(ENGINE)) == record


def test_every_name_that_the_builder_is_called_by_exists() -> None:
    names = {
        trt.Builder: [
            "create_network",
            "create_builder_config",
            "create_optimization_profile",
            "build_serialized_network",
        ],
        trt.OnnxParser: ["parse", "num_errors", "get_error"],
        trt.IBuilderConfig: ["add_optimization_profile", "num_compute_capabilities", "set_compute_capability"],
        trt.IOptimizationProfile: ["set_shape"],
        trt.INetworkDefinition: ["num_layers", "get_layer"],
        trt.ILayer: ["type", "get_output"],
        trt.ITensor: ["dtype"],
        trt.LayerType: ["CONVOLUTION", "MATRIX_MULTIPLY"],
        trt.DataType: ["HALF"],
        trt.NetworkDefinitionCreationFlag: ["STRONGLY_TYPED"],
        trt.ILogger: ["log", "WARNING"],
    }
    for owner, members in names.items():
        for member in members:
            assert hasattr(owner, member), f"{owner.__name__}.{member}"
