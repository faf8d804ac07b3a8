from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest

from metfa.runtime.backends import choice
from metfa.runtime.backends.choice import load_backend
from metfa.runtime.bundle import Bundle
from metfa.runtime.errors import BackendError, BundleError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of packages that seem not to be installed."""
    missing: set[str] = set()
    find_spec = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in missing else find_spec(name))
    return missing


def test_the_choice_says_why_it_is_not_a_faster_one(bundle: Path) -> None:
    _, reason = load_backend(Bundle.open(bundle), precision="fp32")
    assert "model.onnx (not tensorrt: engines are FP16 and FP32 was asked for; not cuda: " in reason


def test_what_was_asked_for_needs_no_reason(bundle: Path) -> None:
    _, reason = load_backend(Bundle.open(bundle), "cpu")
    assert reason.endswith("on the CPU, model.onnx (asked for)")


def test_a_bundle_without_an_engine_names_the_command_that_builds_one(bundle: Path) -> None:
    with pytest.raises(
        BackendError, match=r"not tensorrt: the bundle holds no engine \(metfa-export --fp16 or metfa-stream --rebuild"
    ):
        load_backend(Bundle.open(bundle), "tensorrt")


def test_an_absent_precision_names_the_file_and_the_command(bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"model\.fp16\.onnx in the bundle .*; make it again with metfa-export"):
        load_backend(Bundle.open(bundle), "cpu", "fp16")


def test_a_host_without_any_engine_is_told_what_to_install(bundle: Path, without: set[str]) -> None:
    without.add("onnxruntime")
    with pytest.raises(BackendError, match=r"not cpu: onnxruntime is not installed; pip install 'metfa\[cpu\]'"):
        load_backend(Bundle.open(bundle))


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ({"tensorrt", "tensorrt_rtx"}, "neither tensorrt nor tensorrt_rtx is installed"),
        ({"cuda"}, "cuda-python is not installed"),
    ],
)
def test_a_missing_package_of_tensorrt_is_the_reason(
    bundle: Path, without: set[str], monkeypatch: pytest.MonkeyPatch, missing: set[str], reason: str
) -> None:
    without |= missing
    monkeypatch.setattr(choice, "installed_flavours", lambda: () if "tensorrt" in missing else ("tensorrt_rtx",))
    opened = Bundle.open(bundle)
    opened.files["model.fp16.tensorrt_rtx.engine"] = "0" * 64
    with pytest.raises(BackendError, match=reason):
        load_backend(opened, "tensorrt")
