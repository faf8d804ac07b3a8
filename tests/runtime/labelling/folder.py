"""A collection of the phantom, and a session about it that the tests make up."""

from __future__ import annotations

import hashlib
import time
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import cv2

from metfa.runtime.labelling.classes import assign_keys
from metfa.runtime.labelling.frames import Frames, by_thumbnail
from metfa.runtime.labelling.session import Session
from metfa.runtime.labelling.site import MAX_BODY_BYTES, LabellingSite
from metfa.runtime.labelling.table import Table
from metfa.runtime.phantom import PLANES, Phantom, load_profile
from metfa.runtime.web import Access, Address, WebServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray


@cache
def still(plane: str, seed: int) -> NDArray[np.uint8]:
    """Return a still of the phantom, small, as many are written."""
    phantom = _phantom()
    return cv2.resize(phantom.image(plane, seed), (160, 120), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


@cache
def _phantom() -> Phantom:
    return Phantom(load_profile("B"))


def collect(folder: Path, number: int) -> dict[str, str]:
    """Write so many stills, as many of each plane; return the plane of each file, whose name tells nothing of it."""
    folder.mkdir(parents=True, exist_ok=True)
    planes = {}
    for index in range(number):
        plane = PLANES[index % len(PLANES)]
        name = f"0500-{hashlib.sha256(b'%d' % index).hexdigest()[:16]}.png"
        assert cv2.imwrite(str(folder / name), still(plane, index))
        planes[name] = plane
    return planes


def open_session(folder: Path, *, wanted: int = 5, classes: tuple[str, ...] = PLANES) -> tuple[Session, Frames]:
    """Return a session whose frames were all looked at once."""
    frames = Frames(folder, by_thumbnail)
    session = Session(
        folder,
        assign_keys(classes),
        wanted,
        frames,
        labels=Table(folder.with_name("labels.csv"), "label"),
        skipped=Table(folder.with_name("labels-skipped.csv"), "skipped"),
    )
    frames.start()
    wait_for_looks(session)
    return session, frames


def wait_for_looks(session: Session) -> None:
    """Wait until every frame that can be read was looked at."""
    while session.state().unsorted:
        time.sleep(0.01)


@contextmanager
def served(session: Session, *, token: str | None = None, host: str = "127.0.0.1") -> Iterator[str]:
    """Serve a session; yield the address, with a slash at its end."""
    listening = Address(host, 0).listen()
    access = Access(listening, token)
    server = WebServer(listening, access, LabellingSite(session).answer, max_body_bytes=MAX_BODY_BYTES)
    try:
        yield access.url
    finally:
        server.close()
        assert server.error is None
