"""The options of ``metfa-stream``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from .outputs import OutputFiles

if TYPE_CHECKING:
    from pathlib import Path

    from ..application_entity import StorePeer
    from ..backends.choice import Precision
    from ..bundle.contract import Roi
    from ..openigtlink.address import PeerAddress
    from ..sinks import CollectionLimit
    from ..sinks.mqtt import Broker
    from ..web import Address


class StreamOptions(NamedTuple):
    """The options of ``metfa-stream``, which says what each means."""

    device: tuple[str, ...]
    devices: Path | None
    size: tuple[int, int] | None
    rate: float | None
    pixels: str | None
    bundle: Path
    region: Roi | Literal["contract"]
    backend: str
    precision: Precision | Literal["auto"]
    enter: float | None
    leave: float | None
    dwell: float | None
    watch: bool
    rebuild: bool
    output: Path | None
    events: Path | None
    table: Path | None
    snapshots: Path | None
    collect: Path | None
    collect_limit: CollectionLimit
    window: bool | None
    serve: Address | None
    dicom: Path | StorePeer | None
    dicom_study: Path | None
    mqtt: Broker | None
    igtl: PeerAddress | None
    igtl_images: bool
    added: tuple[tuple[str, str], ...]
    realtime: bool
    overwrite: bool
    verbose: bool
    limit: int | None
    seconds: float | None

    @property
    def files(self) -> OutputFiles:
        """What is written where."""
        return OutputFiles(self.output, self.events, self.table, self.snapshots)
