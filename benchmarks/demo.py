"""The demonstration: adapt to the unlabelled frames of another scanner's live scans, export, label its stream.

::

    python -m benchmarks.demo
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click
import matplotlib

from metfa.runtime import PlaneClassifier
from metfa.runtime.command import Command
from metfa.runtime.files import replacing
from metfa.runtime.phantom import BACKGROUND, PLANES, Phantom, load_profile
from metfa.training.evaluation.figures import draw_confusion
from metfa.training.outcome import EVALUATION

from .commands import run

OPTIONS = ("--source", "phantom:A", "--target", "phantom:B?scans=12", "--steps", "1600")
"""Labelled stills of A, unlabelled frames of live scans of B; small enough for two CPU cores."""

SECONDS = 20
SEED = 10_001  # of the pictured frames; none that was trained or tested on, and odd: background of its own


@click.command(cls=Command)
@click.option("--output", type=click.Path(path_type=Path), default=Path("runs/demo"), show_default=True)
def main(output: Path) -> None:
    """Run the three commands one after another and leave a clip and a picture."""
    began = time.monotonic()
    bundle = output / "metfa"
    click.echo(f"Settings, small for a CPU: metfa-train {' '.join(OPTIONS)}")
    run("metfa-train", "--compare", "--bundle", bundle, "--overwrite", *OPTIONS)
    run("metfa-export", bundle, "--fp16")
    clip, events = output / "phantom-B.mp4", output / "phantom-B.jsonl"
    stream = ("--bundle", bundle, "--device", "phantom:B", "--seconds", SECONDS, "--no-window")
    run("metfa-stream", *stream, "--output", clip, "--events", events, "--overwrite")

    evaluation = json.loads((bundle / EVALUATION).read_text())
    scores = {"source only": evaluation["compared"][0]["target"], "MetFA": evaluation["target"]}
    picture = output / "demo.png"
    _draw(scores, bundle, picture)
    click.echo("\nMacro F1 on frames of held-out scans of B, planes and background:")
    for name, of_model in scores.items():
        click.echo(f"  {name:12} {of_model['f1']:.3f}")
    click.echo(f"\nDone in {(time.monotonic() - began) / 60:.1f} minutes. Look at {picture}, {clip} and {events}.")


def _draw(scores: dict[str, Any], bundle: Path, path: Path) -> None:
    """Draw a frame of each class on both scanners, on B with the adapted model's answer, and the confusion on B."""
    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    classes = (*PLANES, BACKGROUND)
    figure = plt.figure(figsize=(15, 8.6), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=[1, 1.05])  # type: ignore[misc]  # two, as asked for
    classifier = PlaneClassifier.load(bundle, backend="cpu")
    scanners = {name: Phantom(load_profile(name)) for name in "AB"}
    rows = dict(zip(scanners, above.subplots(2, len(classes)), strict=True))
    for name, phantom in scanners.items():
        for axes, plane in zip(rows[name], classes, strict=True):
            axes.imshow(phantom.image(plane, SEED), cmap="gray", vmin=0, vmax=255)
            axes.set_xticks([])
            axes.set_yticks([])
    for axes, plane in zip(rows["A"], classes, strict=True):
        axes.set_title(plane, fontsize=11)
    for axes, plane in zip(rows["B"], classes, strict=True):
        prediction = classifier(scanners["B"].image(plane, SEED))
        colour = "#1a7f37" if prediction.label == plane else "#c62828"
        axes.set_title(f"{prediction.label} {prediction.confidence:.0%}", color=colour, fontsize=11)
    rows["A"][0].set_ylabel("scanner A, labelled", fontsize=11)
    rows["B"][0].set_ylabel("scanner B, no labels", fontsize=11)
    above.suptitle("Trained on labelled stills of A and unlabelled frames of scans of B: its answers on stills of B")
    for axes, (name, of_model) in zip(below.subplots(1, 2), scores.items(), strict=True):
        title = f"{name}, {of_model['images']} frames of scans of B: macro F1 {of_model['f1']:.2f}"
        draw_confusion(axes, of_model["confusion"], classifier.contract.labels, title)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=90)
    plt.close(figure)


if __name__ == "__main__":
    main()
