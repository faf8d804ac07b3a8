"""What decisions are worth on scans whose truth is known: the phantom sweeps over planes and what lies between them.

::

    python -m benchmarks.decisions
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import matplotlib
import numpy as np

from metfa.runtime import Bundle, DecisionSpec, Frame, PlaneClassifier, Prediction
from metfa.runtime.bundle.directory import ONNX
from metfa.runtime.command import Command
from metfa.runtime.decisions.decider import Decider, is_rejected
from metfa.runtime.files import replacing, write_text
from metfa.runtime.phantom import BACKGROUND, PLANES, Phantom, load_profile
from metfa.runtime.phantom.scan import FRAMES_PER_SECOND
from metfa.training.evaluation.figures import class_colours
from metfa.training.evaluation.scores import calibration

from .commands import make_bundle
from .machine import host
from .rejection import compare_scores

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from matplotlib.axes import Axes

    from metfa.runtime import ModelContract

OPTIONS = ("--target", "phantom:B?scans=12")
"""Of ``metfa-train``: from labelled stills of device A to unlabelled frames of live scans of device B, by default."""

DEVICE = "B"
FIRST_SEED = 600
"""Of the scans. Others were trained on; settings are chosen on those of ``benchmarks.settings``."""

TRANSITION = 9
"""Frames on either side of a change of the truth that may lie between two slices, and be a little of both."""

_EACH_FRAME, _DECISIONS = "each frame", "decisions"


class Scan(NamedTuple):
    """What the model says of each frame of a scan, and which plane it shows in truth."""

    predictions: list[Prediction]
    truth: list[str | None]


class Recorded(NamedTuple):
    """A scan, and the contract of the model that labelled it."""

    scan: Scan
    contract: ModelContract


@dataclass(frozen=True, slots=True)
class Quality:
    """How well what is shown agrees with the truth.

    An event is a run of frames with one label. It is right if it overlaps with a run of that plane in the truth; of
    several that overlap with the same one, only the first is.

    Attributes:
        events: how many there were.
        precision: share of them that are right; 1 where there is none.
        recall: share of the truth's that were found.
        false_per_minute: events that are not right, per minute.
        seconds_to_detection: median time from the beginning of a plane to its label, of those that were found; None
            where none was.
        labelled_background: share of the frames without a plane that have a label.
        wrong_label: share of the frames with a plane that have another plane's label.
    """

    events: int
    precision: float
    recall: float
    false_per_minute: float
    seconds_to_detection: float | None
    labelled_background: float
    wrong_label: float


@click.command(cls=Command)
@click.option(
    "--bundles",
    "directory",
    type=click.Path(path_type=Path),
    default=Path("runs/settings"),
    show_default=True,
    help="Bundles SEED of the phantom's planes; those that are not there are trained and exported.",
)
@click.option("--seeds", type=click.IntRange(min=1), default=2, show_default=True, help="How many networks.")
@click.option("--scans", type=click.IntRange(min=3), default=4, show_default=True)
@click.option("--seconds", type=click.IntRange(min=10), default=45, show_default=True, help="Of each scan.")
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("benchmarks/results/decisions.json"), show_default=True
)
@click.option("--figure", type=click.Path(path_type=Path), default=Path("docs/images/decisions.png"), show_default=True)
def main(directory: Path, seeds: int, scans: int, seconds: int, output: Path, figure: Path) -> None:
    """Score labels of each frame by itself, and what is decided, by each of SEEDS networks on SCANS scans."""
    classifiers = load_classifiers(directory, seeds)
    by_scan = [record(classifiers, FIRST_SEED + number, seconds) for number in range(scans)]
    recorded = [
        Recorded(scan, classifier.contract)
        for of_scan in by_scan
        for scan, classifier in zip(of_scan, classifiers, strict=True)
    ]
    rejects = any(each.contract.decision.rejection for each in recorded)
    shown = {
        name: [system(each) for each in recorded]
        for name, system in SYSTEMS.items()
        if rejects or name in {_EACH_FRAME, _DECISIONS}
    }
    qualities = {
        name: [judge(labelled, each.scan.truth) for labelled, each in zip(of_system, recorded, strict=True)]
        for name, of_system in shown.items()
    }
    report = {
        "benchmark": "decisions",
        "host": host(),
        "training": f"metfa-train {' '.join(OPTIONS)}, seeds 0 to {seeds - 1}",
        "networks": [
            {"model_sha256": Bundle.open(directory / str(seed)).files[ONNX], "decision": asdict(each.contract.decision)}
            for seed, each in enumerate(classifiers)
        ],
        "scans": {"device": f"phantom:{DEVICE}", "first_seed": FIRST_SEED, "number": scans, "seconds": seconds},
        "order": "scan by scan, of each the networks",
        "planes_in_truth": [len(runs(of_scan[0].truth)) for of_scan in by_scan],
        "systems": {name: [asdict(quality) for quality in each] for name, each in qualities.items()},
        "rejection": [compare_on_scan(*each) for each in recorded],
        "rejection_without_transitions": [
            compare_on_scan(without_transitions(scan), contract) for scan, contract in recorded
        ],
        "calibration_error": {
            "as trained": [_calibration_error(each, 1.0) for each in recorded],
            "calibrated": [_calibration_error(each, each.contract.decision.temperature) for each in recorded],
        },
    }
    write_text(output, json.dumps(report, indent=2) + "\n")
    _say(report, qualities)
    strips = {"truth": by_scan[0][0].truth, _EACH_FRAME: shown[_EACH_FRAME][0], _DECISIONS: shown[_DECISIONS][0]}
    _draw(strips, qualities, figure)


def load_classifiers(directory: Path, seeds: int) -> list[PlaneClassifier]:
    """Return so many networks, trained with seeds from 0 on where they are not in the directory yet."""
    for seed in range(seeds):
        make_bundle(directory / str(seed), *OPTIONS, "--seed", seed, export=True)
    return [PlaneClassifier.load(directory / str(seed), backend="cpu") for seed in range(seeds)]


def record(classifiers: Sequence[PlaneClassifier], seed: int, seconds: int) -> list[Scan]:
    """Return what each of the classifiers, which see alike, says of the frames of one scan."""
    predictions: list[list[Prediction]] = [[] for _ in classifiers]
    truth: list[str | None] = []
    frames = islice(Phantom(load_profile(DEVICE)).scan(seed), seconds * FRAMES_PER_SECOND)
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
    _EACH_FRAME: partial(_each_frame, rejects=False),
    "each frame, rejection": partial(_each_frame, rejects=True),
    "decisions, no rejection": partial(_decisions, rejects=False),
    _DECISIONS: partial(_decisions, rejects=True),
}


def decide(scan: Scan, spec: DecisionSpec, labels: Sequence[str]) -> list[str | None]:
    """Return what is decided on each frame: a plane, or None."""
    decider = Decider(spec, labels)
    shown = []
    for index, prediction in enumerate(scan.predictions):
        time = index / FRAMES_PER_SECOND
        decision, _ = decider(Frame(prediction.picture, index, time, DEVICE), prediction, time)
        shown.append(decision.plane)
    return shown


class Run(NamedTuple):
    """Successive frames with one label."""

    label: str
    first: int  # number of its first frame
    end: int  # number of the frame after its last


def runs(shown: Sequence[str | None]) -> list[Run]:
    """Return the runs of frames with one label."""
    found = []
    for label, group in groupby(range(len(shown)), key=shown.__getitem__):
        indices = list(group)
        if label is not None:
            found.append(Run(label, indices[0], indices[-1] + 1))
    return found


def judge(shown: Sequence[str | None], truth: Sequence[str | None]) -> Quality:
    """Compare what is shown on each frame, a plane or None, with the truth, which has both."""
    events, delays = runs(shown), []
    planes = runs(truth)
    for plane in planes:
        found = [
            event.first
            for event in events
            if event.label == plane.label and event.first < plane.end and plane.first < event.end
        ]
        if found:
            delays.append(max(found[0] - plane.first, 0) / FRAMES_PER_SECOND)
    pairs = list(zip(shown, truth, strict=True))
    return Quality(
        events=len(events),
        precision=len(delays) / len(events) if events else 1.0,
        recall=len(delays) / len(planes),
        false_per_minute=(len(events) - len(delays)) / (len(truth) / FRAMES_PER_SECOND / 60),
        seconds_to_detection=median(delays) if delays else None,
        labelled_background=mean(label is not None for label, true in pairs if true is None),
        wrong_label=mean(label not in {None, true} for label, true in pairs if true is not None),
    )


def compare_on_scan(scan: Scan, contract: ModelContract) -> dict[str, dict[str, float]]:
    """Compare the scores that frames can be rejected by, on frames of planes and those between them."""
    pairs = list(zip(*scan, strict=True))
    planes, others = ([each for each, true in pairs if (true is None) == between] for between in (False, True))
    background = [contract.labels.index(label) for label in contract.decision.background]
    return compare_scores(planes, others, background)


def without_transitions(scan: Scan) -> Scan:
    """Return the scan without the frames that may be a little of a plane and a little of background."""
    changes = [number for number in range(1, len(scan.truth)) if scan.truth[number] != scan.truth[number - 1]]
    near = {number for change in changes for number in range(change - TRANSITION, change + TRANSITION)}
    kept = [pair for number, pair in enumerate(zip(*scan, strict=True)) if number not in near]
    return Scan([prediction for prediction, _ in kept], [true for _, true in kept])


def _calibration_error(recorded: Recorded, temperature: float) -> float:
    """Return the expected calibration error on the frames of planes."""
    pairs = [(prediction, true) for prediction, true in zip(*recorded.scan, strict=True) if true is not None]
    scaled = np.stack([prediction.logits for prediction, _ in pairs]).astype(np.float64) / temperature
    exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    confidence = (exponentials / exponentials.sum(axis=1, keepdims=True)).max(axis=1)
    correct = np.array([prediction.label == true for prediction, true in pairs])
    return float(calibration(confidence, correct).expected_error)


def _spread(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "none"
    return f"{mean(known):.2f} ({min(known):.2f} to {max(known):.2f})"


_COLUMNS: Mapping[str, str] = {
    "precision": "precision",
    "recall": "recall",
    "false_per_minute": "false/min",
    "seconds_to_detection": "delay, s",
    "labelled_background": "background labelled",
    "wrong_label": "wrong plane",
}


def _say(report: Mapping[str, Any], qualities: Mapping[str, Sequence[Quality]]) -> None:
    """Print mean, least and most over the scans."""
    width = max(map(len, qualities))
    click.echo(f"\n{'':{width}}  " + "  ".join(f"{title:>22}" for title in _COLUMNS.values()))
    for name, each in qualities.items():
        cells = (_spread([getattr(quality, column) for quality in each]) for column in _COLUMNS)
        click.echo(f"{name:{width}}  " + "  ".join(f"{cell:>22}" for cell in cells))
    for key in ("rejection", "rejection_without_transitions"):
        for score in report[key][0]:
            click.echo(f"{key}, AUROC of {score}: {_spread([each[score]['auroc'] for each in report[key]])}")
    for key, each in report["calibration_error"].items():
        click.echo(f"calibration error {key}: {_spread(each)}")


def _draw(strips: Mapping[str, Sequence[str | None]], qualities: Mapping[str, Sequence[Quality]], path: Path) -> None:
    """Draw what is shown in the course of one scan, and the scores of all."""
    matplotlib.use("agg")
    from matplotlib import pyplot as plt
    from matplotlib.patches import Patch

    colours = dict(zip(PLANES, class_colours(len(PLANES)), strict=True))
    figure = plt.figure(figsize=(12, 5.6), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=[1.15, 1])  # type: ignore[misc]  # two, as asked for
    rows: Sequence[Axes] = above.subplots(len(strips), 1, sharex=True)
    for axes, (name, shown) in zip(rows, strips.items(), strict=True):
        for label, first, end in runs(shown):
            axes.axvspan(first / FRAMES_PER_SECOND, end / FRAMES_PER_SECOND, color=colours[label], linewidth=0)
        axes.set_yticks([])
        axes.set_ylabel(name, rotation=0, ha="right", va="center")
        axes.set_xlim(0, len(shown) / FRAMES_PER_SECOND)
    rows[-1].set_xlabel("seconds of a scan of the phantom with device B; white: no label")
    above.legend(handles=[Patch(color=colour, label=plane) for plane, colour in colours.items()], loc="outside right")
    columns = ("precision", "recall", "false_per_minute", "labelled_background")
    for axes, column in zip(below.subplots(1, len(columns)), columns, strict=True):
        for place, each in enumerate(qualities.values()):
            values = [getattr(quality, column) for quality in each]
            axes.barh(place, mean(values), color="#56B4E9" if place < len(qualities) - 1 else "#0072B2", height=0.65)
            axes.plot(values, [place] * len(values), "o", color="#222222", markersize=3)
        axes.set_yticks(range(len(qualities)), qualities if column == columns[0] else [""] * len(qualities))
        axes.invert_yaxis()
        axes.set_title(
            {"false_per_minute": "false events per minute"}.get(column, column.replace("_", " ")), fontsize=10
        )
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlim(left=0)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=90)
    plt.close(figure)


if __name__ == "__main__":
    main()
