"""What ``metfa-label`` does: look at the folder, serve the page, end on a signal."""

from __future__ import annotations

import os
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..bundle.directory import Bundle
from ..classifier import PlaneClassifier
from ..command import Interruption, say
from ..errors import BackendError, BundleError, OutputError, SourceError
from ..files import require_writable
from ..web import Address, WebServer, listen, token_of_user
from .classes import assign_keys
from .frames import Frames, by_model, by_thumbnail
from .session import Session
from .site import MAX_BODY_BYTES, LabellingSite
from .table import Table

if TYPE_CHECKING:
    from .classes import LabelClass
    from .frames import View

_SUFFIXES = {".csv", ".tsv"}  # by which metfa-train knows tables


@dataclass(frozen=True, slots=True)
class LabellingOptions:
    """What ``metfa-label`` is asked for.

    Attributes:
        folder: of the images.
        bundle: whose classes are labelled, and whose model sorts the frames; None where ``classes`` says.
        classes: their names; None where the bundle says.
        wanted: labels of each class.
        output: the table; None for the default, beside the folder.
        address: where the page is served.
    """

    folder: Path
    bundle: Path | None
    classes: tuple[str, ...] | None
    wanted: int
    output: Path | None
    address: Address


def run_labelling(options: LabellingOptions) -> None:
    """Serve the page until a signal comes. For the main thread.

    Raises:
        SourceError: the folder cannot be read or holds no image.
        DataError: the classes or the table are not as they should be.
        OutputError: the table cannot be written there, or the page not served.
        BundleError, ContractError: the bundle cannot be opened.
    """
    folder = Path(os.path.abspath(options.folder))  # noqa: PTH100 - keeps links, as the paths in tables do
    labels, skipped = _open_tables(folder, options.output)
    classes, view = _prepare(options)
    frames = Frames(folder, view)
    if not frames.files():
        raise SourceError(
            expected=f"images in {options.folder}",
            received="none",
            remedy="collect some with metfa-stream --collect, or name another folder",
        )
    session = Session(folder, classes, options.wanted, frames, labels=labels, skipped=skipped)
    listening, access = listen(options.address, token_of_user())
    with Interruption() as interruption:
        frames.start()
        server = WebServer(listening, access, LabellingSite(session).answer, max_body_bytes=MAX_BODY_BYTES)
        say(
            [
                f"labelling: {access.invitation}",
                f"labels are written to {labels.path}; Ctrl-C ends",
            ]
        )
        try:
            while not interruption.requested:
                server.refuse_to_go_on_broken()
                if frames.error is not None:
                    raise frames.error
                time.sleep(0.05)
        finally:
            frames.close()
            server.close()
    state = session.state()
    say([f"labelled: {sum(state.counts)}, skipped: {state.skipped}; the same command goes on"])
    if any(state.counts):
        say([f"to train with them: metfa-train --labelled-target {shlex.quote(str(labels.path))}"])


def _open_tables(folder: Path, output: Path | None) -> tuple[Table, Table]:
    """Return the table of labels and that of skipped frames beside it."""
    path = folder.with_name(f"{folder.name}-labels.csv") if output is None else Path(os.path.abspath(output))  # noqa: PTH100
    if path.suffix.lower() not in _SUFFIXES or path.parent == folder or not folder.is_relative_to(path.parent):
        raise OutputError(
            expected=f"a .csv file in a folder that holds {folder}, so that metfa-train finds the frames from there",
            received=str(output),
            remedy=f"leave --output out, which means {folder.name}-labels.csv beside the frames",
        )
    if not folder.is_dir():
        raise SourceError(
            expected=f"a folder of images at {folder}",
            received="a file" if folder.exists() else "no such folder",
            remedy="check the path, or collect frames with metfa-stream --collect",
        )
    require_writable(path.parent)
    return Table(path, "label"), Table(path.with_name(f"{path.stem}-skipped{path.suffix}"), "skipped")


def _prepare(options: LabellingOptions) -> tuple[tuple[LabelClass, ...], View]:
    """Return the classes, and how frames are looked at: by the bundle's model where it runs here."""
    if options.bundle is None:
        return assign_keys(options.classes or ()), by_thumbnail
    contract = Bundle.open(options.bundle).contract
    classes = assign_keys(contract.labels, contract.decision.background)
    try:
        classifier = PlaneClassifier.load(options.bundle)
    except (BackendError, BundleError) as reason:
        say([f"the frames are sorted by what they look like, as no model can be run: {reason}"])
        return classes, by_thumbnail
    return classes, by_model(classifier, [each.name for each in classes])
