from __future__ import annotations

import subprocess
import sys

import pytest

import metfa.runtime


@pytest.mark.parametrize("name", metfa.runtime.__all__)
def test_public_names_can_be_imported(name: str) -> None:
    # What is public must not be hidden by a module of the same name, in whatever order they are imported.
    assert not isinstance(getattr(metfa.runtime, name), type(sys))


def test_there_is_nothing_else() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        metfa.runtime.nothing  # noqa: B018


@pytest.mark.parametrize(
    "statement", ["import metfa.runtime", "from metfa.runtime import *", "import metfa.runtime.cli"]
)
def test_the_edge_imports_no_engine_and_no_training_library(statement: str) -> None:
    forbidden = {"torch", "onnx", "onnxruntime", "tensorrt", "tensorrt_rtx", "cuda", "matplotlib", "sklearn", "tkinter"}
    code = f"{statement}\nimport sys\nprint(*sorted({forbidden} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


def test_help_waits_for_nothing_heavy() -> None:
    code = "import metfa.runtime.cli, sys\nprint(*sorted({'numpy', 'cv2'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []
