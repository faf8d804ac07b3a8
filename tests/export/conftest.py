from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from click.testing import CliRunner

from metfa.export.cli import main

from .networks import make_bundle, make_network

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn


@pytest.fixture(scope="session")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("trained") / "bundle", make_network())


@pytest.fixture(scope="session")
def _exported(_trained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    directory = tmp_path_factory.mktemp("exported") / "bundle"
    shutil.copytree(_trained, directory)
    result = CliRunner().invoke(main, [str(directory), "--fp16"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return directory, result.output


@pytest.fixture
def trained(_trained: Path, tmp_path: Path) -> Path:
    """A bundle as training leaves it, of which a test may do what it wants."""
    return shutil.copytree(_trained, tmp_path / "bundle")


@pytest.fixture
def exported(_exported: tuple[Path, str], tmp_path: Path) -> Path:
    """The same bundle after ``metfa-export --fp16``."""
    return shutil.copytree(_exported[0], tmp_path / "bundle")


@pytest.fixture
def printed(_exported: tuple[Path, str]) -> str:
    """What that command printed."""
    return _exported[1]


@pytest.fixture(scope="module")  # what other tests leave in PyTorch shows in the names of a graph
def _programs() -> dict[object, Any]:
    return {}


@pytest.fixture
def graphs_are_remembered(_programs: dict[object, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's exporter, which takes seconds, traces no network twice; everything after it happens as ever.

    For tests of the command, not of the graph.
    """
    trace = torch.onnx.export

    def remember(model: nn.Module, frames: tuple[Tensor], **options: Any) -> Any:
        settings = [
            (name, {key: str(value) for key, value in vars(part).items() if not key.startswith("_")})
            for name, part in model.named_modules()
        ]
        weights = tuple((name, str(value.dtype), value.numpy().tobytes()) for name, value in model.state_dict().items())
        key = (repr(model), repr(settings), weights, frames[0].shape)
        if key not in _programs:
            _programs[key] = trace(model, frames, **options)
        return _programs[key]

    monkeypatch.setattr(torch.onnx, "export", remember)
