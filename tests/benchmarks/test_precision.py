from __future__ import annotations

import json
from typing import TYPE_CHECKING

from benchmarks.precision import main
from click.testing import CliRunner

from metfa.runtime.bundle.directory import ONNX, ONNX_FP16, ONNX_INT8, ONNX_INT8_TENSORRT

from ..export.networks import make_bundle, make_network

if TYPE_CHECKING:
    from pathlib import Path


def test_every_precision_of_a_bundle_is_measured(tmp_path: Path) -> None:
    bundle, output = make_bundle(tmp_path / "mine", make_network()), tmp_path / "precision.json"
    arguments = ["--bundle", str(bundle), "--output", str(output)]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert f"| mine | {ONNX_INT8} |" in result.output
    measured = json.loads(output.read_text())["models"]["mine"]
    assert measured["frames"] == {"target": 12, "source": 10}
    graphs = measured["graphs"]
    assert list(graphs) == [ONNX, ONNX_FP16, ONNX_INT8, ONNX_INT8_TENSORRT]
    assert graphs[ONNX]["latency_ratio"] == 1
    assert graphs[ONNX_INT8_TENSORRT]["latency_ratio"] is None
    assert graphs[ONNX_INT8]["operations"] == {"convolutions": {"int8": 15}, "matrix products": {"int8": 3}}
    assert graphs[ONNX]["probability_difference"] < graphs[ONNX_FP16]["probability_difference"]
