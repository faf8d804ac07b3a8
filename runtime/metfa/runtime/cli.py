"""``metfa-stream``: live frames in, plane decisions out."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from . import command
from .bundle.directory import DEFAULT_DIRECTORY
from .bundle_parameters import BundleType, allow_download, require_directory
from .command import Command
from .parameters import (
    STREAM_BACKEND,
    AddressType,
    BrokerType,
    CollectionLimitType,
    DicomOutputType,
    NumberRange,
    PeerType,
    RoiType,
    SectionedOption,
    SinkType,
    SizeType,
)

# Options under the title of a section.
_source = partial(click.option, cls=SectionedOption, section="Source")
_model = partial(click.option, cls=SectionedOption, section="Model")
_decision = partial(click.option, cls=SectionedOption, section="Decision")
_output = partial(click.option, cls=SectionedOption, section="Output")
_connection = partial(click.option, cls=SectionedOption, section="Connection")
_run = partial(click.option, cls=SectionedOption, section="Run")


@click.command(cls=Command)
@_source(
    "--device",
    multiple=True,
    metavar="SPEC",
    help="Camera (0 or /dev/video0), video, image, folder of images, DICOM file, URL, gst:PIPELINE, phantom:NAME, "
    "igtl://HOST:PORT/DEVICE for OpenIGTLink, dicom-listen:AE@HOST:PORT?from=AE for what a scanner sends, "
    "- for frames on standard input, or NAME:… of an installed package. Given more than once, all are streamed.",
)
@_source(
    "--devices",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Stream the devices of a file, one a line: SPEC, or NAME = SPEC.",
)
@_source("--size", type=SizeType(), help="What the camera is asked for, or that of raw frames on standard input.")
@_source("--rate", type=NumberRange(min=0, min_open=True), metavar="N", help="Frames per second, likewise.")
@_source(
    "--format",
    "pixels",
    type=click.Choice(["MJPG", "YUYV", "gray", "bgr24"]),
    help="Pixels, likewise: MJPG or YUYV of a camera, gray or bgr24 of raw frames.",
)
@_source("--realtime", is_flag=True, help="Play a recording at its own pace, not as fast as it can be classified.")
@_model(
    "--bundle",
    type=BundleType(),
    default=DEFAULT_DIRECTORY,
    show_default=True,
    help="What metfa-train and metfa-export made.",
)
@allow_download(_model)
@_model(
    "--roi",
    "region",
    type=RoiType(contract=True),
    default="contract",
    show_default=True,
    help="The part of each frame that the model sees: auto finds the ultrasound in it.",
)
@_model(
    "--backend",
    type=STREAM_BACKEND,
    default="auto",
    show_default=True,
    help="What runs the model: this host, or a Triton server on a trusted network. BACKEND of this host runs it while "
    "the server is away.",
)
@_model(
    "--precision",
    type=click.Choice(["auto", "fp32", "fp16", "int8"]),
    default="auto",
    show_default=True,
    help="What the model computes in: auto is FP16 on a GPU, where the bundle has it, and FP32 elsewhere.",
)
@_model("--watch", is_flag=True, help="Take a newer bundle as soon as it has replaced this one, without a restart.")
@_model("--rebuild", is_flag=True, help="Build a TensorRT engine here, where the bundle has none that fits.")
@_decision(
    "--enter",
    type=NumberRange(0.5, 1, min_open=True),
    metavar="P",
    help="Smoothed probability from which a plane counts as seen.  [default: the bundle's]",
)
@_decision(
    "--exit",
    "leave",
    type=NumberRange(0, 1, min_open=True),
    metavar="P",
    help="The same below which it no longer does; at most that of --enter.  [default: the bundle's]",
)
@_decision(
    "--dwell",
    type=NumberRange(min=0),
    metavar="MS",
    help="Milliseconds that a plane must have been seen before it is shown.  [default: the bundle's]",
)
@_output("--window/--no-window", default=None, help="Show the annotated video; by default, where there is a display.")
@_output(
    "--serve",
    type=AddressType(),
    help="Show the stream to browsers, such as on 127.0.0.1:8080. On an address that other machines reach, they need a "
    "token: that of METFA_TOKEN, or else one that is made up and printed.",
)
@_output("--output", type=click.Path(path_type=Path), metavar="FILE.mp4", help="Write the annotated video.")
@_output(
    "--events", type=click.Path(path_type=Path), metavar="FILE.jsonl", help="Write a record for each frame and event."
)
@_output(
    "--labels",
    "table",
    type=click.Path(path_type=Path),
    metavar="FILE.csv",
    help="Write a row for each image of a folder: name, label, confidence, status and the probability of each class.",
)
@_output(
    "--snapshots",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Save the best frame of each plane that was held, as PNG with its JSON.",
)
@_output(
    "--collect",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Save frames, few alike, the least certain and most novel first, for metfa-train --target DIR.",
)
@_output(
    "--collect-limit",
    type=CollectionLimitType(),
    default="1000",
    show_default=True,
    help="Frames, or MB or GB (500MB), that DIR may hold.",
)
@_output(
    "--sink",
    "added",
    type=SinkType(),
    multiple=True,
    help="Give the stream to a sink of an installed package, too; may be given more than once.",
)
@_output("--overwrite", is_flag=True, help="Replace the files of --output, --events and --labels.")
@_connection(
    "--mqtt",
    type=BrokerType(),
    help="Publish decisions and events on an MQTT broker, below PREFIX (metfa). The password of USER is that of "
    "METFA_MQTT_PASSWORD.",
)
@_connection(
    "--dicom",
    type=DicomOutputType(),
    help="Give each plane to a directory or a DICOM archive (PACS): its best frame as an image, and a report.",
)
@_connection(
    "--dicom-study",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Any DICOM file of the patient and study that the stream is of, where its source does not say so.",
)
@_connection(
    "--igtl",
    type=PeerType(),
    help="Send each event as OpenIGTLink to a program that listens, such as 3D Slicer as a server; with listen:, to "
    "those that connect to this address.",
)
@_connection("--igtl-images", is_flag=True, help="Send the best frame of each event with it.")
@_run("--limit", type=click.IntRange(min=1), metavar="N", help="End after N frames.")
@_run("--seconds", type=NumberRange(min=0, min_open=True), metavar="S", help="End after S seconds.")
@_run("--verbose", is_flag=True, help="Say why no faster backend runs the model.")
@click.pass_context
def main(ctx: click.Context, /, **options: Any) -> None:
    """Classify live frames: which plane does the scanner show?

    Several devices are streamed side by side through one model: each has files of its own, which end with its name.

    Ends with the source, on Ctrl-C or SIGTERM, when the window is closed, or on SIGHUP when the terminal is gone; all
    files are complete then. Without a terminal, as a service, SIGHUP takes the newer bundle that has replaced this one.
    """
    if not options["device"] and options["devices"] is None:
        raise click.UsageError("expected --device or --devices, received neither; give for example --device 0")
    require_directory(ctx, watch=options["watch"], rebuild=options["rebuild"])
    with command.reload_requests() as reload:
        # What takes long to import (NumPy, OpenCV) is imported here, so that --help answers at once.
        from .streaming.options import StreamOptions
        from .streaming.session import run_session

        run_session(StreamOptions(**options), reload)


def run() -> None:
    """Be the process ``metfa-stream``."""
    command.run(main)
