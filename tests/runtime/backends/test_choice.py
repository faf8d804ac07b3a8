from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING, Any

import pytest

from metfa.runtime.backends import choice
from metfa.runtime.backends.choice import load_backend
from metfa.runtime.bundle import directory as bundles
from metfa.runtime.bundle.directory import Bundle
from metfa.runtime.errors import BackendError, BundleError, MissingExtraError

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
    backend, refusals = load_backend(Bundle.open(bundle), precision="fp32")
    assert backend.description.endswith("on the CPU, model.onnx")
    assert refusals == (
        "not tensorrt: expected FP16 or INT8, which TensorRT engines compute in, received FP32; "
        "choose another precision, or another backend",
        "not cuda: expected an ONNX Runtime with CUDA, received one without; "
        "with an NVIDIA GPU, pip uninstall onnxruntime and pip install '.[cuda]' in a clone of metfa",
    )


def test_what_was_asked_for_needs_no_reason(bundle: Path) -> None:
    backend, refusals = load_backend(Bundle.open(bundle), "cpu")
    assert (backend.description.split(", ")[-1], refusals) == ("model.onnx", ())


FP16_ENGINE, INT8_ENGINE = "model.fp16.tensorrt.engine", "model.int8.tensorrt_rtx.engine"


@pytest.mark.parametrize(
    ("held", "precision", "said"),
    [
        ([], None, "FP16 in {}, received none; build one with metfa-export --fp16"),
        (
            [bundles.ONNX_FP16],
            None,
            "FP16 in {}, received none; build one with metfa-export --fp16, or here with metfa-stream --rebuild",
        ),
        ([], "int8", "INT8 in {}, received none; build one with metfa-export --int8"),
        (
            [bundles.ONNX_FP16],
            "int8",
            "INT8 in {}, received none; build one with metfa-export --fp16 --int8",
        ),
        (
            [INT8_ENGINE],
            None,
            f"FP16 in {{}}, received only {INT8_ENGINE}; "
            "take it with --precision int8, or build one with metfa-export --fp16 --int8",
        ),
        (
            [INT8_ENGINE, "model.int8.tensorrt.engine", bundles.ONNX_FP16],
            "fp16",
            f"FP16 in {{}}, received only model.int8.tensorrt.engine and {INT8_ENGINE}; take one of them with "
            "--precision int8, or build one with metfa-export --fp16 --int8, or here with metfa-stream --rebuild",
        ),
        (
            [FP16_ENGINE, bundles.ONNX_FP16],
            "int8",
            f"INT8 in {{}}, received only {FP16_ENGINE}; "
            "take it with --precision fp16, or build one with metfa-export --fp16 --int8",
        ),
    ],
)
def test_a_bundle_without_the_engine_says_which_there_are_and_how_to_have_it(
    bundle: Path, held: list[str], precision: choice.Precision | None, said: str
) -> None:
    opened = Bundle.open(bundle)
    opened.files.update(dict.fromkeys(held, "0" * 64))
    with pytest.raises(BackendError) as refusal:
        load_backend(opened, "tensorrt", precision)
    assert str(refusal.value) == "expected a TensorRT engine in " + said.format(f"the bundle {bundle}")


@pytest.mark.parametrize(
    ("initialised", "devices", "expected"), [(0, 1, True), (0, 0, False), (100, 1, False), (None, 1, False)]
)
def test_a_gpu_is_known_by_its_driver(
    monkeypatch: pytest.MonkeyPatch, initialised: int | None, devices: int, expected: bool
) -> None:
    class Driver:
        """Stands in for libcuda, whose functions return 0 where they succeed."""

        def cuInit(self, _: int) -> int:  # noqa: N802  # the driver's name
            assert initialised is not None
            return initialised

        def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
            count._obj.value = devices
            return 0

    def load(name: str) -> Driver:
        assert name == "libcuda.so.1"
        if initialised is None:
            raise OSError("cannot open shared object file")
        return Driver()

    monkeypatch.setattr("ctypes.CDLL", load)
    assert choice.has_nvidia_gpu() is expected


def test_an_absent_precision_names_the_file_and_the_command(bundle: Path) -> None:
    with pytest.raises(
        BundleError, match=r"model\.fp16\.onnx in the bundle .*; make it again with metfa-export --fp16$"
    ):
        load_backend(Bundle.open(bundle), "cpu", "fp16")


def test_a_host_without_any_engine_is_told_what_to_install(bundle: Path, without: set[str]) -> None:
    without.add("onnxruntime")
    with pytest.raises(BackendError, match=r"none \(.*; cpu: a Python .* without it\); pip install '\.\[cpu\]'"):
        load_backend(Bundle.open(bundle))
    with pytest.raises(BackendError, match=r"expected the package onnxruntime, .*; pip install '\.\[cpu\]'"):
        load_backend(Bundle.open(bundle), "cpu")


def test_an_onnxruntime_that_does_not_load_is_refused_with_what_it_says(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "onnxruntime.py").write_text("raise ImportError('libgomp.so.1: cannot open shared object file')")
    monkeypatch.syspath_prepend(broken)
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    with pytest.raises(BackendError, match=r"onnxruntime to load, received libgomp\.so\.1: .*; install onnxruntime"):
        load_backend(Bundle.open(bundle))


def test_openvino_is_asked_for_by_name_and_its_extra_may_be_missing(bundle: Path, without: set[str]) -> None:
    without.update({"onnxruntime", "openvino"})
    with pytest.raises(MissingExtraError, match=r"package openvino, .*; pip install '\.\[openvino\]' in a clone"):
        load_backend(Bundle.open(bundle), "openvino:GPU")
    with pytest.raises(BackendError) as refusal:
        load_backend(Bundle.open(bundle))
    assert "openvino: " not in str(refusal.value)


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ({"tensorrt", "tensorrt_rtx"}, "expected tensorrt or tensorrt_rtx, to run model.fp16"),
        ({"cuda"}, "expected cuda-python beside TensorRT"),
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
