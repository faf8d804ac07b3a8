"""Which build of PyTorch ``make`` installs, and what it says of it; Python and pip are stand-ins."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PYTHON = f"""#!/bin/sh
if [ "$1" = -m ]; then echo "pip $*" >> "$(dirname "$0")/log"; else exec '{sys.executable}' "$@"; fi
"""
UNREACHABLE = "http://127.0.0.1:9"

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
without_gpu = pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="this machine has an NVIDIA GPU")


@pytest.fixture
def builds() -> Iterator[str]:
    """An index of packages that can be reached."""

    class Index(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the name that is called
            self.send_response(200 if self.path == "/cpu/torch/" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Index)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/cpu"
    server.shutdown()
    server.server_close()


def install(tmp_path: Path, builds: str, *, gpu: bool = False, processor: str = "x86_64", torch: str = "") -> list[str]:
    """Return the line that says what is chosen, and what pip is told to install first."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, script in (
        ("python", PYTHON),
        ("nvidia-smi", f"#!/bin/sh\nexit {0 if gpu else 9}\n"),
        ("uname", f"#!/bin/sh\necho {processor}\n"),
    ):
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    settings = [f"VENV={tmp_path}", f"CPU_BUILDS={builds}", f"TORCH={torch}"]
    environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "no_proxy": "127.0.0.1"}
    environment = {name: value for name, value in environment.items() if not name.startswith("MAKE")}
    made = subprocess.run(
        ["make", "-C", ROOT, *settings, f"{tmp_path}/.installed"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    said = next(line for line in made.stdout.splitlines() if line.startswith("PyTorch: "))
    installed = (programs / "log").read_text().splitlines()[0]
    return [said, installed.removeprefix("pip -m pip install --quiet --disable-pip-version-check ")]


@without_gpu
@pytest.mark.parametrize("processor", ["x86_64", "aarch64"])
def test_without_a_gpu_the_build_without_cuda(tmp_path: Path, builds: str, processor: str) -> None:
    said, installed = install(tmp_path, builds, processor=processor)
    assert installed == f"torch==2.13.0 --index-url {builds}"
    assert said == (
        f"PyTorch: torch==2.13.0 --index-url {builds} "
        "(the build without CUDA, as there is no NVIDIA GPU; TORCH= chooses another)"
    )


@without_gpu
def test_where_its_index_cannot_be_reached_whatever_pip_finds(tmp_path: Path) -> None:
    said, installed = install(tmp_path, UNREACHABLE)
    assert installed == "torch==2.13.0"
    assert f"no NVIDIA GPU, but {UNREACHABLE} cannot be reached" in said


def test_with_a_gpu_the_build_with_cuda(tmp_path: Path, builds: str) -> None:
    said, installed = install(tmp_path, builds, gpu=True)
    assert installed == "torch==2.13.0"
    assert "the build with CUDA, as there is an NVIDIA GPU" in said


@pytest.mark.parametrize("gpu", [False, True])
def test_the_user_knows_better(tmp_path: Path, builds: str, gpu: bool) -> None:
    said, installed = install(tmp_path, builds, gpu=gpu, torch="torch==2.12.0 --index-url https://example.org")
    assert installed == "torch==2.12.0 --index-url https://example.org"
    assert said.endswith("(as TORCH says)")
