"""What is made of the outputs for N frames, and what grows beside them: trials of a search, a collection.

Each function makes the inputs in a folder, and returns the work that is measured.
"""

from __future__ import annotations

from dataclasses import asdict
from types import SimpleNamespace
from typing import TYPE_CHECKING
from unittest import mock

import numpy as np
import optuna
from optuna.trial import TrialState, create_trial

from metfa.runtime.backends import Inference
from metfa.runtime.frame import Decision, Frame, Observation, Prediction
from metfa.runtime.sinks.collection import INTERVAL_SECONDS, CollectionLimit, CollectionSink
from metfa.training.calibration import calibrate
from metfa.training.comparison import JUDGED_FRAMES
from metfa.training.data.store import spread
from metfa.training.evaluation.figures import tsne
from metfa.training.evaluation.files import EMBEDDED_IMAGES
from metfa.training.evaluation.one_versus_rest import one_versus_rest
from metfa.training.evaluation.scores import calibration, rejection_curve, score
from metfa.training.selection.between import reverse_accuracy
from metfa.training.selection.validators import Validators, validate
from metfa.training.tuning import study as tuning
from metfa.training.tuning.trials import Model

from ..train.steps import configuration
from .data import CLASSES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

EMBEDDING = 64
KEPT_FRAMES = 50
SOUND = Validators(0.9, 0.01, 0.8, 0.8, 1.0, 0.3, -0.3, 2.0, 0.9)
MODEL = Model(1000, SOUND)


def validators(count: int, directory: Path) -> Callable[[], object]:
    """Compute every validator of one candidate."""
    said, _ = _outputs(count)
    return lambda: validate(said.probabilities, said.embedding, 0.9, 0.01)


def between_methods(count: int, directory: Path) -> Callable[[], object]:
    """Compute reverse accuracy and consistency of one method, on the frames that methods are judged on."""
    source, classes = _outputs(count)
    target, _ = _outputs(count)

    def work() -> None:
        chosen = spread(count, JUDGED_FRAMES)
        labels = target.logits[chosen].argmax(axis=1)
        reverse_accuracy(target.embedding[chosen], labels, source.embedding[chosen], classes[chosen])
        float(np.mean(labels == classes[chosen]))

    return work


def evaluate(count: int, directory: Path) -> Callable[[], object]:
    """Calibrate, and score as metfa-evaluate does."""
    said, true = _outputs(count)

    def work() -> None:
        decision = calibrate(CLASSES, said, true, said)
        probabilities = said.calibrated(decision.temperature)
        predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
        score(true, predicted, len(CLASSES))
        one_versus_rest(true, predicted, probabilities)
        calibration(confidence, predicted == true)
        rejection_curve(confidence, predicted == true)

    return work


def draw_embedding(count: int, directory: Path) -> Callable[[], object]:
    """Lay out the embeddings that the figure shows."""
    said, _ = _outputs(count)
    return lambda: tsne(said.embedding[spread(count, EMBEDDED_IMAGES)], 0)


def search(count: int, directory: Path) -> Callable[[], object]:
    """Open a study of N finished trials, and run one more, of which the training is left out."""
    config = configuration("metfa-v", "compact", (224, 288))
    random = np.random.default_rng(0)
    with tuning.open_study(config, directory / "study") as opened:
        begun = _run_trial(opened, count)
        (finished,) = begun.get_trials(deepcopy=False)
        begun.add_trials([_like(finished, number, random) for number in range(2, count + 1)])

    def work() -> None:
        with tuning.open_study(config, directory / "study") as opened:
            _run_trial(opened, count + 1)

    return work


def _run_trial(opened: tuning.Study, trials: int) -> optuna.Study:
    """Run the next trial, and return Optuna's study."""

    def develop(config: object, *_: object, on_candidate: Callable[[int, Validators], None]) -> object:
        for step in range(100, 1001, 100):
            on_candidate(step, SOUND)
        return SimpleNamespace(steps=[MODEL.step], validators=[SOUND], selected=0)

    with mock.patch.object(tuning, "develop", develop):
        opened.run_trial(mock.sentinel.pair, mock.sentinel.fabric, trials)
    return opened._study


def _like(finished: optuna.trial.FrozenTrial, number: int, random: np.random.Generator) -> optuna.trial.FrozenTrial:
    """Return a trial as if it had been run after another, with other parameters."""
    return create_trial(
        state=TrialState.COMPLETE,
        value=float(random.uniform(0.5, 0.9)),
        params={
            name: each.choices[random.integers(len(each.choices))]
            if isinstance(each, optuna.distributions.CategoricalDistribution)
            else float(random.uniform(each.low, each.high))  # type: ignore[attr-defined]
            for name, each in finished.distributions.items()
        },
        distributions=finished.distributions,
        user_attrs={**finished.user_attrs, "number": number, "model": asdict(MODEL)},
        intermediate_values=finished.intermediate_values,
    )


def collect(count: int, directory: Path) -> Callable[[], object]:
    """Offer frames of noise, half a second apart, to a collection of 50."""
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (1000, 48, 64), np.uint8)
    probabilities = random.dirichlet(np.ones(len(CLASSES)), 1000).astype(np.float32)

    def work() -> None:
        sink = CollectionSink(directory / "collected", CollectionLimit(frames=KEPT_FRAMES))
        for number in range(count):
            sink.write(_observe(number, pictures[number % 1000], probabilities[number % 1000]))
        sink.close()

    return work


def _observe(number: int, picture: NDArray[np.uint8], probabilities: NDArray[np.float32]) -> Observation:
    time = number * INTERVAL_SECONDS
    picture = np.roll(picture, number // 1000, axis=1)  # another one each time
    prediction = Prediction(
        CLASSES[0], 0.5, probabilities, np.zeros(2, np.float32), np.log(probabilities + 1e-9), picture
    )
    decision = Decision("plane", CLASSES[0], 0.5)
    return Observation(Frame(picture, number, time, "noise"), prediction, decision, time, time)


def _outputs(count: int) -> tuple[Inference, NDArray[np.int64]]:
    """Return outputs of a network that is mostly right, and the true classes."""
    random = np.random.default_rng(0)
    classes = random.integers(0, len(CLASSES), count)
    logits = random.normal(size=(count, len(CLASSES))).astype(np.float32)
    logits[np.arange(count), classes] += 3
    centres = random.normal(size=(len(CLASSES), EMBEDDING)).astype(np.float32)
    embedding = centres[classes] + random.normal(size=(count, EMBEDDING)).astype(np.float32)
    return Inference(logits, embedding), classes
