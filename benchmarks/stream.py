"""How much ``metfa-stream`` adds to decoding and inference, measured side by side in one process.

::

    python -m benchmarks.stream --bundle runs/metfa
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import click
import cv2
import numpy as np

from metfa.runtime import Bundle, Observation, PlaneClassifier, Source, StreamStatistics, open_source, stream
from metfa.runtime.backends import Inference
from metfa.runtime.backends.choice import load_backend
from metfa.runtime.bundle import DEFAULT_DIRECTORY
from metfa.runtime.command import Command
from metfa.runtime.files import sha256, write_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from metfa.runtime import Frame, ModelContract
    from metfa.runtime.backends import Backend
    from metfa.runtime.contract import InputSpec

_WARM_UP = 20  # frames at the beginning of a pass that are not timed: threads start, buffers are filled


@click.command(cls=Command)
@click.option("--bundle", "directory", type=click.Path(path_type=Path), default=DEFAULT_DIRECTORY, show_default=True)
@click.option("--clip", type=click.Path(path_type=Path), help="A video; by default one of 1280x720 pixels is made.")
@click.option("--repetitions", type=click.IntRange(min=1), default=7, show_default=True)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("benchmarks/results/stream.json"),
    show_default=True,
)
def main(directory: Path, clip: Path | None, repetitions: int, output: Path) -> None:
    """Time a frame of bare decoding, of bare inference and of the stream, in turns."""
    bundle = Bundle.open(directory)
    backend, choice = load_backend(bundle)
    classifier = PlaneClassifier(bundle.contract, backend)
    with tempfile.TemporaryDirectory() as temporary:
        video = clip or make_clip(Path(temporary, "clip.mp4"))
        frames = _time_decoding(video)[0]
        times: dict[str, list[float]] = {"decode": [], "inference": [], "stream": [], "rest (CPU)": []}
        for _ in range(repetitions):
            times["decode"].append(_time_decoding(video)[1])
            times["inference"].append(_time_inference(backend, bundle.contract.input, frames))
            times["stream"].append(_time_stream(video, classifier))
            times["rest (CPU)"].append(_time_rest(video, classifier))
        source = {"clip": str(clip) if clip else "synthetic", "frames": frames, "sha256": sha256(video)}
        with open_source(str(video)) as opened:
            source["description"] = opened.description.replace(str(video), video.name)
    medians = {name: median(values) for name, values in times.items()}
    ratio = medians["stream"] / (medians["decode"] + medians["inference"])
    report = {
        "benchmark": "stream",
        "host": host(),
        "backend": choice,
        "artefacts": {name: hash_ for name, hash_ in bundle.files.items() if name.endswith((".onnx", ".engine"))},
        "source": source,
        "repetitions": repetitions,
        "ms_per_frame": times,
        "median_ms_per_frame": medians,
        "stream_to_decode_plus_inference": ratio,
    }
    write_text(output, json.dumps(report, indent=2) + "\n")
    click.echo(f"{choice}\n{source['description']}\n")
    for name, value in medians.items():
        values = times[name]
        click.echo(f"{name:10} {value:8.2f} ms a frame   ({min(values):.2f} to {max(values):.2f})")
    click.echo(f"\nstream / (decode + inference) = {ratio:.2f}")


def make_clip(path: Path, frames: int = 200) -> Path:
    """Write a 1280×720 clip of a speckled sector that moves, about as hard to decode as ultrasound."""
    height, width = 720, 1280
    random = np.random.default_rng(0)
    speckle = cv2.GaussianBlur(random.rayleigh(60, (height, width + 2 * frames)).astype(np.float32), (0, 0), 2.5)
    sector = np.zeros((height, width), np.float32)
    cv2.ellipse(sector, (width // 2, -60), (740, 740), 90, -38, 38, 1.0, -1)
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), 30, (width, height))
    for index in range(frames):
        grey = (speckle[:, 2 * index : 2 * index + width] * sector).astype(np.uint8)
        writer.write(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR))
    writer.release()
    return path


def _time_decoding(video: Path) -> tuple[int, float]:
    """Return the number of frames and the milliseconds that OpenCV takes to decode one."""
    capture = cv2.VideoCapture(str(video), cv2.CAP_FFMPEG)
    frames, began = 0, 0.0
    while capture.read()[0]:
        frames += 1
        if frames == _WARM_UP:
            began = time.perf_counter()
    elapsed = time.perf_counter() - began
    capture.release()
    return frames, 1000 * elapsed / (frames - _WARM_UP)


def _time_inference(backend: Backend, size: InputSpec, frames: int) -> float:
    """Return the milliseconds that the backend takes for one frame that is already the model's input."""
    tensor = np.random.default_rng(0).integers(0, 256, (1, 1, size.height, size.width), np.uint8)
    for _ in range(_WARM_UP):
        backend.infer(tensor)
    began = time.perf_counter()
    for _ in range(frames - _WARM_UP):
        backend.infer(tensor)
    return 1000 * (time.perf_counter() - began) / (frames - _WARM_UP)


def _time_stream(video: Path, classifier: PlaneClassifier) -> float:
    """Return the milliseconds from one observation to the next, with all that metfa-stream does for each frame."""
    statistics = StreamStatistics()
    decided_at = []
    with open_source(str(video)) as source, closing(stream(source, classifier)) as items:
        for item in items:
            statistics.add(item)
            if isinstance(item, Observation):
                decided_at.append(item.decided_at)
    return 1000 * (decided_at[-1] - decided_at[_WARM_UP]) / (len(decided_at) - 1 - _WARM_UP)


class _Repeated(Source):
    """A few decoded frames of a video, again and again."""

    live = False
    rate = 30.0
    description = "a few frames"

    def __init__(self, video: Path, number: int) -> None:
        with open_source(str(video)) as source:
            self._frames = list(islice(source, 8))
        self._number = number

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self._number):
            yield replace(self._frames[index % 8], index=index, captured_at=time.monotonic())


class _Instant:
    """A backend that takes no time."""

    description = "instant"
    artefact = ""

    def __init__(self, contract: ModelContract) -> None:
        self._inference = Inference(
            np.zeros((1, len(contract.labels)), np.float32), np.zeros((1, contract.embedding), np.float32)
        )

    def infer(self, frames: NDArray[np.uint8]) -> Inference:
        return self._inference


def _time_rest(video: Path, classifier: PlaneClassifier, frames: int = 400) -> float:
    """Return the milliseconds of CPU, in all threads, of a frame but for decoding and inference, without sinks."""
    statistics = StreamStatistics()
    instant = PlaneClassifier(classifier.contract, _Instant(classifier.contract))
    with _Repeated(video, frames) as source:
        began = time.process_time()
        for item in stream(source, instant):
            statistics.add(item)
        return 1000 * (time.process_time() - began) / frames


def host() -> dict[str, str | int | None]:
    """Return what a record says of the machine."""
    return {
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "opencv": cv2.__version__,
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
