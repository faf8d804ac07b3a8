"""``metfa-benchmark`` as users run it."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import numpy_helper
from safetensors.numpy import save

from metfa.runtime.backends.choice import load_backend
from metfa.runtime.benchmark import candidates
from metfa.runtime.benchmark.cli import CHART, RECORD, main
from metfa.runtime.bundle.directory import ONNX, ONNX_FP16, REFERENCE, updating

if TYPE_CHECKING:
    from collections.abc import Callable

COMMAND = Path(sys.executable).with_name("metfa-benchmark")
ERROR = re.compile(r"Error: expected .+, received .+; .+")
OPENVINO = importlib.util.find_spec("openvino") is not None
NAMES = ["cpu fp32", *(["openvino:CPU fp32"] if OPENVINO else [])]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False)


def add(bundle: Path, name: str, content: bytes) -> None:
    with updating(bundle, keep=lambda _: True) as stage:
        (stage / name).write_bytes(content)


def shifted(model: bytes, by: float) -> bytes:
    """Return the model with a logit of the first class that is so much higher."""
    changed = onnx.ModelProto.FromString(model)
    (bias,) = (tensor for tensor in changed.graph.initializer if tensor.name == "bias")
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.array([by, 0, 0], np.float32), "bias"))
    return bytes(changed.SerializeToString())


def test_all_that_runs_here_is_measured_and_the_rest_has_a_reason(bundle: Path, tmp_path: Path) -> None:
    output = tmp_path / "made" / "benchmark"
    result = run("--bundle", bundle, "--seconds", 0.01, "--output", output)
    assert (result.returncode, result.stderr) == (0, "")
    record = json.loads((output / RECORD).read_text())
    measured = {f"{each['backend']} {each['precision']}": each for each in record["measurements"]}
    assert list(measured) == NAMES
    assert (record["reference"], record["interrupted"]) == ("cpu fp32", False)
    for each in measured.values():
        assert each["sha256"] == hashlib.sha256((bundle / ONNX).read_bytes()).hexdigest()
        assert [latency["batch"] for latency in each["latencies"]] == [1, 2, 4, 8]
        for latency in each["latencies"]:
            assert 0 < latency["p50_ms"] <= latency["p95_ms"] <= latency["p99_ms"]
            assert latency["calls"] >= record["turns"]
            assert latency["frames_per_second"] > 0
            assert latency["gpu_p50_ms"] is None
        assert each["parity"]["same_label"] == 1
        assert each["parity"]["logit_difference"] < 1e-3
    lines = result.stdout.splitlines()
    assert [line[2:].split("  ")[0] for line in lines[4 : 4 + len(NAMES)]] == NAMES
    reasons = [line for line in lines if line.startswith("not ")]
    assert [line.removeprefix("not ") for line in reasons] == record["cannot_run_here"]
    assert "not cuda fp32, fp16, int8: expected an ONNX Runtime with CUDA, received one without; " in "\n".join(reasons)
    assert any(line.startswith("not cpu fp16: expected model.fp16.onnx in the bundle") for line in reasons)
    assert ("not openvino fp32, fp16, int8: expected the package openvino" in "\n".join(reasons)) != OPENVINO
    chart = "".join(ET.parse(output / CHART).getroot().itertext())
    assert all(name in chart for name in NAMES)
    assert lines[-1] == f"wrote {RECORD} and {CHART} in {output}"


def test_what_a_precision_changes_is_beside_its_times(bundle: Path, tmp_path: Path) -> None:
    grey = [np.full((3, 1, 32, 40), level, np.uint8) for level in (0, 128)]
    add(bundle, REFERENCE, save({"target": grey[0], "source": grey[1]}))
    add(bundle, ONNX_FP16, shifted((bundle / ONNX).read_bytes(), by=40))  # grey has 25 more than dark
    result = run("--bundle", bundle, "--seconds", 0.001, "--output", tmp_path)
    assert result.returncode == 0, result.stderr
    record = json.loads((tmp_path / RECORD).read_text())
    assert record["frames"] == "6 reference frames"
    for each in record["measurements"]:
        if each["precision"] == "fp16":
            assert each["parity"] == {"logit_difference": pytest.approx(40, abs=1e-3), "same_label": 0.5}
    (row,) = (line for line in result.stdout.splitlines() if line.startswith("  cpu fp16 "))
    assert row.split()[-2:] == ["4.0e+01", "50.0%"]


def test_numbers_that_are_not_finite_are_told(bundle: Path, tmp_path: Path) -> None:
    add(bundle, ONNX_FP16, shifted((bundle / ONNX).read_bytes(), by=float("inf")))
    result = run("--bundle", bundle, "--seconds", 0.001, "--output", tmp_path)
    assert result.returncode == 0, result.stderr
    (row,) = (line for line in result.stdout.splitlines() if line.startswith("  cpu fp16 "))
    assert "not finite" in row
    record = json.loads((tmp_path / RECORD).read_text(), parse_constant=pytest.fail)  # NaN and Infinity are no JSON
    (half,) = (each for each in record["measurements"] if (each["backend"], each["precision"]) == ("cpu", "fp16"))
    assert half["parity"]["logit_difference"] is None


def test_a_gpu_has_times_by_its_own_clock(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def clock(name: str, *_: Any) -> Callable[[Any], float] | None:
        return (lambda frames: len(frames) / 10) if name == "cpu" else None  # as if it were on a GPU

    monkeypatch.setattr(candidates, "gpu_clock", clock)
    arguments = ["--bundle", str(bundle), "--seconds", "0.001", "--output", str(tmp_path)]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    first, *others = json.loads((tmp_path / RECORD).read_text())["measurements"]
    assert [latency["gpu_p99_ms"] for latency in first["latencies"]] == [0.1, 0.2, 0.4, 0.8]
    assert all(latency["gpu_p50_ms"] is None for each in others for latency in each["latencies"])
    assert "GPU p50 ms" in result.output
    assert "  0.10  " in next(line for line in result.output.splitlines() if line.startswith("  cpu fp32"))


def test_backends_of_other_packages_are_measured_too(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "names_in", lambda group: ("theirs",) if group == "metfa.backends" else ())
    monkeypatch.setattr(
        candidates,
        "load_backend",
        lambda bundle, name, precision: load_backend(bundle, "cpu" if name == "theirs" else name, precision),
    )
    result = CliRunner().invoke(main, ["--bundle", str(bundle), "--seconds", "0.001"], catch_exceptions=False)
    assert "\n  theirs fp32 " in result.output


class OnATerminal:
    """The command with its errors on a terminal, which shows what it does at the moment."""

    def __init__(self, *arguments: object) -> None:
        self._terminal, theirs = os.openpty()
        self._process = subprocess.Popen(
            [COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, stderr=theirs, text=True
        )
        os.close(theirs)
        self._shown = ""

    def wait_for(self, text: str) -> None:
        while text not in self._shown:
            self._shown += os.read(self._terminal, 4096).decode()

    def end(self, number: signal.Signals) -> tuple[int, str, str]:
        """Send a signal; return the exit code, the standard output, and the last line on the terminal."""
        self._process.send_signal(number)
        output, _ = self._process.communicate(timeout=60)
        while "Interrupted" not in self._shown or not self._shown.endswith("\n"):
            self._shown += os.read(self._terminal, 4096).decode()
        os.close(self._terminal)
        return self._process.returncode, output, self._shown.splitlines()[-1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_what_was_measured(bundle: Path, tmp_path: Path, number: signal.Signals) -> None:
    command = OnATerminal("--bundle", bundle, "--seconds", 4, "--output", tmp_path)
    command.wait_for("turn 1 of 10: cpu fp32, batch 4")
    code, output, said = command.end(number)
    assert code == 130
    assert said.endswith("Interrupted; what was measured until then is above")
    record = json.loads((tmp_path / RECORD).read_text())
    assert record["interrupted"]
    assert [latency["batch"] for latency in record["measurements"][0]["latencies"]] == [1, 2, 4]
    row = next(line for line in output.splitlines() if line.startswith("  cpu fp32 "))
    assert row.split()[-3:] == ["–", "0", "100.0%"]
    ET.parse(tmp_path / CHART)


def test_a_signal_before_anything_is_measured_leaves_nothing(bundle: Path, tmp_path: Path) -> None:
    command = OnATerminal("--bundle", bundle, "--output", tmp_path / "made")
    command.wait_for("loading")
    code, output, said = command.end(signal.SIGINT)
    assert (code, output) == (130, "")
    assert said.endswith("Interrupted; the same command begins anew")
    assert not (tmp_path / "made").exists()


def no_bundle(bundle: Path) -> list[object]:
    return ["--bundle", bundle / "elsewhere"]


def bundle_that_was_only_trained(bundle: Path) -> list[object]:
    with updating(bundle, keep=lambda name: name != ONNX):
        pass
    return []


def edited_model(bundle: Path) -> list[object]:
    (bundle / ONNX).write_bytes(b"no model")
    return []


def edited_frames(bundle: Path) -> list[object]:
    add(bundle, REFERENCE, b"")
    (bundle / REFERENCE).write_bytes(b"no frames")
    return []


def frames_of_another_size(bundle: Path) -> list[object]:
    add(bundle, REFERENCE, save({name: np.zeros((1, 1, 32, 41), np.uint8) for name in ("target", "source")}))
    return []


def output_that_is_a_file(bundle: Path) -> list[object]:
    return ["--output", bundle / ONNX]


def output_that_cannot_be_written(bundle: Path) -> list[object]:
    return ["--output", "/proc/benchmark"]


@pytest.mark.parametrize(
    ("spoil", "received"),
    [
        (no_bundle, "received no such directory; run metfa-train first"),
        (bundle_that_was_only_trained, "received one that was only trained; run metfa-export"),
        (edited_model, "model.onnx as it was written"),
        (edited_frames, "reference.safetensors as it was written"),
        (frames_of_another_size, "expected reference frames of 32 × 40 pixels"),
        (output_that_is_a_file, "received Not a directory"),
        (output_that_cannot_be_written, "to be able to write /proc/benchmark"),
    ],
)
def test_bad_input_is_one_line(bundle: Path, spoil: Callable[[Path], list[object]], received: str) -> None:
    arguments = spoil(bundle)
    before = {path: path.read_bytes() for path in bundle.parent.rglob("*") if path.is_file()}
    result = run("--bundle", bundle, "--seconds", 0.001, *arguments)
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert ERROR.fullmatch(line)
    assert received in line
    assert {path: path.read_bytes() for path in bundle.parent.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "soon"])
def test_a_time_that_is_none_is_refused(bundle: Path, seconds: str) -> None:
    result = run("--bundle", bundle, "--seconds", seconds)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: Invalid value for '--seconds': ")
