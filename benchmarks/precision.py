"""What FP16 and INT8 cost and gain on a CPU: size, agreement with PyTorch and latency, in turns in one process.

::

    python -m benchmarks.precision --bundle runs/metfa --preset paper

Nothing passes the gate here: what it would refuse is measured, too. TensorRT's INT8 graph is compared, but not timed.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import onnxruntime
import torch

from metfa.export.artefacts import load_model
from metfa.export.frames import FrameSet, calibration_frames, default_frames, read_frames
from metfa.export.gate import TOLERANCES
from metfa.export.graph import Model, deploy, export_onnx
from metfa.export.inspection import count_operations, inspect
from metfa.export.parity import measure, run_in_batches, run_module
from metfa.export.quantise import Quantiser, simulate
from metfa.runtime.backends import Inference
from metfa.runtime.benchmark.machine import host
from metfa.runtime.bundle.contract import SCHEMA, DecisionSpec, InputSpec, ModelContract, Provenance, software
from metfa.runtime.bundle.directory import ONNX, ONNX_FP16, ONNX_INT8, ONNX_INT8_TENSORRT, REFERENCE, Bundle
from metfa.runtime.command import Command
from metfa.runtime.files import write_text
from metfa.runtime.phantom import PLANES
from metfa.training.batch_norm import adopt_statistics
from metfa.training.development import NORMALISATION
from metfa.training.model import Network, NetworkConfig
from metfa.training.presets import PRESETS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from metfa.runtime.backends.choice import Precision

_SIZE = (224, 288)
_TURNS = 30
_PRECISIONS: dict[str, Precision] = {ONNX: "fp32", ONNX_FP16: "fp16", ONNX_INT8: "int8", ONNX_INT8_TENSORRT: "int8"}


@dataclass(frozen=True, slots=True)
class Subject:
    """What is measured.

    Attributes:
        name: for the table.
        model: the network.
        frames: to compare on.
        calibration: for the ranges of INT8.
    """

    name: str
    model: Model
    frames: tuple[FrameSet, ...]
    calibration: FrameSet


@click.command(cls=Command)
@click.option(
    "--bundle", "bundles", type=click.Path(path_type=Path), multiple=True, help="A trained model; repeatable."
)
@click.option(
    "--preset", "presets", type=click.Choice(list(PRESETS)), multiple=True, help="An untrained network; repeatable."
)
@click.option("--frames", default="phantom:B", show_default=True, help="For models without frames of their own.")
@click.option("--calibration", default="phantom:B", show_default=True, help="The same for the ranges of INT8.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("benchmarks/results/precision.json"),
    show_default=True,
)
def main(bundles: tuple[Path, ...], presets: tuple[str, ...], frames: str, calibration: str, output: Path) -> None:
    """Measure each model in every precision and print the rows of a table."""
    subjects = [_trained(directory, frames, calibration) for directory in bundles]
    subjects += [_untrained(preset) for preset in presets]
    report = {
        "benchmark": "precision",
        "host": host(),
        "onnxruntime": onnxruntime.__version__,
        "threads": 1,
        "turns": _TURNS,
        "models": {subject.name: _measure(subject) for subject in subjects},
    }
    write_text(output, json.dumps(report, indent=2) + "\n")
    click.echo(
        "| model | graph | size | top-1 | largest Δp | embedding | time of FP32's |\n|---|---|---|---|---|---|---|"
    )
    for name, measured in report["models"].items():
        for graph, row in measured["graphs"].items():
            ratio = "" if row["latency_ratio"] is None else f"{row['latency_ratio']:.2f}"
            click.echo(
                f"| {name} | {graph} | {row['bytes'] / 1e6:.2f} MB | {row['top1']:.1%} | "
                f"{row['probability_difference']:.1e} | {row['embedding_distance']:.1e} | {ratio} |"
            )


def _trained(directory: Path, frames: str, calibration: str) -> Subject:
    bundle = Bundle.open(directory)
    model, size = load_model(bundle), bundle.contract.input
    if REFERENCE in bundle.files:
        return Subject(directory.name, model, default_frames(bundle, size), calibration_frames(bundle))
    compared = (read_frames(frames, size, None),)
    return Subject(directory.name, model, compared, read_frames(calibration, size, None))


def _untrained(preset: str) -> Subject:
    """Return a network of random weights with batch-norm statistics of the phantom's frames."""
    torch.manual_seed(0)
    height, width = _SIZE
    encoder, embedding, *_ = PRESETS[preset]
    network = Network(NetworkConfig(height, width, len(PLANES), encoder, embedding, 0.05, NORMALISATION)).eval()
    size = InputSpec(height, width, "halve-linear", NORMALISATION, None)
    compared, calibration = (read_frames(spec, size, None, 24) for spec in ("phantom:B", "phantom:A"))
    adopt_statistics(network, compared.frames)
    contract = ModelContract(
        schema=SCHEMA,
        labels=PLANES,
        embedding=embedding,
        input=size,
        decision=DecisionSpec(temperature=1.0, rejection=None, background=()),
        provenance=Provenance(software(), "untrained", "none", None),
    )
    model = Model(network.eval(), partial(deploy, network), contract)
    return Subject(f"{preset}, untrained", model, (compared,), calibration)


def _measure(subject: Subject) -> dict[str, Any]:
    frames = np.concatenate([domain.frames for domain in subject.frames])
    expected = run_module(subject.model.network, frames)
    with tempfile.TemporaryDirectory() as temporary:
        paths = {name: Path(temporary, name) for name in _PRECISIONS}
        export_onnx(subject.model.deploy("fp32"), subject.model.contract, paths[ONNX])
        export_onnx(subject.model.deploy("fp16"), subject.model.contract, paths[ONNX_FP16])
        quantiser = Quantiser(paths[ONNX], subject.calibration.frames)
        quantiser.write("cpu", paths[ONNX_INT8])
        quantiser.write("tensorrt", paths[ONNX_INT8_TENSORRT])
        timed = [name for name in paths if name != ONNX_INT8_TENSORRT]
        times = dict(zip(timed, _time([paths[name] for name in timed], frames[:1]), strict=True))
        graphs = {}
        for name, path in paths.items():
            run = simulate(path) if name == ONNX_INT8_TENSORRT else _run(path)
            differences = measure(expected, run_in_batches(run, frames), tie=TOLERANCES[_PRECISIONS[name]].tie)
            inspection = inspect(path)
            graphs[name] = {
                "bytes": inspection.bytes,
                "parameters": inspection.parameters,
                "operations": count_operations(inspection),
                "top1": float(differences.agrees.mean()),
                "probability_difference": float(differences.probability.max()),
                "embedding_distance": float(differences.embedding.max()),
                "latency_ms": median(times[name]) * 1e3 if name in times else None,
                "latency_ratio": _ratio(times[name], times[ONNX]) if name in times else None,
            }
        size = subject.model.contract.input
        return {
            "input": [size.height, size.width],
            "macs": inspect(paths[ONNX]).macs,
            "frames": {domain.name: len(domain.frames) for domain in subject.frames},
            "calibration": len(subject.calibration.frames),
            "graphs": graphs,
        }


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _run(path: Path) -> Callable[[NDArray[np.uint8]], Inference]:
    session = _session(path)
    return lambda frames: Inference(*session.run(["logits", "embedding"], {"frame": frames}))


def _time(paths: Sequence[Path], frame: NDArray[np.uint8]) -> list[list[float]]:
    """Return the seconds of processor that one frame takes in each graph, in turns: other load hits all alike."""
    sessions = [_session(path) for path in paths]
    times: list[list[float]] = [[] for _ in paths]
    for turn in range(_TURNS + 3):
        for session, taken in zip(sessions, times, strict=True):
            began = time.process_time()
            session.run(None, {"frame": frame})
            if turn >= 3:  # memory is laid out in the first
                taken.append(time.process_time() - began)
    return times


def _ratio(times: Sequence[float], base: Sequence[float]) -> float:
    """Return the median over the turns of the ratio within a turn."""
    return median(one / other for one, other in zip(times, base, strict=True))


if __name__ == "__main__":
    main()
