"""The examples, as they stand in examples/, on the smallest run that each can have."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

import metfa.export
import metfa.runtime
import metfa.training

if TYPE_CHECKING:
    from types import ModuleType

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))
SMALL: dict[str, Any] = {
    **metfa.training.PRESETS["small"]._asdict(),
    "height": 28,
    "width": 28,
    "steps": 4,
    "candidates": 2,
    "images_per_class": 2,
    "threads": 1,
}
PUBLIC = {module.__name__: set(module.__all__) for module in (metfa.export, metfa.runtime, metfa.training)}


def load(name: str) -> ModuleType:
    path = next(path for path in EXAMPLES if path.stem == name)
    specification = importlib.util.spec_from_file_location(f"example_{name}", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of two classes from two scanners, of which the second is darker, and a bundle that was trained on them."""
    folder = tmp_path_factory.mktemp("examples")
    generator = np.random.default_rng(0)
    for domain, brightness in (("A", 230), ("B", 120)):
        for label, rows in (("high", slice(2, 12)), ("low", slice(20, 30))):
            (folder / domain / label).mkdir(parents=True)
            for number in range(8):
                image = generator.integers(0, 60, (32, 32)).astype(np.uint8)
                image[rows, 2 * number : 2 * number + 16] = brightness
                assert cv2.imwrite(str(folder / domain / label / f"{number}.png"), image)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        load("train_on_folders").main(str(folder / "A"), str(folder / "B"), str(folder / "bundle"), **SMALL)
    return folder


@pytest.fixture(autouse=True)
def cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_imports_public_names_only(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 40
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]
    of_metfa = {(node.module, name.name) for node in imports for name in node.names if "metfa" in str(node.module)}
    assert of_metfa
    assert {name for module, name in of_metfa if name not in PUBLIC.get(str(module), ())} == set()


@pytest.mark.parametrize("module", [metfa.export, metfa.runtime, metfa.training], ids=lambda module: module.__name__)
def test_every_public_name_is_there_and_says_what_it_is(module: ModuleType) -> None:
    for name in module.__all__:
        assert getattr(module, name).__doc__, name
    with pytest.raises(AttributeError, match="nothing_of_that_name"):
        module.nothing_of_that_name  # noqa: B018


def test_methods_are_compared(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load("compare_with_source_only").main(str(folder / "A"), str(folder / "B"), str(tmp_path / "bundle"), **SMALL)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines if "consistency" in line] == [
        "source-only",
        "adabn",
        "metfa-vi",
    ]


def test_a_bundle_is_exported_streamed_and_fed_by_a_source_of_ones_own(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = str(folder / "bundle")
    load("export_and_check").main(bundle)
    assert {line.partition(" ")[0] for line in capsys.readouterr().out.splitlines()} >= {
        "model.onnx",
        "model.fp16.onnx",
    }
    events: list[metfa.runtime.PlaneEvent] = []
    load("stream_with_callback").main(bundle, "phantom:B", on_event=events.append, seconds=0.5)
    own = subprocess.run(
        [sys.executable, str(next(path for path in EXAMPLES if path.stem == "own_source")), bundle],
        check=True,
        capture_output=True,
        text=True,
    )
    assert [line.partition(":")[0] for line in own.stdout.splitlines()] == [f"frame {number}" for number in range(10)]
