from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from metfa.export.cli import main

from .networks import make_bundle, make_network

if TYPE_CHECKING:
    from pathlib import Path


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
