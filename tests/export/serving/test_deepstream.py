from __future__ import annotations

import configparser
import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner

from metfa.export.cli import main
from metfa.export.serving.deepstream import with_float_input, write_deepstream
from metfa.runtime.backends.onnxruntime import OnnxRuntimeBackend
from metfa.runtime.bundle.contract import Region
from metfa.runtime.bundle.directory import CONTRACT, ONNX, ONNX_FP16, Bundle, updating
from metfa.runtime.errors import ExportError

from ..networks import HEIGHT, LABELS, WIDTH, make_frames

if TYPE_CHECKING:
    from pathlib import Path

# Of the documented keys of nvinfer's group [property], those that an ONNX classifier of whole frames has use for.
DOCUMENTED = {
    "gpu-id": int,
    "gie-unique-id": int,
    "onnx-file": str,
    "model-engine-file": str,
    "labelfile-path": str,
    "batch-size": int,
    "network-mode": int,
    "process-mode": int,
    "network-type": int,
    "classifier-threshold": float,
    "output-blob-names": str,
    "infer-dims": str,
    "model-color-format": int,
    "net-scale-factor": float,
    "maintain-aspect-ratio": int,
}


@pytest.mark.parametrize("artefact", [ONNX, ONNX_FP16])
def test_grey_levels_as_floats_have_the_same_probabilities(exported: Path, artefact: str) -> None:
    frames = make_frames(5).numpy()
    expected = OnnxRuntimeBackend(exported / artefact, Bundle.open(exported).contract, "cpu").infer(frames)
    model = with_float_input(onnx.load(exported / artefact), temperature=1.5)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(None, {"frame": frames.astype(np.float32)})
    np.testing.assert_allclose(probabilities, expected.calibrated(1.5), atol=1e-6)


def test_what_only_the_embedding_needed_is_gone(exported: Path) -> None:
    graph = with_float_input(onnx.load(exported / ONNX_FP16), temperature=1.5).graph
    assert [output.name for output in graph.output] == ["probabilities"]
    read = {name for node in graph.node for name in node.input} | {"probabilities"}
    for node in graph.node:
        assert read.intersection(node.output), f"{node.op_type} computes what nothing reads"
    assert {tensor.name for tensor in graph.initializer} <= read


def test_the_configuration_says_what_the_contract_says(exported: Path, tmp_path: Path) -> None:
    path = write_deepstream(Bundle.open(exported), tmp_path / "deepstream")
    parser = configparser.ConfigParser(strict=True)
    parser.read(path)
    assert parser.sections() == ["property"]
    properties = {key: DOCUMENTED[key](value) for key, value in parser["property"].items()}
    assert properties.keys() == DOCUMENTED.keys()
    assert properties["infer-dims"] == f"1;{HEIGHT};{WIDTH}"
    assert properties["network-mode"] == 2
    assert properties["net-scale-factor"] == 1
    graph = onnx.load(path.with_name(str(properties["onnx-file"]))).graph
    assert [output.name for output in graph.output] == [properties["output-blob-names"]]
    assert path.with_name(str(properties["labelfile-path"])).read_text() == ";".join(LABELS) + "\n"


def test_the_region_is_told(exported: Path, tmp_path: Path) -> None:
    contract = Bundle.open(exported).contract
    size = dataclasses.replace(contract.input, region=Region(81, 115, 793, 619))
    with updating(exported, keep=lambda _: True) as stage:
        (stage / CONTRACT).write_text(dataclasses.replace(contract, input=size).to_json())
    path = write_deepstream(Bundle.open(exported), tmp_path / "deepstream")
    assert "src-crop=81:115:793:619" in path.read_text()


def test_a_label_with_the_separator_is_refused(exported: Path, tmp_path: Path) -> None:
    contract = dataclasses.replace(Bundle.open(exported).contract, labels=("4CH", "a;b", "c", "d", "Background"))
    with updating(exported, keep=lambda _: True) as stage:
        (stage / CONTRACT).write_text(contract.to_json())
    with pytest.raises(ExportError, match="class names without ';'"):
        write_deepstream(Bundle.open(exported), tmp_path / "deepstream")
    assert not (tmp_path / "deepstream").exists()


def test_the_command_writes_it(exported: Path, tmp_path: Path) -> None:
    directory = tmp_path / "deepstream"
    result = CliRunner().invoke(main, [str(exported), "--deepstream", str(directory)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert {path.name for path in directory.iterdir()} == {"labels.txt", "model.onnx", "nvinfer.txt"}
