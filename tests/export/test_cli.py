from __future__ import annotations

import importlib.util
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import pytest
from click.testing import CliRunner

from metfa.export import artefacts
from metfa.export.cli import main
from metfa.export.graph import deploy
from metfa.runtime.backends.choice import has_nvidia_gpu
from metfa.runtime.bundle.directory import CARD, CONTRACT, ONNX, ONNX_FP16, PARITY, REFERENCE, WEIGHTS, Bundle, updating
from metfa.runtime.classifier import PlaneClassifier

from .networks import LABELS, make_frames

if TYPE_CHECKING:
    from click.testing import Result
    from tests.processes import Interpreter

    from metfa.export.graph import DeployedModel
    from metfa.runtime.backends.choice import Precision
    from metfa.training.model import Network

pytestmark = pytest.mark.usefixtures("graphs_are_remembered")


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


def refused(result: Result) -> str:
    """Return the one line of a refusal."""
    assert result.exit_code == 1, result.output
    (line,) = result.output.splitlines()
    assert line.startswith("Error: expected ")
    return line


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_the_bundle_runs_and_reports_what_it_is(exported: Path, printed: str) -> None:
    image = make_frames(1)[0, 0].numpy()
    for precision in ("fp32", "fp16"):
        prediction = PlaneClassifier.load(exported, backend="cpu", precision=precision)(image)
        assert prediction.label in LABELS
    assert f"{ONNX_FP16}: 15 convolutions in float16, 3 matrix products in float16" in printed
    assert "on 12 frames of target (unlabelled, held out)\n" in printed
    assert "on 10 frames of source (labelled, held out for validation), of which PyTorch labels" in printed
    report = json.loads((exported / PARITY).read_text())
    assert {name: compared["frames"] for name, compared in report["compared_on"].items()} == {
        "target": 12,
        "source": 10,
    }
    measured = {(comparison["artefact"], comparison["computed_by"]) for comparison in report["comparisons"]}
    assert measured >= {
        (ONNX, "ONNX Runtime on the CPU"),
        (ONNX_FP16, "ONNX Runtime on the CPU"),
        (ONNX_FP16, "half arithmetic in PyTorch"),
    }
    for comparison in report["comparisons"]:
        for name, frames in (("target", 12), ("source", 10)):
            domain = comparison["domains"][name]
            assert domain["overall"]["frames"] == sum(part["frames"] for part in domain["classes"].values()) == frames
    assert report["operations"][ONNX_FP16] == {"convolutions": {"float16": 15}, "matrix products": {"float16": 3}}
    assert report["graphs"][ONNX_FP16]["bytes"] == (exported / ONNX_FP16).stat().st_size


def test_console_script_exports_twice_in_a_row_and_says_nothing_on_stderr(exported: Path) -> None:
    before = contents(exported)
    command = [str(Path(sys.executable).with_name("metfa-export")), str(exported), "--fp16"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    after = contents(exported)
    assert after.keys() == before.keys()
    assert after[ONNX] == before[ONNX]
    assert after[ONNX_FP16] == before[ONNX_FP16]


def test_an_artefact_beyond_tolerance_stays_out(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(exported)
    monkeypatch.setattr(artefacts, "deploy", _deploy_wrongly)
    assert "model.onnx (ONNX Runtime on the CPU) to agree with PyTorch" in refused(invoke(exported, "--fp16"))
    assert contents(exported) == before


def test_what_passed_is_kept_where_fp16_is_refused(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        artefacts,
        "deploy",
        lambda network, precision: (deploy if precision == "fp32" else _deploy_wrongly)(network, precision),
    )
    result = invoke(trained, "--fp16", "--deepstream", tmp_path / "deepstream")
    assert result.exit_code == 1
    error = result.output.splitlines()[-1]
    assert error.startswith(f"Error: expected {ONNX_FP16} (ONNX Runtime on the CPU) to agree with PyTorch")
    assert "; the bundle holds the rest; look at the frames with --largest-differences DIR, " in error
    bundle = Bundle.open(trained)
    assert {ONNX, PARITY, CARD} < bundle.files.keys()
    assert not [name for name in contents(trained) if "fp16" in name]
    assert not (tmp_path / "deepstream").exists()


@pytest.mark.parametrize("passes", [True, False])
def test_the_worst_frames_are_drawn_whether_or_not_the_artefact_passes(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passes: bool
) -> None:
    if not passes:
        monkeypatch.setattr(artefacts, "deploy", _deploy_wrongly)
    result = invoke(trained, "--largest-differences", tmp_path / "worst")
    assert result.exit_code == (0 if passes else 1)
    names = {path.name for path in (tmp_path / "worst").iterdir()}
    assert all(name.startswith("model.onnx.") for name in names)
    picture = cv2.imread(str(tmp_path / "worst" / "model.onnx.onnx-runtime-on-the-cpu.png"))
    assert picture is not None
    assert picture.shape[1] > 400
    assert (ONNX in contents(trained)) == passes


def _deploy_wrongly(network: Network, precision: Precision) -> DeployedModel:
    deployed = deploy(network, precision)
    deployed.logits.get_parameter("weight").neg_()
    return deployed


@pytest.mark.parametrize("name", [CONTRACT, WEIGHTS, "network.json", REFERENCE])
@pytest.mark.parametrize("damage", ["emptied", "truncated", "edited"])
def test_a_damaged_file_is_named(trained: Path, name: str, damage: str) -> None:
    data = (trained / name).read_bytes()
    damaged = {"emptied": b"", "truncated": data[:-1], "edited": data[:20] + b"#" + data[21:]}
    (trained / name).write_bytes(damaged[damage])
    assert f"{name} as it was written" in refused(invoke(trained))
    assert ONNX not in contents(trained)


def test_another_version_of_the_contract_is_refused(trained: Path) -> None:
    contract = json.loads((trained / CONTRACT).read_text())
    with updating(trained, keep=lambda _: True) as stage:
        (stage / CONTRACT).write_text(json.dumps({**contract, "schema": 99}))
    assert "schema 99 where this version of metfa reads schema" in refused(invoke(trained))


def test_no_bundle_and_no_place_for_one_are_one_line(tmp_path: Path) -> None:
    assert "no such directory; run metfa-train first" in refused(invoke(tmp_path / "absent"))
    weights = tmp_path / "SonoNet16.npz"
    weights.touch()
    refused(invoke("--sononet", weights, "--bundle", tmp_path / "new"))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("room", ["half a graph", "a graph, not what calibration writes"])
def test_a_full_disk_is_one_line_and_leaves_the_bundle_as_it_was(exported: Path, room: str) -> None:
    size = (exported / ONNX).stat().st_size
    limit = size // 2 if room == "half a graph" else size + 10
    before = contents(exported)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))  # of a file, as if the disk were full
    try:
        result = invoke(exported, "--int8")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "expected to be able to write" in refused(result)
    assert contents(exported) == before


@pytest.mark.parametrize("step", ["plans.export_onnx", "artefacts.write_text"])
def test_ctrl_c_at_first_and_at_last_is_one_line_and_leaves_the_bundle_as_it_was(
    trained: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    before = contents(trained)
    monkeypatch.setattr("metfa.export.engines.installed_flavours", lambda: ())
    monkeypatch.setattr(f"metfa.export.{step}", interrupt)
    result = invoke(trained, "--fp16")
    assert (result.exit_code, result.output.strip()) == (130, "Interrupted; the same command begins anew")
    assert contents(trained) == before


def test_a_signal_while_it_writes_leaves_the_bundle_as_it_was(trained: Path, interpreter: Interpreter) -> None:
    before = contents(trained)
    process = interpreter.start("from metfa.export.cli import run; run()", trained, "--fp16")
    while not list(trained.glob(".stage-*")) and process.runs():
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGTERM)
    ended = process.wait()
    assert (ended.returncode, ended.stdout) == (130, "")
    assert ended.stderr.strip() == "Interrupted; the same command begins anew"
    assert contents(trained) == before


def test_a_bundle_that_cannot_be_written_is_one_line(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> str:
        raise OSError(30, "Read-only file system")  # stands in for a read-only mount: root may write anywhere else

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    assert "to be able to write" in refused(invoke(trained))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a", "--bundle", "b"], "name the bundle once"),
        (["--sononet", "w.npz"], "name the bundle that --sononet makes"),
        (["--roi", "0,0,1,1"], "--roi goes with --frames"),
        (["--compute-capability", "8.6"], "--compute-capability, --batch and --workspace go with --fp16"),
        (["--workspace", "64"], "--compute-capability, --batch and --workspace go with --fp16"),
        (["--fp16", "--batch", "4,2,8"], "expected MIN,OPT,MAX, ascending numbers of frames, received '4,2,8'"),
        (["--fp16", "--batch", "4"], "expected MIN,OPT,MAX, ascending numbers of frames, received '4'"),
    ],
)
def test_options_that_do_not_go_together(arguments: list[str], message: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_another_export_says_what_it_removes(exported: Path) -> None:
    gone = sorted(name for name in contents(exported) if "fp16" in name)
    result = invoke(exported)
    assert result.exit_code == 0, result.output
    assert f"removed what an earlier export made: {', '.join(gone)}\n" in result.output
    assert not [name for name in contents(exported) if "fp16" in name]


def test_batches_and_workspace_reach_the_engine(trained: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="needs TensorRT for RTX, whose builder works without a GPU")
    result = invoke(trained, "--fp16", "--batch", "1,4,16", "--workspace", "64", "--compute-capability", "8.6")
    assert result.exit_code == 0, result.output
    assert "batches of 1 to 16" in result.output
    assert has_nvidia_gpu() or "engine was built but not run here: there is no NVIDIA GPU\n" in result.output


def test_a_missing_package_is_one_line(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnxscript" else find_spec(name))
    assert "pip install '.[export]' in a clone of metfa" in refused(invoke(trained))


def test_without_tensorrt_the_export_succeeds_and_says_how_to_get_an_engine(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metfa.export.engines.installed_flavours", lambda: ())
    assert "no engine was built" in refused(invoke(trained, "--fp16", "--compute-capability", "8.6"))
    result = invoke(trained, "--fp16")
    assert result.exit_code == 0, result.output
    assert "no engine was built" in result.output
    assert "'.[rtx]' on any machine" in result.output
    assert not Bundle.open(trained).matching("*.engine")


def test_help_loads_no_library() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from metfa.export.cli import main; "
        "assert CliRunner().invoke(main, ['--help']).exit_code == 0; "
        "print(sorted({'torch', 'onnx', 'onnxruntime', 'cv2', 'numpy'} & sys.modules.keys()))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
