"""``metfa-label``: label images in a browser, those first that help most."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .. import command
from ..bundle.directory import DEFAULT_DIRECTORY
from ..bundle_parameters import BundleType, allow_download
from ..command import Command
from ..parameters import AddressType

if TYPE_CHECKING:
    from ..web import Address


@click.command(cls=Command)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--bundle",
    type=BundleType(),
    help="Take the classes of this bundle, and have its model sort the frames.  "
    f"[default: {DEFAULT_DIRECTORY}, if it is there]",
)
@allow_download()
@click.option("--classes", metavar="A,B,C", help="Take these classes, and sort the frames without a model.")
@click.option(
    "--per-class",
    type=click.IntRange(min=1),
    metavar="N",
    default=5,
    show_default=True,
    help="Labels that are wanted of each class.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE.csv",
    help="Write the labels to this table, which must be above DIR.  [default: DIR-labels.csv, beside DIR]",
)
@click.option(
    "--serve",
    "address",
    type=AddressType(),
    default="127.0.0.1:8081",
    show_default=True,
    help="Where the page is. On an address that other machines reach, browsers need a token: that of METFA_TOKEN, or "
    "else one that is made up and printed.",
)
def main(
    folder: Path, bundle: Path | None, classes: str | None, per_class: int, output: Path | None, address: Address
) -> None:
    """Label the images of DIR in a browser, such as those that metfa-stream --collect DIR saved.

    Frames that help most come first. One key labels a frame, and its label is on disk before the next one is shown.

    Ends on Ctrl-C. The same command goes on with what is there.
    """
    if bundle is not None and classes is not None:
        raise click.UsageError("expected --bundle or --classes, received both; leave one of them out")
    if classes is None and bundle is None:
        bundle = DEFAULT_DIRECTORY
        if not bundle.exists():
            raise click.UsageError(
                f"expected the classes to label, received neither --classes nor --bundle, and there is no {bundle}; "
                "give for example --classes Femur,Lips,Background"
            )
    # What takes long to import (NumPy, OpenCV) is imported here, so that --help answers at once.
    from .run import LabellingOptions, run_labelling

    names = None if classes is None else tuple(name.strip() for name in classes.split(","))
    run_labelling(LabellingOptions(folder, bundle, names, per_class, output, address))


def run() -> None:
    """Be the process ``metfa-label``."""
    command.run(main)
