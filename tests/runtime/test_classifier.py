from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from metfa.runtime import Bundle, ModelContract, PlaneClassifier, Region
from metfa.runtime.backends import Inference
from metfa.runtime.backends.choice import load_backend
from metfa.runtime.bundle import directory as bundles
from metfa.runtime.errors import BackendError, BundleError, SourceError
from metfa.runtime.imaging.images import read_image

from .conftest import LABELS, grey, make_bundle, make_contract, make_onnx

if TYPE_CHECKING:
    from numpy.typing import NDArray


@pytest.mark.parametrize(("level", "label"), [(0, "dark"), (127, "grey"), (255, "bright")])
def test_the_label_is_that_of_the_model(bundle: Path, level: int, label: str) -> None:
    prediction = PlaneClassifier.load(bundle)(grey(level))
    assert prediction.label == label
    assert prediction.confidence == prediction.probabilities.max()
    assert prediction.probabilities.shape == (len(LABELS),)
    assert prediction.probabilities.dtype == np.float32
    assert prediction.probabilities.sum() == pytest.approx(1)
    assert prediction.embedding == pytest.approx([level / 255])


def run_readme(directory: Path) -> subprocess.CompletedProcess[str]:
    """Run the README's Python, as it is, in ``directory``."""
    readme = Path(__file__).parents[2].joinpath("README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)


def test_the_readme_runs_and_says_what_is_missing(tmp_path: Path, contract: ModelContract) -> None:
    assert "BundleError: expected a bundle in runs/metfa, received no such directory" in run_readme(tmp_path).stderr
    make_bundle(tmp_path / "runs" / "metfa", contract)
    last_line = run_readme(tmp_path).stderr.splitlines()[-1]
    assert last_line == (
        "metfa.runtime.errors.SourceError: expected to be able to read frame.png, received No such file or directory; "
        "correct its permissions or the path"
    )
    assert cv2.imwrite(str(tmp_path / "frame.png"), grey(255))
    result = run_readme(tmp_path)
    assert (result.stdout.split()[0], result.stderr) == ("bright", "")


@pytest.mark.parametrize("image", [None, "frame.png", [[0, 1], [2, 3]]])
def test_what_is_no_array_is_refused_with_the_function_that_makes_one(bundle: Path, image: Any) -> None:
    with pytest.raises(SourceError, match=r"received an object of type \w+; read it with metfa\.runtime\.read_image"):
        PlaneClassifier.load(bundle)(image)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_what_is_not_finite_is_no_prediction(contract: ModelContract, broken: float) -> None:
    class Overflowing:
        description, artefact, concurrency = "an engine in FP16", "", 1

        def infer(self, frames: NDArray[np.uint8]) -> Inference:
            logits = np.zeros((len(frames), len(LABELS)), np.float32)
            logits[0, 1] = broken
            return Inference(logits, np.zeros((len(frames), 1), np.float32))

    with pytest.raises(BackendError, match=rf"an engine in FP16, received the logits .*{broken}.*--precision fp32"):
        PlaneClassifier(contract, Overflowing())(grey(0))


def test_only_the_region_counts(bundle: Path) -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    image[10:50, 20:60] = 255
    assert PlaneClassifier.load(bundle, region=Region(20, 10, 40, 40))(image).label == "bright"
    assert PlaneClassifier.load(bundle)(image).label == "dark"


def test_the_choice_is_short_and_explained_beside_it(bundle: Path) -> None:
    classifier = PlaneClassifier.load(bundle)
    assert classifier.backend_choice.endswith(" on the CPU, model.onnx")
    assert [refusal.split()[:2] for refusal in classifier.backend_refusals] == [["not", "tensorrt:"], ["not", "cuda:"]]
    assert PlaneClassifier.load(bundle, backend="cpu").backend_refusals == ()


def test_an_engine_that_is_not_there_cannot_be_asked_for(bundle: Path) -> None:
    with pytest.raises(BackendError, match="expected a TensorRT engine in FP16"):
        load_backend(Bundle.open(bundle), "tensorrt")


def test_a_precision_that_is_not_there_cannot_be_asked_for(bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"model\.fp16\.onnx"):
        load_backend(Bundle.open(bundle), "cpu", "fp16")


@pytest.mark.parametrize("content", [b"", b"no model", make_onnx(make_contract())[:-100]], ids=["empty", "text", "cut"])
def test_what_is_no_model_is_refused(bundle: Path, content: bytes) -> None:
    with bundles.updating(bundle, keep=lambda _: True) as stage:
        (stage / bundles.ONNX).write_bytes(content)
    with pytest.raises(BundleError, match="export the bundle again with metfa-export"):
        PlaneClassifier.load(bundle)


def test_the_model_of_another_contract_is_refused(bundle: Path) -> None:
    with bundles.updating(bundle, keep=lambda _: True) as stage:
        (stage / bundles.ONNX).write_bytes(make_onnx(make_contract(("a", "b"))))
    with pytest.raises(BackendError, match="a model with another contract"):
        PlaneClassifier.load(bundle)


@pytest.mark.skipif("METFA_DATA" not in os.environ, reason="METFA_DATA does not name the folder of real data")
def test_real_frames_fit_through(bundle: Path, contract: ModelContract) -> None:
    classifier = PlaneClassifier.load(bundle, region=Region(81, 115, 793, 619))
    frames = sorted(Path(os.environ["METFA_DATA"], "sononet", "frames").iterdir())
    assert {classifier(read_image(frame)).label for frame in frames} <= set(contract.labels)
