"""``metfa-export --int8`` from the command line."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner

from metfa.export.card.markdown import plain
from metfa.export.cli import main
from metfa.export.gate import TOLERANCES, Gate, Tolerance
from metfa.runtime.backends.choice import load_backend
from metfa.runtime.bundle.directory import (
    CARD,
    ONNX,
    ONNX_FP16,
    ONNX_INT8,
    ONNX_INT8_TENSORRT,
    PARITY,
    REFERENCE,
    Bundle,
    updating,
)
from metfa.runtime.bundle.engine_record import EngineRecord, record_name
from metfa.runtime.errors import BackendError, BundleError, ParityError

from .networks import make_bundle, make_frames, make_network

if TYPE_CHECKING:
    from click.testing import Result

    from metfa.export.parity import Comparison

ENGINE = "model.int8.tensorrt_rtx.engine"

pytestmark = pytest.mark.usefixtures("graphs_are_remembered")


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    directory = make_bundle(tmp_path_factory.mktemp("int8") / "bundle", make_network())
    result = invoke(directory, "--int8", "--compute-capability", "7.5", "--compute-capability", "8.6")
    assert result.exit_code == 0, result.output
    return directory, result.output


@pytest.fixture
def quantised(made: tuple[Path, str], tmp_path: Path) -> Path:
    """A bundle after ``metfa-export --int8``, of which a test may do what it wants."""
    return shutil.copytree(made[0], tmp_path / "bundle")


def test_both_forms_passed_on_both_domains_and_are_proven(made: tuple[Path, str]) -> None:
    directory, printed = made
    report = json.loads((directory / PARITY).read_text())
    for name in (ONNX_INT8, ONNX_INT8_TENSORRT, ENGINE):
        assert report["operations"][name] == {"convolutions": {"int8": 15}, "matrix products": {"int8": 3}}
        assert f"{name}: 15 convolutions in int8, 3 matrix products in int8" in printed
    for name in (ONNX_INT8, ONNX_INT8_TENSORRT):
        comparisons = [part for part in report["comparisons"] if part["artefact"] == name]
        assert comparisons
        for comparison in comparisons:
            assert comparison["precision"] == "int8"
            assert comparison["domains"]["target"]["accuracy"] is None
            assert 0 <= comparison["domains"]["source"]["accuracy"] <= 1
            assert all(domain["overall"]["top1"] >= 0.99 for domain in comparison["domains"].values())
    sizes = {name: report["graphs"][name]["bytes"] for name in (ONNX, ONNX_INT8, ONNX_INT8_TENSORRT)}
    assert max(sizes[ONNX_INT8], sizes[ONNX_INT8_TENSORRT]) < sizes[ONNX] / 2
    assert ONNX_FP16 not in report["graphs"]


def test_the_engine_is_of_the_form_for_tensorrt(made: tuple[Path, str]) -> None:
    pytest.importorskip("tensorrt_rtx", reason="needs TensorRT for RTX, whose builder works without a GPU")
    bundle = Bundle.open(made[0])
    record = EngineRecord.read(bundle.directory / record_name(ENGINE))
    assert (record.precision, record.onnx_sha256) == ("int8", bundle.files[ONNX_INT8_TENSORRT])
    assert record.compute_capabilities == ("8.6",)
    assert f"{ENGINE} is not for compute capability 7.5, which has no such matrix products" in made[1]
    version = f"{record.flavour} {record.version}"
    assert f"| {plain(ENGINE)} | {plain(version)} | int8 | 1 to 8 | 8.6 |" in bundle.read(CARD).decode()


def test_the_cpu_runs_it_when_asked_and_fp32_otherwise(quantised: Path) -> None:
    frames = make_frames(6, seed=3).numpy()
    opened = Bundle.open(quantised)
    usual, _ = load_backend(opened)
    asked, refusals = load_backend(opened, precision="int8")
    assert (usual.artefact, asked.artefact) == (ONNX, ONNX_INT8)
    assert refusals[1].startswith("not cuda: ")
    difference = np.abs(asked.infer(frames).logits - usual.infer(frames).logits).max()
    assert 0 < difference < 1


def test_int8_that_was_not_made_names_the_option(exported: Path) -> None:
    with pytest.raises(
        BackendError, match=r"engine in INT8 in .*, received .*build one with metfa-export --fp16 --int8"
    ):
        load_backend(Bundle.open(exported), "tensorrt", "int8")
    with pytest.raises(
        BundleError, match=r"model\.int8\.onnx in the bundle .*; make it again with metfa-export --fp16 --int8$"
    ):
        load_backend(Bundle.open(exported), "cpu", "int8")


def test_another_run_makes_the_same_bytes_and_an_export_without_int8_leaves_none(quantised: Path) -> None:
    before = {name: (quantised / name).read_bytes() for name in (ONNX, ONNX_INT8, ONNX_INT8_TENSORRT)}
    with updating(quantised, keep=lambda name: not name.startswith("model.int8")):
        pass
    assert invoke(quantised, "--int8", "--compute-capability", "8.6").exit_code == 0
    assert {name: (quantised / name).read_bytes() for name in before} == before
    assert invoke(quantised).exit_code == 0
    assert not Bundle.open(quantised).matching("model.int8.*")


def test_what_is_beyond_tolerance_stays_out_the_rest_is_kept_and_the_command_that_is_printed_works(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """hidden.3 does most of the damage here: all layers come to 0.003 and 0.004, the others to below 0.0009."""
    before = {path.name for path in trained.iterdir()}
    monkeypatch.setitem(TOLERANCES, "int8", dataclasses.replace(TOLERANCES["int8"], probability_difference=0.0015))
    given = [str(trained), "--fp16", "--int8", "--compute-capability", "8.6"]
    result = invoke(*given)
    assert result.exit_code == 1
    *printed, first, second = result.output.splitlines()
    assert first.startswith(f"Error: expected {ONNX_INT8} (ONNX Runtime on the CPU) to agree with PyTorch")
    assert second.startswith(f"Error: expected {ONNX_INT8_TENSORRT} (Q/DQ in float32, as TensorRT rounds) to agree")
    command = shlex.join(["metfa-export", *given, "--keep", "hidden.3"])
    for error in (first, second):
        assert error.endswith(f"; the bundle holds the rest; with these layers in FP32 it passes: {command}")
    assert not [line for line in printed if "int8" in line]
    added = {path.name for path in trained.iterdir()} - before
    assert {ONNX, ONNX_FP16, PARITY} < added
    assert not [name for name in added if "int8" in name]
    report = json.loads((trained / PARITY).read_text())
    assert {comparison["artefact"] for comparison in report["comparisons"]} == {ONNX, ONNX_FP16}
    assert report["graphs"].keys() == {ONNX, ONNX_FP16}
    result = invoke(*shlex.split(command)[1:])
    assert result.exit_code == 0, result.output
    assert Bundle.open(trained).files.keys() > {ONNX, ONNX_FP16, ONNX_INT8, ONNX_INT8_TENSORRT}
    products = f"{ENGINE}: 15 convolutions in int8, 1 matrix products in float32, 2 matrix products in int8"
    assert products in result.output


def test_one_form_passes_without_the_other(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = Gate.check

    def refuse(gate: Gate, artefact: str, *arguments: Any, remedy: Any = None) -> Comparison:
        if artefact == ONNX_INT8_TENSORRT:
            raise ParityError(expected="agreement", received="less", remedy="no remedy")
        return check(gate, artefact, *arguments, remedy=remedy)

    monkeypatch.setattr(Gate, "check", refuse)
    result = invoke(trained, "--int8")
    assert result.exit_code == 1
    assert result.output.endswith("\nError: expected agreement, received less; the bundle holds the rest; no remedy\n")
    assert Bundle.open(trained).matching("model.int8.*") == [ONNX_INT8]


def test_a_refusal_takes_nothing_out_of_the_bundle(quantised: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in quantised.iterdir()}
    monkeypatch.setitem(TOLERANCES, "int8", Tolerance(1.0, 0.0, 0.0, 0.0))
    monkeypatch.setattr("metfa.export.plans.find_layers_to_keep", lambda *_, **__: None)
    result = invoke(quantised, "--int8")
    assert result.exit_code == 1
    assert [line.split(" ")[0] for line in result.output.splitlines()] == ["Error:", "Error:"]
    assert "; the bundle is as it was; no layers to keep in FP32 would help: export without --int8" in result.output
    assert {path.name: path.read_bytes() for path in quantised.iterdir()} == before


def test_where_no_layer_would_help_it_says_so(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TOLERANCES, "int8", Tolerance(1.0, 0.0, 0.0, 0.0))
    monkeypatch.setattr("metfa.export.plans.find_layers_to_keep", lambda *_, **__: None)
    assert "no layers to keep in FP32 would help: export without --int8" in invoke(trained, "--int8").output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--calibration", "frames"], "--calibration and --keep go with --int8"),
        (["--keep", "body.0.0"], "--calibration and --keep go with --int8"),
    ],
)
def test_options_of_int8_go_with_it(arguments: list[str], message: str) -> None:
    result = invoke("bundle", *arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_a_layer_that_is_not_there_and_frames_that_are_not_are_one_line(trained: Path) -> None:
    assert "expected layers among body.0.0, " in invoke(trained, "--int8", "--keep", "nothing").output
    with updating(trained, keep=lambda name: name != REFERENCE):
        pass
    result = invoke(trained, "--int8", "--frames", "phantom:A")
    assert result.exit_code == 1
    assert "name some with --calibration" in result.output


RUN = """
import sys
import numpy as np
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
np.save(sys.argv[3], session.run(["logits"], {"frame": np.load(sys.argv[2])})[0])
"""


@pytest.mark.skipif(shutil.which("qemu-x86_64") is None, reason="needs qemu-user, which stands in for other CPUs")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="needs an x86-64 CPU, with which others are compared")
@pytest.mark.parametrize("cpu", ["Haswell", "Nehalem"])
def test_cpus_without_vnni_and_without_avx_compute_the_same_int8(
    made: tuple[Path, str], cpu: str, tmp_path: Path
) -> None:
    frames = make_frames(4, 0)
    np.save(tmp_path / "frames.npy", frames)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "ORT_DISABLE_TELEMETRY": "1"}
    environment.pop("OPENBLAS_CORETYPE", None)  # which would have NumPy take this machine's instructions for the CPU's
    logits = []
    for emulator in ([], ["qemu-x86_64", "-cpu", cpu]):
        python = Path(sys.executable).resolve()  # not the environment's link: QEMU hides it from Python
        files = (made[0] / ONNX_INT8, tmp_path / "frames.npy", tmp_path / "logits.npy")
        subprocess.run([*emulator, python, "-c", RUN, *files], env=environment, check=True, capture_output=True)
        logits.append(np.load(tmp_path / "logits.npy"))
    np.testing.assert_allclose(logits[1], logits[0], atol=1e-4)
