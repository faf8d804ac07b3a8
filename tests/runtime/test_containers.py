"""The Dockerfiles and what they promise. No image is built here: see docs/containers.md."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
FILES = ["Dockerfile", "Dockerfile.jetpack6"]


class Instruction(NamedTuple):
    """A line of a Dockerfile, such as ``RUN`` with its command."""

    name: str
    arguments: str


def read(name: str) -> list[list[Instruction]]:
    """Return the instructions of each stage; first those before any."""
    text = re.sub(r"^ *#.*\n", "", (DOCKER / name).read_text(), flags=re.MULTILINE).replace("\\\n", "")
    stages: list[list[Instruction]] = [[]]
    for line in filter(None, text.splitlines()):
        instruction = Instruction(*line.split(maxsplit=1))
        if instruction.name == "FROM":
            stages.append([])
        stages[-1].append(instruction)
    return stages


@pytest.mark.parametrize("name", FILES)
def test_the_base_is_pinned(name: str) -> None:
    (argument,), *stages = read(name)
    base = argument.arguments.removeprefix("BASE=")
    assert re.search(r"@sha256:[0-9a-f]{64}$|:r\d+\.\d+\.\d+-runtime$", base)
    assert [stage[0].arguments.split()[0] for stage in stages] == ["${BASE}"] * 2


@pytest.mark.parametrize("name", FILES)
def test_the_image_itself_installs_nothing_and_runs_as_nobody(name: str) -> None:
    *_, image = read(name)
    instructions = dict(image)
    assert "RUN" not in instructions
    assert instructions["USER"] == "65532:65532"
    assert instructions["COPY"] == "--from=build /opt/metfa /opt/metfa"


@pytest.mark.parametrize("name", FILES)
def test_packages_are_installed_by_their_hashes_alone(name: str) -> None:
    _, build, _ = read(name)
    for instruction in build:
        if (
            "pip" in instruction.arguments
            and " install " in instruction.arguments
            and "apt-get" not in instruction.arguments
        ):
            assert "--require-hashes" in instruction.arguments or "--no-deps ." in instruction.arguments


@pytest.mark.parametrize("name", FILES)
def test_what_is_copied_is_there_and_not_ignored(name: str) -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for instruction in read(name)[1]:
        if instruction.name == "COPY":
            *sources, _ = instruction.arguments.replace("${ENGINE}", "cpu").split()
            for source in sources:
                assert (ROOT / source).exists()
                assert {f"!{source}", f"!{Path(source).parent}/*{Path(source).suffix}"} & set(ignored)


def service() -> dict[str, Any]:
    composed: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]["metfa"]
    return composed


def test_the_service_may_write_to_memory_alone_and_gain_no_rights() -> None:
    composed = service()
    assert composed["read_only"] is True
    assert composed["tmpfs"][0].startswith("/tmp:")
    assert composed["volumes"][0].endswith(":/bundle:ro")
    assert (composed["cap_drop"], composed["security_opt"]) == (["ALL"], ["no-new-privileges:true"])
    assert composed["ports"] == ["127.0.0.1:8080:8080"]
    assert (DOCKER / composed["build"]["context"] / composed["build"]["dockerfile"]).is_file()
    assert set(yaml.safe_load((DOCKER / "compose.gpu.yaml").read_text())["services"]) == {"metfa"}


def test_a_dashboard_that_answers_is_healthy(bundle: Path) -> None:
    token = "a-token-of-the-user-himself"
    health = [sys.executable, str(DOCKER / "health.py")]
    code = "from metfa.runtime.cli import run; run()"
    stream = [sys.executable, "-c", code, "--bundle", str(bundle), "--device", "phantom:A", "--no-window"]
    environment = {**os.environ, "METFA_TOKEN": token}
    with subprocess.Popen(
        [*stream, "--serve", "127.0.0.1:0"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        line = next(line for line in process.stderr if line.startswith("dashboard: "))
        address = f"{line.split()[1].partition('?')[0]}metrics"
        answers = subprocess.run([*health, address], env=environment, check=False)
        refuses = subprocess.run([*health, address], capture_output=True, text=True, check=False)
        process.terminate()
        process.communicate()
    gone = subprocess.run([*health, address], env=environment, capture_output=True, text=True, check=False)
    assert answers.returncode == 0
    assert (refuses.returncode, refuses.stderr) == (1, "no answer of the dashboard: HTTP Error 401: Unauthorized\n")
    assert gone.returncode == 1


@pytest.mark.skipif(
    "METFA_IMAGE" not in os.environ, reason="METFA_IMAGE=1 has the steps of the CPU's image run, from PyPI"
)
def test_the_steps_of_the_image_for_cpus_install_a_stream(tmp_path: Path) -> None:
    """As the image's: in an empty environment elsewhere than in /opt/metfa, with this Python."""
    _, build, image = read("Dockerfile")
    source, installed = tmp_path / "source", tmp_path / "metfa"
    source.mkdir()
    for name, arguments in build:
        written = arguments.replace("${ENGINE}", "cpu").replace("/opt/metfa", str(installed))
        if name == "COPY":
            *sources, target = written.split()
            for each in sources:
                copy(ROOT / each, source / target)
        elif name == "RUN":
            command = written.replace("python3", sys.executable)
            subprocess.run(["sh", "-euc", command], cwd=source, check=True)
    assert image[-1] == Instruction(
        "CMD",
        '["metfa-stream", "--bundle", "/bundle", "--device", "/dev/video0", "--no-window", "--serve", "0.0.0.0:8080"]',
    )
    environment = {"PATH": str(installed / "bin"), "HOME": str(tmp_path)}
    said = subprocess.run(["metfa", "doctor"], env=environment, capture_output=True, text=True, check=True).stdout
    assert re.search(r"^  cpu +yes: ONNX Runtime", said, re.MULTILINE)
    assert re.search(r"^  web +yes: h11", said, re.MULTILINE)


def copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)
