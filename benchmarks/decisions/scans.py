"""Scans of the phantom as networks label them, and what is then shown, in four ways."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from metfa.runtime import DecisionSpec, Frame, PlaneClassifier, Prediction
from metfa.runtime.decisions.decider import Decider, is_rejected
from metfa.runtime.phantom import BACKGROUND, Phantom, load_profile
from metfa.runtime.phantom.scan import FRAMES_PER_SECOND
from metfa.training.cli.run_options import together

from ..commands import make_bundle

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from metfa.runtime import ModelContract

OPTIONS = ("--target", "phantom:B?scans=12")
"""Of ``metfa-train``: from labelled stills of scanner A to unlabelled frames of live scans of scanner B, by default."""

SCANNER = "B"
TRANSITION = 9
"""Frames on either side of a change of the truth that may lie between two slices, and be a little of both."""

EACH_FRAME, DECISIONS = "each frame", "decisions"


class Scan(NamedTuple):
    """What the model says of each frame of a scan, and which plane it shows in truth."""

    predictions: list[Prediction]
    truth: list[str | None]


class Recorded(NamedTuple):
    """A scan, and the contract of the model that labelled it."""

    scan: Scan
    contract: ModelContract


network_options = together(
    [
        click.option(
            "--bundles",
            "directory",
            type=click.Path(path_type=Path),
            default=Path("runs/settings"),
            show_default=True,
            help="Bundles SEED of the phantom's planes; those that are not there are trained and exported.",
        ),
        click.option("--seeds", type=click.IntRange(min=1), default=2, show_default=True, help="How many networks."),
        click.option("--seconds", type=click.IntRange(min=10), default=45, show_default=True, help="Of each scan."),
    ]
)
"""Which networks label the scans, and how much of each."""


def load_classifiers(directory: Path, seeds: int) -> list[PlaneClassifier]:
    """Return so many networks, trained with seeds from 0 on where they are not in the directory yet."""
    for seed in range(seeds):
        make_bundle(directory / str(seed), *OPTIONS, "--seed", seed, export=True)
    return [PlaneClassifier.load(directory / str(seed), backend="cpu") for seed in range(seeds)]


def record(classifiers: Sequence[PlaneClassifier], seed: int, seconds: int) -> list[Scan]:
    """Return what each of the classifiers, which see alike, says of the frames of one scan."""
    predictions: list[list[Prediction]] = [[] for _ in classifiers]
    truth: list[str | None] = []
    frames = islice(Phantom(load_profile(SCANNER)).scan(seed), seconds * FRAMES_PER_SECOND)
    with click.progressbar(frames, length=seconds * FRAMES_PER_SECOND, label=f"scan {seed}") as bar:
        for image, plane in bar:
            picture = classifiers[0].prepare(image, classifiers[0].locate(image))
            for said, classifier in zip(predictions, classifiers, strict=True):
                said.append(classifier.classify(picture))
            truth.append(None if plane == BACKGROUND else plane)
    return [Scan(said, truth) for said in predictions]


def _each_frame(recorded: Recorded, *, rejects: bool) -> list[str | None]:
    """Return the plane that each frame is taken for, if it is."""
    spec = recorded.contract.decision
    return [
        None
        if prediction.label in spec.background or (rejects and is_rejected(prediction, spec.rejection))
        else prediction.label
        for prediction in recorded.scan.predictions
    ]


def _decisions(recorded: Recorded, *, rejects: bool) -> list[str | None]:
    scan, contract = recorded
    spec = contract.decision
    return decide(scan, spec if rejects else replace(spec, rejection=None), contract.labels)


SYSTEMS: Mapping[str, Callable[[Recorded], list[str | None]]] = {
    EACH_FRAME: partial(_each_frame, rejects=False),
    "each frame, rejection": partial(_each_frame, rejects=True),
    "decisions, no rejection": partial(_decisions, rejects=False),
    DECISIONS: partial(_decisions, rejects=True),
}


def decide(scan: Scan, spec: DecisionSpec, labels: Sequence[str]) -> list[str | None]:
    """Return what is decided on each frame: a plane, or None."""
    decider = Decider(spec, labels)
    shown = []
    for index, prediction in enumerate(scan.predictions):
        time = index / FRAMES_PER_SECOND
        decision, _ = decider(Frame(prediction.picture, index, time, SCANNER), prediction, time)
        shown.append(decision.plane)
    return shown


def without_transitions(scan: Scan) -> Scan:
    """Return the scan without the frames that may be a little of a plane and a little of background."""
    changes = [number for number in range(1, len(scan.truth)) if scan.truth[number] != scan.truth[number - 1]]
    near = {number for change in changes for number in range(change - TRANSITION, change + TRANSITION)}
    kept = [pair for number, pair in enumerate(zip(*scan, strict=True)) if number not in near]
    return Scan([prediction for prediction, _ in kept], [true for _, true in kept])
