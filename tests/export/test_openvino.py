"""Where OpenVINO is installed, the gate holds it to what PyTorch computes, too."""

from __future__ import annotations

import importlib.util
import json
import shutil
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from metfa.export import artefacts, plans
from metfa.export.cli import main
from metfa.runtime.backends import Inference
from metfa.runtime.backends.choice import load_backend
from metfa.runtime.bundle.directory import ONNX, ONNX_FP16, ONNX_INT8, PARITY, Bundle

from .networks import make_bundle, make_frames, make_network

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    from click.testing import Result
    from numpy.typing import NDArray

    from metfa.runtime.backends.choice import Precision

openvino = pytest.importorskip("openvino", reason="needs OpenVINO")

from metfa.runtime.backends.openvino import OpenVinoBackend  # noqa: E402  # needs it

ON_CPU = f"OpenVINO {openvino.__version__.partition('-')[0]} on the CPU in f32"


def export(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture(scope="module", autouse=True)
def _no_engines() -> Iterator[None]:
    """TensorRT takes its time to build them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(artefacts, "find_targets", lambda _: ({}, []))
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, _no_engines: None) -> Path:
    directory = make_bundle(tmp_path_factory.mktemp("openvino") / "bundle", make_network())
    result = export(directory, "--fp16", "--int8")
    assert result.exit_code == 0, result.output
    return directory


def test_the_report_says_what_openvino_computed_in(made: Path) -> None:
    comparisons = json.loads((made / PARITY).read_text())["comparisons"]
    computed = {part["artefact"]: part["computed_by"] for part in comparisons if "OpenVINO" in part["computed_by"]}
    assert computed.keys() == {ONNX, ONNX_FP16, ONNX_INT8}
    assert computed[ONNX] == computed[ONNX_FP16] == ON_CPU
    assert computed[ONNX_INT8] in {f"{ON_CPU} and {integers}" for integers in ("i8", "u8")}


@pytest.mark.parametrize(
    ("precision", "logits", "embedding"), [("fp32", 1e-4, 1e-4), ("fp16", 0.05, 0.05), ("int8", 0.5, 0.5)]
)
@pytest.mark.parametrize("count", [1, 5])
def test_it_computes_what_onnx_runtime_does(
    made: Path, precision: Precision, count: int, logits: float, embedding: float
) -> None:
    bundle, frames = Bundle.open(made), make_frames(count + 3, seed=3).numpy()[3:]
    computed, expected = (load_backend(bundle, name, precision)[0].infer(frames) for name in ("openvino", "cpu"))
    assert computed.logits == pytest.approx(expected.logits, abs=logits)
    assert computed.embedding == pytest.approx(expected.embedding, abs=embedding)


@pytest.fixture
def _graph_is_there(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "export_onnx", lambda model, contract, path: shutil.copy(made / ONNX, path))


@pytest.mark.usefixtures("_graph_is_there")
def test_what_it_computes_wrongly_stays_out(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    infer = OpenVinoBackend.infer

    def infer_wrongly(self: OpenVinoBackend, frames: NDArray[np.uint8]) -> Inference:
        inference = infer(self, frames)
        return Inference(-inference.logits, inference.embedding)

    monkeypatch.setattr(OpenVinoBackend, "infer", infer_wrongly)
    bundle = shutil.copytree(made, tmp_path / "bundle")
    result = export(bundle)
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: expected {ONNX} ({ON_CPU}) to agree with PyTorch")
    assert {path.name for path in bundle.iterdir()} == {path.name for path in made.iterdir()}


@pytest.mark.usefixtures("_graph_is_there")
def test_without_it_the_rest_is_compared(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, find_spec = shutil.copytree(made, tmp_path / "bundle"), importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "openvino" else find_spec(name))
    result = export(bundle)
    assert result.exit_code == 0, result.output
    assert "OpenVINO" not in result.output
