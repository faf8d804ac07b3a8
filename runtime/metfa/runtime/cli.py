"""``metfa-stream``: live frames in, plane decisions out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import command
from .bundle.directory import DEFAULT_DIRECTORY
from .command import Command
from .parameters import BACKEND, AddressType, CollectionLimitType, NumberRange, RoiType, SinkType, SizeType


def _one_device(_: click.Context, __: click.Parameter, devices: tuple[str, ...]) -> str:
    if len(devices) > 1:  # click alone would take the last without a word
        raise click.UsageError(f"expected one --device, received {' and '.join(devices)}; start a stream for each")
    return devices[0]


@click.command(cls=Command)
@click.option(
    "--device",
    required=True,
    multiple=True,
    callback=_one_device,
    metavar="SPEC",
    help="Camera (0 or /dev/video0), video, image, folder of images, DICOM file, URL, gst:PIPELINE, phantom:NAME, "
    "- for frames on standard input, or NAME:… of an installed package.",
)
@click.option("--size", type=SizeType(), help="What the camera is asked for, or that of raw frames on standard input.")
@click.option("--rate", type=NumberRange(min=0, min_open=True), metavar="N", help="Frames per second, likewise.")
@click.option(
    "--format",
    "pixels",
    type=click.Choice(["MJPG", "YUYV", "gray", "bgr24"]),
    help="Pixels, likewise: MJPG or YUYV of a camera, gray or bgr24 of raw frames.",
)
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    default=DEFAULT_DIRECTORY,
    show_default=True,
    help="What metfa-train and metfa-export made.",
)
@click.option(
    "--roi",
    "region",
    type=RoiType(contract=True),
    default="contract",
    show_default=True,
    help="The part of each frame that the model sees: auto finds the ultrasound in it.",
)
@click.option(
    "--backend",
    type=BACKEND,
    default="auto",
    show_default=True,
    help="What runs the model.",
)
@click.option("--precision", type=click.Choice(["auto", "fp32", "fp16", "int8"]), default="auto", show_default=True)
@click.option(
    "--enter",
    type=NumberRange(0.5, 1, min_open=True),
    metavar="P",
    help="Smoothed probability from which a plane counts as seen.  [default: the bundle's]",
)
@click.option(
    "--exit",
    "leave",
    type=NumberRange(0, 1, min_open=True),
    metavar="P",
    help="The same below which it no longer does; at most that of --enter.  [default: the bundle's]",
)
@click.option(
    "--dwell",
    type=NumberRange(min=0),
    metavar="MS",
    help="Milliseconds that a plane must have been seen before it is shown.  [default: the bundle's]",
)
@click.option("--rebuild", is_flag=True, help="Build a TensorRT engine here, where the bundle has none that fits.")
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE.mp4", help="Write the annotated video.")
@click.option(
    "--events", type=click.Path(path_type=Path), metavar="FILE.jsonl", help="Write a record for each frame and event."
)
@click.option(
    "--labels",
    "table",
    type=click.Path(path_type=Path),
    metavar="FILE.csv",
    help="Write a row for each image of a folder: name, label, confidence, status and the probability of each class.",
)
@click.option(
    "--snapshots",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Save the best frame of each plane that was held, as PNG with its JSON.",
)
@click.option(
    "--collect",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Save frames, few alike, the least certain and most novel first, for metfa-train --target DIR.",
)
@click.option(
    "--collect-limit",
    type=CollectionLimitType(),
    default="1000",
    show_default=True,
    help="Frames, or MB or GB (500MB), that DIR may hold.",
)
@click.option(
    "--window/--no-window", default=None, help="Show the annotated video; by default, where there is a display."
)
@click.option(
    "--serve",
    type=AddressType(),
    help="Show the stream to browsers, such as on 127.0.0.1:8080. On an address that other machines reach, they need a "
    "token: that of METFA_TOKEN, or else one that is made up and printed.",
)
@click.option(
    "--sink",
    "added",
    type=SinkType(),
    multiple=True,
    help="Give the stream to a sink of an installed package, too; may be given more than once.",
)
@click.option("--realtime", is_flag=True, help="Play a recording at its own pace, not as fast as it can be classified.")
@click.option("--overwrite", is_flag=True, help="Replace the files of --output, --events and --labels.")
@click.option("--verbose", is_flag=True, help="Say why no faster backend runs the model.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="End after N frames.")
@click.option("--seconds", type=NumberRange(min=0, min_open=True), metavar="S", help="End after S seconds.")
def main(**options: Any) -> None:
    """Classify live frames: which plane does the scanner show?

    Ends with the source, on Ctrl-C, SIGTERM or SIGHUP, or when the window is closed; all files are complete then.
    """
    # What takes long to import (NumPy, OpenCV) is imported here, so that --help answers at once.
    from .streaming.session import StreamOptions, run_session

    run_session(StreamOptions(**options))


def run() -> None:
    """Be the process ``metfa-stream``."""
    command.run(main)
