"""Real plans, built by TensorRT for RTX, which needs no GPU for that."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from tests.export.networks import make_contract, make_network, make_reference

from metfa.export.graph import deploy, export_onnx
from metfa.export.inspection import count_operations, inspect
from metfa.export.quantise import Quantiser
from metfa.runtime.backends import engine_builder
from metfa.runtime.backends.engine_builder import Target, build_engine, find_target
from metfa.runtime.bundle.directory import ONNX, ONNX_FP16, ONNX_INT8, ONNX_INT8_TENSORRT
from metfa.runtime.bundle.engine_record import LIVE_BATCH, BatchRange, EngineRecord, record_name
from metfa.runtime.errors import ExportError
from metfa.runtime.files import sha256

if TYPE_CHECKING:
    from pathlib import Path

trt = pytest.importorskip("tensorrt_rtx", reason="needs TensorRT for RTX, whose builder works without a GPU")

ENGINE = "model.fp16.tensorrt_rtx.engine"
AMPERE = Target(("8.6",), None)
CONTRACT = make_contract(make_network())


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the FP32 and the FP16 graph of a network."""
    directory = tmp_path_factory.mktemp("graphs")
    network = make_network()
    export_onnx(deploy(network, "fp32"), CONTRACT, directory / ONNX)
    export_onnx(deploy(network, "fp16"), CONTRACT, directory / ONNX_FP16)
    return directory


def test_the_engine_is_a_plan_in_half_precision_with_its_record(graphs: Path, tmp_path: Path) -> None:
    target = find_target("tensorrt_rtx", ())
    record = build_engine("tensorrt_rtx", target, graphs / ONNX_FP16, CONTRACT, tmp_path / ENGINE)
    assert EngineRecord.read(tmp_path / record_name(ENGINE)) == record
    assert record.plan_sha256 == sha256(tmp_path / ENGINE)
    assert record.onnx_sha256 == sha256(graphs / ONNX_FP16)
    assert (record.flavour, record.version) == ("tensorrt_rtx", trt.__version__)
    assert (record.precision, record.batch, record.device) == ("fp16", LIVE_BATCH, None)
    assert record.operations == {"convolutions": {"float16": 15}, "matrix products": {"float16": 3}}
    assert record.operations == count_operations(inspect(graphs / ONNX_FP16))
    assert record.contract == CONTRACT
    assert {"7.5", "8.6", "12.0"} <= set(record.compute_capabilities)


def test_an_engine_takes_as_many_frames_as_was_asked_for(graphs: Path, tmp_path: Path) -> None:
    batch = BatchRange(2, 4, 16)
    record = build_engine("tensorrt_rtx", AMPERE, graphs / ONNX_FP16, CONTRACT, tmp_path / ENGINE, batch=batch)
    assert EngineRecord.read(tmp_path / record_name(ENGINE)).batch == record.batch == batch


def test_a_workspace_that_is_too_small_is_named(graphs: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"received .*workspace.*; give more --workspace") as refusal:
        build_engine("tensorrt_rtx", AMPERE, graphs / ONNX_FP16, CONTRACT, tmp_path / ENGINE, workspace=2**20)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / ENGINE).exists()


@pytest.mark.parametrize("numbers", [(0, 1, 8), (2, 1, 8), (1, 9, 8)])
def test_a_range_of_batches_ascends(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="do not ascend from 1 or more"):
        BatchRange(*numbers)


def test_the_builder_is_given_profile_workspace_and_measurements_of_this_gpu(
    graphs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with the full TensorRT, whose builder measures; RTX's takes the same calls, but has nothing to measure."""
    seen: dict[str, Any] = {}

    class Configuration:
        def __init__(self, real: Any) -> None:
            object.__setattr__(self, "real", real)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.real, name)

        def add_optimization_profile(self, profile: Any) -> None:
            seen["profile"] = [tuple(shape) for shape in profile.get_shape("frame")]
            self.real.add_optimization_profile(profile)

        def set_memory_pool_limit(self, pool: Any, size: int) -> None:
            seen[pool.name] = size
            self.real.set_memory_pool_limit(pool, size)

        def create_timing_cache(self, held: bytes) -> Any:
            seen.setdefault("caches", []).append(held)
            return held

        def set_timing_cache(self, cache: Any, *, ignore_mismatch: bool) -> bool:
            assert not ignore_mismatch
            return bool(cache != b"of another GPU")

        def get_timing_cache(self) -> Any:
            return SimpleNamespace(serialize=lambda: b"measured")

    class Builder:
        def __init__(self, logger: Any) -> None:
            self.real = trt.Builder(logger)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.real, name)

        def create_builder_config(self) -> Configuration:
            return Configuration(self.real.create_builder_config())

        def build_serialized_network(self, network: Any, config: Configuration) -> Any:
            return self.real.build_serialized_network(network, config.real)

    module = SimpleNamespace(**{name: getattr(trt, name) for name in dir(trt)})
    module.Builder = Builder
    monkeypatch.setattr(engine_builder, "import_flavour", lambda _: module)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def build() -> None:
        build_engine(
            "tensorrt",
            Target(("8.7",), "NVIDIA Orin (nvgpu)"),
            graphs / ONNX_FP16,
            CONTRACT,
            tmp_path / ENGINE,
            batch=BatchRange(1, 2, 4),
            workspace=2**26,
        )

    build()
    assert seen["profile"] == [(1, 1, 32, 40), (2, 1, 32, 40), (4, 1, 32, 40)]
    assert seen["WORKSPACE"] == 2**26
    assert seen.pop("caches") == [b""]
    (kept,) = (tmp_path / "cache" / "metfa" / "tensorrt").iterdir()
    assert kept.name == f"{trt.__version__}-NVIDIA-Orin-nvgpu-.timings"
    assert kept.read_bytes() == b"measured"
    build()
    assert seen.pop("caches") == [b"measured"]
    kept.write_bytes(b"of another GPU")
    build()
    assert seen.pop("caches") == [b"of another GPU", b""]
    kept.unlink()
    kept.mkdir()  # where nothing can be kept, the engine is built all the same
    build()


def test_listed_compute_capabilities_are_built_for_and_others_refused() -> None:
    assert find_target("tensorrt_rtx", ("8.6", "8.9")) == Target(("8.6", "8.9"), None)
    with pytest.raises(ExportError, match=r"expected compute capabilities among 7\.5, .* received 6\.1;"):
        find_target("tensorrt_rtx", ("8.6", "6.1"))


def test_fp32_built_silently_is_refused(graphs: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"18 convolutions and matrix products of .* in float16, received 0 of 18"):
        build_engine("tensorrt_rtx", AMPERE, graphs / ONNX, CONTRACT, tmp_path / ENGINE)
    assert not (tmp_path / ENGINE).exists()


@pytest.mark.parametrize(("size", "received"), [(0, "received 0 of 0"), (1000, "to read model.fp16.onnx, received")])
def test_a_damaged_onnx_is_refused_in_one_line(graphs: Path, tmp_path: Path, size: int, received: str) -> None:
    damaged = tmp_path / ONNX_FP16
    damaged.write_bytes((graphs / ONNX_FP16).read_bytes()[:size])
    with pytest.raises(ExportError, match=received) as refusal:
        build_engine("tensorrt_rtx", AMPERE, damaged, CONTRACT, tmp_path / ENGINE)
    assert "\n" not in str(refusal.value)


def test_an_engine_for_the_oldest_and_the_newest_gpu(graphs: Path, tmp_path: Path) -> None:
    target = Target(("7.5", "12.0"), None)
    record = build_engine("tensorrt_rtx", target, graphs / ONNX_FP16, CONTRACT, tmp_path / ENGINE)
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
        trt.IBuilderConfig: [
            "add_optimization_profile",
            "create_timing_cache",
            "get_timing_cache",
            "num_compute_capabilities",
            "set_compute_capability",
            "set_memory_pool_limit",
            "set_timing_cache",
        ],
        trt.ITimingCache: ["serialize"],
        trt.MemoryPoolType: ["WORKSPACE"],
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


def test_an_int8_graph_is_built_in_int8_but_for_what_it_keeps(graphs: Path, tmp_path: Path) -> None:
    quantiser = Quantiser(graphs / ONNX, make_reference().calibration.numpy())
    graph, engine = tmp_path / ONNX_INT8_TENSORRT, tmp_path / "model.int8.tensorrt_rtx.engine"
    quantiser.write("tensorrt", graph, keep=["body.0.0", "body.0.5.shortcut", "hidden.3"])
    record = build_engine("tensorrt_rtx", AMPERE, graph, CONTRACT, engine, precision="int8", kept=3)
    assert record.precision == "int8"
    assert record.operations == {
        "convolutions": {"float32": 2, "int8": 13},
        "matrix products": {"float32": 1, "int8": 2},
    }
    assert record.operations == count_operations(inspect(graph))
    assert EngineRecord.read(tmp_path / record_name(engine.name)) == record


def test_the_int8_form_for_cpus_is_not_one_for_tensorrt(graphs: Path, tmp_path: Path) -> None:
    Quantiser(graphs / ONNX, make_reference().calibration.numpy()).write("cpu", tmp_path / ONNX_INT8)
    engine = tmp_path / "model.int8.tensorrt_rtx.engine"
    with pytest.raises(ExportError, match=r"tensorrt_rtx .* to read model\.int8\.onnx, received") as refusal:
        build_engine("tensorrt_rtx", AMPERE, tmp_path / ONNX_INT8, CONTRACT, engine, precision="int8")
    assert "\n" not in str(refusal.value)
    assert not engine.exists()
