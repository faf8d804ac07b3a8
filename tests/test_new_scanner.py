"""From a scanner that the model does not know to a service that knows it: the example, as users run it."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from metfa.runtime import Bundle
from metfa.training.config import CONFIG
from metfa.training.data.readers import list_domain
from metfa.training.data.report import DATA
from metfa.training.outcome import EVALUATION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.processes import Interpreter

EXAMPLE = Path(__file__).parents[1] / "examples" / "new_scanner.sh"
COMMANDS = Path(sys.executable).parent
_SMALL = "--steps 20 --candidates 1 --threads 1 --device cpu --precision fp32 --images-per-class 2"
SMALL = _SMALL.split()
pytestmark = pytest.mark.skipif(shutil.which("sh") is None, reason="there is no shell")


def command(name: str, *arguments: object) -> list[str]:
    return [str(COMMANDS / name), *map(str, arguments)]


def draw(scanner: str, number: int) -> list[tuple[str, np.ndarray]]:
    """Stills of a scanner of the phantom, ``number`` of each class; those of a class are apart from each other."""
    by_class: dict[str, list[np.ndarray]] = {}
    for entry in list_domain(scanner).entries:
        of_class = by_class.setdefault(str(entry.label), [])
        if len(of_class) < number:
            of_class.append(np.asarray(next(iter(entry.medium.read()))))
    return [(label, frames[each]) for each in range(number) for label, frames in by_class.items()]


@pytest.fixture(scope="module")
def stills() -> list[tuple[str, np.ndarray]]:
    """Of scanner B, which plays the one that nobody has labels of."""
    return draw("phantom:B", 10)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    path = f"{COMMANDS}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONUNBUFFERED": "1"}


def label_all(address: str, frames: Path, stills: list[tuple[str, np.ndarray]]) -> int:
    """Answer as a person would who knows each frame, until every class has three; return how many answers it took."""
    greys = [still if still.ndim == 2 else cv2.cvtColor(still, cv2.COLOR_BGR2GRAY) for _, still in stills]
    with closing(http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)) as connection:
        answers, state = 0, None
        while state is None or (min(state["counts"]) < 3 and (state["queue"] or state["unsorted"])):
            if not (state and state["queue"]):  # it looks at the frames first
                connection.request("GET", "/state")
                state = json.loads(connection.getresponse().read())
                continue
            name = state["queue"][0]
            shown = cv2.imread(str(frames / name), cv2.IMREAD_GRAYSCALE)
            assert shown is not None
            distances = [float(np.abs(grey.astype(np.int16) - shown).mean()) for grey in greys]
            answer = {"name": name, "answer": stills[int(np.argmin(distances))][0], "before": None}
            connection.request("POST", "/answer", json.dumps(answer), {"Content-Type": "application/json"})
            response = connection.getresponse()
            state = json.loads(response.read())
            assert response.status == 200, state
            answers += 1
    assert min(state["counts"]) >= 3, state
    return answers


@pytest.fixture
def service(tmp_path: Path, environment: dict[str, str], interpreter: Interpreter) -> Iterator[subprocess.Popen[str]]:
    """A model of scanner A that serves; its images are gone."""
    for number, (label, image) in enumerate(draw("phantom:A", 8)):
        (tmp_path / "images" / label).mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(tmp_path / "images" / label / f"{number}.png"), image)
    model = ("--input-size", "28x28", "--preset", "small", "--method", "source-only")
    domains = ("--source", tmp_path / "images", "--target", tmp_path / "images")
    bundle = tmp_path / "A"
    cache = {"XDG_CACHE_HOME": environment["XDG_CACHE_HOME"]}
    train, export = "from metfa.training.cli.train import main; main()", "from metfa.export.cli import run; run()"
    trained = interpreter.run(train, *domains, *model, *SMALL, "--bundle", bundle, **cache)
    assert trained.returncode == 0, trained.stderr
    shutil.rmtree(tmp_path / "images")
    shutil.rmtree(tmp_path / "cache")
    exported = interpreter.run(export, bundle, **cache)
    assert exported.returncode == 0, exported.stderr
    shutil.copytree(bundle, tmp_path / "live")
    with subprocess.Popen(
        command("metfa-stream", "--bundle", tmp_path / "live", "--device", "phantom:B", "--no-window", "--watch"),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


def test_a_scanner_that_nobody_has_labels_of_is_adapted_to_and_served(
    tmp_path: Path,
    stills: list[tuple[str, np.ndarray]],
    environment: dict[str, str],
    service: subprocess.Popen[str],
) -> None:
    height, width = stills[0][1].shape[:2]
    recording = cv2.VideoWriter(str(tmp_path / "C.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 2, (width, height))
    for _, still in stills:
        recording.write(still if still.ndim == 3 else cv2.cvtColor(still, cv2.COLOR_GRAY2BGR))
    recording.release()

    work, live = tmp_path / "work", tmp_path / "live"
    example = subprocess.Popen(
        ["sh", EXAMPLE, tmp_path / "A", tmp_path / "C.avi", work, live, *SMALL],
        env={**environment, "SERVE": "127.0.0.1:0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert example.stdout is not None
    lines = []
    try:
        for line in example.stdout:
            lines.append(line)
            if line.startswith("labelling: "):
                answers = label_all(line.split()[1], work / "frames", stills)
                break
    finally:
        os.killpg(example.pid, signal.SIGINT)
        said = "".join(lines) + example.communicate(timeout=300)[0]
    print(said)
    assert example.returncode == 0
    assert answers < len(stills)

    assert "These images look unlike those the model was trained on" in said
    adapted = Bundle.open(live)
    assert json.loads(adapted.read(CONFIG))["origin"]["chain"][0]["method"] == "source-only"
    assert set(json.loads(adapted.read(DATA))["labelled"].values()) >= {3}
    assert json.loads(adapted.read(EVALUATION))["source"] is None
    assert "model.fp16.onnx" in adapted.files
    assert Bundle.open(tmp_path / "live.old").files == Bundle.open(tmp_path / "A").files

    assert service.stderr is not None
    line = next(line for line in service.stderr if line.startswith("bundle: "))
    assert " serves in place of " in line
    service.send_signal(signal.SIGTERM)
    summary, _ = service.communicate(timeout=60)
    assert service.returncode == 0
    assert " frames, 0 dropped, " in summary or " frames, 1 dropped, " in summary
