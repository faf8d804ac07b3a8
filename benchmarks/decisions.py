"""What decisions are worth on scans whose truth is known: the phantom sweeps over planes and what lies between them.

::

    python -m benchmarks.decisions
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from itertools import groupby, islice
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING, NamedTuple

import click
import matplotlib
import numpy as np

from metfa.runtime import Bundle, DecisionSpec, Frame, PlaneClassifier, Prediction
from metfa.runtime.bundle import ONNX
from metfa.runtime.command import Command
from metfa.runtime.decision import Decider, is_rejected
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

OPTIONS = ("--preset", "small", "--input-size", "56x72", "--steps", "800", "--seed", "0")
"""Of ``metfa-train``: a small network, from device A to device B, on one CPU core in minutes."""

DEVICE = "B"
FIRST_SEED = 600
"""Of the scans. Stills of other slices were trained on; settings are chosen on those of ``benchmarks.settings``."""

_EACH_FRAME, _DECISIONS = "each frame", "decisions"


class Scan(NamedTuple):
    """What the model says of each frame of a scan, and which plane it shows in truth."""

    predictions: list[Prediction]
    truth: list[str | None]


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
    "--bundle",
    "directory",
    type=click.Path(path_type=Path),
    default=Path("runs/decisions"),
    show_default=True,
    help="Of the phantom's planes; trained and exported where there is none.",
)
@click.option("--scans", type=click.IntRange(min=3), default=6, show_default=True)
@click.option("--seconds", type=click.IntRange(min=10), default=45, show_default=True, help="Of each scan.")
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("benchmarks/results/decisions.json"), show_default=True
)
@click.option("--figure", type=click.Path(path_type=Path), default=Path("docs/images/decisions.png"), show_default=True)
def main(directory: Path, scans: int, seconds: int, output: Path, figure: Path) -> None:
    """Score labels of each frame by itself, and what is decided, on SCANS scans."""
    make_bundle(directory, *OPTIONS, export=True)
    classifier = PlaneClassifier.load(directory, backend="cpu")
    spec, labels = classifier.contract.decision, classifier.contract.labels
    systems: dict[str, Callable[[Scan], list[str | None]]] = {
        _EACH_FRAME: lambda scan: [prediction.label for prediction in scan.predictions],
        "each frame, rejection": lambda scan: _each_frame(scan, spec),
        "decisions, no rejection": lambda scan: decide(scan, replace(spec, rejection=None), labels),
        _DECISIONS: lambda scan: decide(scan, spec, labels),
    }
    recorded = [record([classifier], FIRST_SEED + number, seconds)[0] for number in range(scans)]
    shown = {name: [system(scan) for scan in recorded] for name, system in systems.items()}
    qualities = {
        name: [judge(labelled, scan.truth) for labelled, scan in zip(each, recorded, strict=True)]
        for name, each in shown.items()
    }
    report = {
        "benchmark": "decisions",
        "host": host(),
        "training": f"metfa-train {' '.join(OPTIONS)}",
        "model_sha256": Bundle.open(directory).files[ONNX],
        "decision": asdict(spec),
        "scans": {"device": f"phantom:{DEVICE}", "first_seed": FIRST_SEED, "number": scans, "seconds": seconds},
        "planes_in_truth": [len(runs(scan.truth)) for scan in recorded],
        "systems": {name: [asdict(quality) for quality in each] for name, each in qualities.items()},
        "rejection": [compare_on_scan(scan) for scan in recorded],
        "calibration_error": {
            "as trained": [_calibration_error(scan, 1.0) for scan in recorded],
            "calibrated": [_calibration_error(scan, spec.temperature) for scan in recorded],
        },
    }
    write_text(output, json.dumps(report, indent=2) + "\n")
    _say(report, qualities)
    strips = {"truth": recorded[0].truth, _EACH_FRAME: shown[_EACH_FRAME][0], _DECISIONS: shown[_DECISIONS][0]}
    _draw(strips, qualities, figure)


def record(classifiers: Sequence[PlaneClassifier], seed: int, seconds: int) -> list[Scan]:
    """Return what each of the classifiers, which see alike, says of the frames of one scan."""
    predictions: list[list[Prediction]] = [[] for _ in classifiers]
    truth: list[str | None] = []
    frames = islice(Phantom(load_profile(DEVICE)).scan(seed), seconds * FRAMES_PER_SECOND)
    with click.progressbar(frames, length=seconds * FRAMES_PER_SECOND, label=f"scan {seed}") as bar:
        for image, plane in bar:
            picture = classifiers[0].see(image, classifiers[0].locate(image))
            for said, classifier in zip(predictions, classifiers, strict=True):
                said.append(classifier.classify(picture))
            truth.append(None if plane == BACKGROUND else plane)
    return [Scan(said, truth) for said in predictions]


def _each_frame(scan: Scan, spec: DecisionSpec) -> list[str | None]:
    """Return the label of each frame that is not rejected."""
    return [None if is_rejected(prediction, spec.rejection) else prediction.label for prediction in scan.predictions]


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


def compare_on_scan(scan: Scan) -> dict[str, dict[str, float]]:
    """Compare the scores that frames can be rejected by, on frames of planes and those between them."""
    pairs = list(zip(*scan, strict=True))
    planes, others = ([each for each, true in pairs if (true is None) == between] for between in (False, True))
    return compare_scores(planes, others)


def _calibration_error(scan: Scan, temperature: float) -> float:
    """Return the expected calibration error on the frames of planes."""
    pairs = [(prediction, true) for prediction, true in zip(*scan, strict=True) if true is not None]
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


def _say(report: Mapping[str, object], qualities: Mapping[str, Sequence[Quality]]) -> None:
    """Print mean, least and most over the scans."""
    width = max(map(len, qualities))
    click.echo(f"\n{'':{width}}  " + "  ".join(f"{title:>22}" for title in _COLUMNS.values()))
    for name, each in qualities.items():
        cells = (_spread([getattr(quality, column) for quality in each]) for column in _COLUMNS)
        click.echo(f"{name:{width}}  " + "  ".join(f"{cell:>22}" for cell in cells))
    click.echo(json.dumps({key: report[key] for key in ("rejection", "calibration_error")}, indent=1))


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
