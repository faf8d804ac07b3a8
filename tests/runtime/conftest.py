"""A small real bundle, pictures and clips."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from metfa.runtime import Decision, Frame, ModelIdentity, Observation, Prediction
from metfa.runtime.bundle import directory as bundles
from metfa.runtime.bundle.contract import (
    METADATA_KEY,
    SCHEMA,
    DecisionSpec,
    InputSpec,
    ModelContract,
    Normalisation,
    Provenance,
    Region,
)
from metfa.runtime.imaging.preprocess import to_grey

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from metfa.runtime.imaging.coded import Image

LABELS = ("dark", "grey", "bright")


def make_contract(labels: tuple[str, ...] = LABELS) -> ModelContract:
    return ModelContract(
        schema=SCHEMA,
        labels=labels,
        embedding=1,
        input=InputSpec(
            height=32, width=40, resize="halve-linear", normalisation=Normalisation("fixed", 1 / 255, 0.0), region=None
        ),
        decision=DecisionSpec(temperature=1.0, rejection=None, background=()),
        provenance=Provenance(software="tests", method="brightness", source="grey levels", target=None),
    )


def make_onnx(contract: ModelContract) -> bytes:
    """Return a model whose embedding is the mean grey level in [0, 1], and which has one class for each part of it."""
    centres = np.linspace(0, 1, len(contract.labels), dtype=np.float32)
    # −(x − c)² = −x² + 2cx − c²; the first term is the same for all classes.
    constants: dict[str, NDArray[Any]] = {
        "scale": np.array(contract.input.normalisation.scale, np.float32),
        "weights": 100 * 2 * centres[np.newaxis],
        "bias": -100 * centres**2,
        "axes": np.array([1, 2, 3], np.int64),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["frame"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["float", "scale"], ["scaled"]),
            helper.make_node("ReduceMean", ["scaled", "axes"], ["mean"], keepdims=0),
            helper.make_node("Unsqueeze", ["mean", "last"], ["embedding"]),
            helper.make_node("Gemm", ["embedding", "weights", "bias"], ["logits"]),
        ],
        "brightness",
        [
            helper.make_tensor_value_info(
                "frame", TensorProto.UINT8, ["N", 1, contract.input.height, contract.input.width]
            )
        ],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(contract.labels)]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", 1]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()]
        + [numpy_helper.from_array(np.array([1], np.int64), "last")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, {METADATA_KEY: contract.to_json()})
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def make_bundle(directory: Path, contract: ModelContract) -> Path:
    with bundles.updating(directory, keep=lambda _: False) as stage:
        (stage / bundles.CONTRACT).write_text(contract.to_json(), encoding="utf-8")
        (stage / bundles.ONNX).write_bytes(make_onnx(contract))
    return directory


@pytest.fixture
def contract() -> ModelContract:
    return make_contract()


@pytest.fixture
def bundle(tmp_path: Path, contract: ModelContract) -> Path:
    return make_bundle(tmp_path / "bundle", contract)


def grey(level: int, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    return np.full((height, width), level, np.uint8)


def make_prediction(label: str, probabilities: NDArray[np.float32], picture: NDArray[np.uint8]) -> Prediction:
    nothing = np.zeros(2, np.float32)
    return Prediction(label, float(probabilities.max()), probabilities, nothing, np.log(probabilities), picture)


def make_observation(
    frame: Frame, prediction: Prediction, *, plane: str | None = None, latency: float = 0.0125, time: float = 0.0
) -> Observation:
    decision = Decision("plane" if plane else "no plane", plane, prediction.confidence)
    return Observation(frame, prediction, decision, time, frame.captured_at + latency)


class FakeClassifier:
    """A function in the place of a model; notes how often it was told to restart."""

    def __init__(
        self, classify: Callable[[NDArray[np.uint8]], Prediction], contract: ModelContract, *, concurrency: int = 1
    ) -> None:
        self.contract = contract
        self.concurrency = concurrency
        self.identity = ModelIdentity("", "a function")
        self.restarts = 0
        self._classify = classify

    @property
    def current(self) -> FakeClassifier:
        return self

    def locate(self, image: Image, declared: Region | None = None) -> Region | None:
        return declared

    def prepare(self, image: Image, region: Region | None) -> NDArray[np.uint8]:
        return to_grey(image)

    def classify(self, picture: NDArray[np.uint8]) -> Prediction:
        return self._classify(picture)

    def restart(self) -> None:
        self.restarts += 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures, one for each label, in the order of the labels."""
    directory = tmp_path / "pictures of a scan"
    directory.mkdir()
    for name, level in (("1 dark.png", 5), ("2 grey.png", 98), ("3 bright.png", 189)):
        texture = np.random.default_rng(0).integers(level, level + 60, (48, 64), np.uint8)
        assert cv2.imwrite(str(directory / name), texture)
    (directory / "notes.txt").write_text("no picture")
    return directory


def write_clip(path: Path, frames: int, *, height: int = 48, width: int = 64, rate: float = 25.0) -> Path:
    """Write a clip of random pictures; its suffix says which container."""
    codec = cv2.VideoWriter.fourcc(*("MJPG" if path.suffix == ".avi" else "mp4v"))
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, codec, rate, (width, height))
    random = np.random.default_rng(0)
    for _ in range(frames):
        writer.write(random.integers(0, 255, (height, width, 3), np.uint8))
    writer.release()
    return path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mp4", frames=30)
