"""The files that a stream writes."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..sinks import Sink
    from ..sources import Source
    from .devices import Device


@dataclass(frozen=True, slots=True)
class OutputFiles:
    """What of a stream is written where; None for nowhere.

    Attributes:
        video: the annotated video.
        events: a record for each frame and event.
        labels: a row for each image of a folder.
        snapshots: the directory of the best frame of each plane.
    """

    video: Path | None = None
    events: Path | None = None
    labels: Path | None = None
    snapshots: Path | None = None

    def of(self, device: Device) -> OutputFiles:
        """Return the files of one of several sources, whose names end with that of the device; of a single one, these.

        Raises:
            OutputError: what is to be written is no file, so that there cannot be one for each source.
        """
        if not device.name:
            return self

        def own(path: Path | None) -> Path | None:
            if path is None:
                return None
            if path.exists() and not path.is_file():
                raise OutputError(
                    expected="a file for each source",
                    received=f"{path}, which is none",
                    remedy="name a file, or start a stream for each source",
                )
            return path.with_name(f"{path.stem}-{device.file_name}{path.suffix}")

        snapshots = None if self.snapshots is None else self.snapshots / device.file_name
        return OutputFiles(own(self.video), own(self.events), own(self.labels), snapshots)

    def refuse_to_overwrite(self, device: str, *, overwrite: bool) -> None:
        """Refuse files that would replace each other, the source, or, unless that is wanted, what is there.

        Pipes and devices are no files: nothing is lost of them.

        Raises:
            OutputError: one would.
        """
        named = {"--output": self.video, "--events": self.events, "--labels": self.labels}
        files = {option: path for option, path in named.items() if path is not None}
        if len({path.resolve() for path in files.values()}) < len(files):
            raise OutputError(
                expected=f"two files for {' and '.join(files)}",
                received=f"{next(iter(files.values()))} twice",
                remedy="choose another path",
            )
        for option, path in files.items():
            if not path.is_file():
                continue
            is_source = False
            with suppress(OSError):  # where the source is no file, or even too long for a file's name
                is_source = path.samefile(device)
            if is_source:
                raise OutputError(
                    expected="an output beside the source",
                    received=f"{path}, the source itself",
                    remedy="choose another path",
                )
            if not overwrite:
                raise OutputError(
                    expected=f"a new file for {option}",
                    received=f"{path}, which exists",
                    remedy="choose another path, or replace it with --overwrite",
                )

    def open(self, source: Source, labels: Sequence[str]) -> Iterator[Sink]:
        """Open each, and yield its sink.

        Raises:
            OutputError: a file cannot be written, or does not fit the source.
        """
        from ..sinks import JsonLinesSink, LabelsSink, SnapshotSink, VideoSink

        if self.labels is not None:
            if source.continuous:
                raise OutputError(
                    expected="an image or a folder for --labels",
                    received=source.description,
                    remedy="take --events, which has the time of each frame and of each plane",
                )
            yield LabelsSink(self.labels, labels)
        if self.video is not None:
            yield VideoSink(self.video, source.rate, labels)
        if self.events is not None:
            yield JsonLinesSink(self.events, labels)
        if self.snapshots is not None:
            yield SnapshotSink(self.snapshots)
