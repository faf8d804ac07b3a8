from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, NamedTuple

import click
import grimp
import pytest

import metfa.runtime
from metfa.export import cli as export
from metfa.runtime import cli as stream
from metfa.runtime.benchmark import cli as benchmark
from metfa.runtime.labelling import cli as label
from metfa.training.cli import evaluate, train, tune


@pytest.mark.parametrize("name", metfa.runtime.__all__)
def test_public_names_can_be_imported(name: str) -> None:
    # What is public must not be hidden by a module of the same name, in whatever order they are imported.
    assert not isinstance(getattr(metfa.runtime, name), type(sys))


def test_there_is_nothing_else() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        metfa.runtime.nothing  # noqa: B018


def test_no_import_goes_round_in_a_circle() -> None:
    """Not even for types alone."""
    graph = grimp.build_graph("metfa.export", "metfa.training", "metfa.runtime")
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    tuple(TopologicalSorter(imports).static_order())  # raises CycleError, which names the circle


@pytest.mark.parametrize(
    "statement",
    [
        "import metfa.runtime",
        "from metfa.runtime import *",
        "import metfa.runtime.cli",
        "import metfa.runtime.benchmark.cli",
        "import metfa.runtime.labelling.run",
        "import metfa.runtime.doctor.screen",
    ],
)
def test_the_edge_imports_no_engine_and_no_training_library(statement: str) -> None:
    engines = {"onnxruntime", "openvino", "tensorrt", "tensorrt_rtx", "cuda", "tritonclient", "grpc"}
    dicom = {"pydicom", "highdicom", "pynetdicom"}
    forbidden = {*engines, *dicom, "torch", "onnx", "matplotlib", "sklearn", "tkinter", "huggingface_hub"}
    code = f"{statement}\nimport sys\nprint(*sorted({forbidden} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


@pytest.mark.parametrize(
    "command",
    ["metfa.runtime.cli", "metfa.runtime.benchmark.cli", "metfa.runtime.labelling.cli", "metfa.runtime.doctor.cli"],
)
def test_help_waits_for_nothing_heavy(command: str) -> None:
    code = f"import {command}, sys\nprint(*sorted({{'numpy', 'cv2', 'importlib.metadata'}} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


ROOT = Path(__file__).parents[1]
ROOMS = ("runtime/metfa/runtime", "training/metfa/training", "export/metfa/export")
MAP = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
TREE = next(block for block in MAP.split("```") if block.startswith(f"text\n{ROOMS[0]}/\n"))


class Entry(NamedTuple):
    """A file or folder of the map, and the files that it is explained with."""

    path: Path
    mentioned: list[str]


def read_tree() -> list[Entry]:
    """Return the entries of the rooms: two spaces and a name, four for what is in the folder above."""
    entries: list[Entry] = []
    room = folder = ROOT
    for line in TREE.splitlines():
        name = re.match(r"( *)([\w/]+/|\w+\.py)(?: |$)", line)
        depth = len(name[1]) if name else None
        if name and depth == 0:
            room = ROOT / name[2]
        elif name and depth in {2, 4}:
            path = (room if depth == 2 else folder) / name[2]
            folder = path if depth == 2 else folder
            entries.append(Entry(path, []))
        if entries and room.relative_to(ROOT).as_posix() in ROOMS:
            entries[-1].mentioned.extend(re.findall(r"(?<![\w…/])\w+\.py\b", line[name.end() if name else 0 :]))
    return entries


ENTRIES = read_tree()


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.path.relative_to(ROOT).as_posix())
def test_what_the_map_shows_is_there(entry: Entry) -> None:
    assert entry.path.exists()
    folder = entry.path if entry.path.is_dir() else entry.path.parent
    assert [name for name in entry.mentioned if not list(folder.rglob(name))] == []


@pytest.mark.parametrize("room", ROOMS)
def test_the_map_shows_every_module(room: str) -> None:
    shown = {entry.path for entry in ENTRIES}
    modules = {path for path in (ROOT / room).rglob("*.py") if path.name != "__init__.py"}
    assert len(modules) > 10
    assert {path for path in modules if not shown & {path, *path.parents}} == set()


def test_every_benchmark_is_listed() -> None:
    page = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    tree = next(block for block in page.split("```") if block.startswith("text\n"))
    modules = {path.name for path in (ROOT / "benchmarks").rglob("*.py")} - {"__init__.py", "__main__.py"}
    assert len(modules) > 10
    assert set(re.findall(r"\w+\.py\b", tree)) == modules


def test_paths_in_the_text_lead_somewhere() -> None:
    inside = {room.partition("/")[0]: room for room in ROOMS}
    text = MAP.replace(TREE, "")
    paths = [
        f"{inside[top] if hidden else top}/{path}"  # runtime/…/cli.py is in runtime/metfa/runtime
        for top, hidden, path in re.findall(r"`(runtime|training|export|tests)/(…/)?([\w/.]+)`", text)
    ]
    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_files_that_the_text_names_are_there() -> None:
    files = [
        f"/{path.relative_to(ROOT).as_posix()}" for top in (*ROOMS, "tests") for path in (ROOT / top).rglob("*.py")
    ]
    named = set(re.findall(r"`([\w/]+\.py)`", MAP.replace(TREE, ""))) - {"metfa/__init__.py"}  # which must not be there
    assert len(named) > 3
    assert {name for name in named if not any(file.endswith(f"/{name}") for file in files)} == set()
    assert not list(ROOT.glob("*/metfa/__init__.py"))


PROGRAMS = [
    path
    for folder in ("runtime", "training", "export", "benchmarks", "docs", "examples")
    for path in (ROOT / folder).rglob("*.py")
]
MAX_MODULE_LINES, MAX_FUNCTION_LINES = 350, 70


def test_no_module_is_long() -> None:
    lines = {path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines()) for path in PROGRAMS}
    assert len(lines) > 200
    assert {name: number for name, number in lines.items() if number > MAX_MODULE_LINES} == {}


def test_no_function_is_long() -> None:
    lines = {
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}": node.end_lineno - node.lineno + 1
        for path in PROGRAMS
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno
    }
    assert len(lines) > 1000
    assert {name: number for name, number in lines.items() if number > MAX_FUNCTION_LINES} == {}


@pytest.mark.parametrize(
    "command", [stream.main, train.main, tune.main, evaluate.main, export.main, benchmark.main, label.main]
)
def test_every_option_that_takes_a_number_refuses_what_is_none(command: click.Command) -> None:
    for option in command.params:
        convert: Any = option.type.convert
        if isinstance(option.type, click.types.FloatParamType):
            for number in ("nan", "inf", "-inf", "1e999"):
                with pytest.raises(click.BadParameter, match=r"finite number|not in the range"):
                    convert(number, option, None)
            assert convert("0.75", option, None) == 0.75
