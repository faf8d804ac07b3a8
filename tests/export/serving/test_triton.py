from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from metfa.export.cli import main
from metfa.export.serving.triton import write_triton_repository
from metfa.runtime.bundle.contract import METADATA_KEY, ModelContract
from metfa.runtime.bundle.directory import ONNX, ONNX_FP16, Bundle, updating
from metfa.runtime.bundle.engine_record import BatchRange, EngineRecord, record_name
from metfa.runtime.bundle.records import to_json
from metfa.runtime.bundle.served import SERVED_KEY, ServedFiles
from metfa.runtime.errors import BundleError, ExportError, OutputError

from ..networks import EMBEDDING, HEIGHT, LABELS, WIDTH

if TYPE_CHECKING:
    from pathlib import Path


def read_config(model: Path) -> model_config_pb2.ModelConfig:
    """Parse with Triton's own schema, which refuses fields and values that it does not know."""
    return text_format.Parse((model / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def version_of(model: Path) -> Path:
    """Return the directory of the model's only version."""
    (version,) = (path for path in model.iterdir() if path.is_dir())
    return version


def test_the_configuration_says_what_the_contract_says(exported: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(exported)
    model = write_triton_repository(bundle, tmp_path / "models")
    config = read_config(model)

    assert config.name == model.name
    assert config.platform == "onnxruntime_onnx"
    (frame,) = config.input
    assert (frame.name, frame.data_type, list(frame.dims)) == (
        "frame",
        model_config_pb2.TYPE_UINT8,
        [1, HEIGHT, WIDTH],
    )
    logits, embedding = config.output
    assert (logits.name, list(logits.dims)) == ("logits", [len(LABELS)])
    assert (embedding.name, list(embedding.dims)) == ("embedding", [EMBEDDING])
    assert tuple((model / logits.label_filename).read_text().splitlines()) == LABELS
    assert config.HasField("dynamic_batching")
    assert [warm_up.batch_size for warm_up in config.model_warmup] == [1, config.max_batch_size]
    contract = config.parameters[METADATA_KEY].string_value
    assert ModelContract.from_json(contract, origin="config.pbtxt") == bundle.contract


def test_the_hashes_of_what_is_served_are_beside_it_and_in_its_version(exported: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(exported)
    model = write_triton_repository(bundle, tmp_path / "models")
    record = ServedFiles.from_json(read_config(model).parameters[SERVED_KEY].string_value, origin="config.pbtxt")
    assert record.files == {ONNX_FP16: bundle.files[ONNX_FP16]}
    assert version_of(model).name == str(record.version)
    other = ServedFiles({ONNX_FP16: bundle.files[ONNX]})
    assert 1 <= record.version != other.version < 2**63


def test_the_smallest_typed_graph_is_served(exported: Path, tmp_path: Path) -> None:
    model = write_triton_repository(Bundle.open(exported), tmp_path / "models")
    assert (version_of(model) / "model.onnx").read_bytes() == (exported / ONNX_FP16).read_bytes()


def test_without_fp16_the_fp32_graph_is_served(exported: Path, tmp_path: Path) -> None:
    with updating(exported, keep=lambda name: "fp16" not in name):
        pass
    model = write_triton_repository(Bundle.open(exported), tmp_path / "models")
    assert (version_of(model) / "model.onnx").read_bytes() == (exported / ONNX).read_bytes()


def test_plans_are_served_by_compute_capability(exported: Path, tmp_path: Path) -> None:
    """The plans of TensorRT for RTX are relabelled: only their records differ from those of TensorRT."""
    (engine,) = Bundle.open(exported).matching("*.engine")
    record = EngineRecord.read(exported / record_name(engine))
    with updating(exported, keep=lambda _: True) as stage:
        for capability in ("8.7", "8.9"):
            name = f"model.fp16.sm{capability.replace('.', '')}.engine"
            (stage / name).write_bytes((exported / engine).read_bytes())
            built = dataclasses.replace(record, flavour="tensorrt", compute_capabilities=(capability,))
            (stage / record_name(name)).write_text(to_json(built))
    model = write_triton_repository(Bundle.open(exported), tmp_path / "models")
    config = read_config(model)
    assert config.platform == "tensorrt_plan"
    assert dict(config.cc_model_filenames) == {"8.7": "model.sm87.plan", "8.9": "model.sm89.plan"}
    assert {path.name for path in version_of(model).iterdir()} == set(config.cc_model_filenames.values())
    assert config.default_model_filename in config.cc_model_filenames.values()
    assert config.max_batch_size == record.batch.maximum
    served = ServedFiles.from_json(config.parameters[SERVED_KEY].string_value, origin="config.pbtxt")
    assert set(served.files) == {"model.fp16.sm87.engine", "model.fp16.sm89.engine"}


def test_a_plan_that_takes_no_single_frame_is_not_served(exported: Path, tmp_path: Path) -> None:
    (engine,) = Bundle.open(exported).matching("*.engine")
    record = EngineRecord.read(exported / record_name(engine))
    with updating(exported, keep=lambda _: True) as stage:
        several = dataclasses.replace(record, flavour="tensorrt", batch=BatchRange(2, 4, 8))
        (stage / record_name(engine)).write_text(to_json(several))
    with pytest.raises(ExportError, match="received an engine that takes 2 or more; export again with --batch 1"):
        write_triton_repository(Bundle.open(exported), tmp_path / "models")


def test_a_repository_in_use_is_left_alone(exported: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(exported)
    write_triton_repository(bundle, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputError, match="choose another directory"):
        write_triton_repository(bundle, tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_damaged_artefact_leaves_nothing_behind(exported: Path, tmp_path: Path) -> None:
    (exported / ONNX_FP16).write_bytes(b"something else")
    with pytest.raises(BundleError, match="changed or truncated"):
        write_triton_repository(Bundle.open(exported), tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []


def test_the_command_refuses_before_it_exports(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "metfa").mkdir()
    result = CliRunner().invoke(main, [str(trained), "--triton", str(tmp_path)])
    assert result.exit_code == 1
    assert result.output.startswith("Error: expected no ")
    assert not (trained / ONNX).exists()


def test_the_command_writes_it(exported: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, [str(exported), "--fp16", "--triton", str(tmp_path)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert f"tritonserver --model-repository {tmp_path}" in result.output
    assert read_config(tmp_path / "metfa").max_batch_size > 0
