"""The check of the device, beside the stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from ..drift import DeviceCheck, DeviceReport, DeviceStatistics
from ..frame import Unusable
from .base import Sink

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..frame import Observation


class DeviceSink(Sink):
    """Says in a line which device the stream's pictures are like, and once more where that changes to unknown.

    Args:
        statistics: the bundle's.
        notify: takes the line.

    Attributes:
        names: of the devices of training, in the order of the report's distances.
    """

    name = "device check"
    kind = "pictures"  # of a recording every one counts

    def __init__(self, statistics: DeviceStatistics, notify: Callable[[str], object]) -> None:
        self.names = device_names(statistics)
        self._statistics = statistics
        self._notify = notify
        self._check = DeviceCheck(statistics)
        self._report = self._check.report()
        self._session = 0
        self._said: set[str] = {"not enough yet"}

    def write(self, observation: Observation) -> None:
        """Look at the observation's picture, if it shows something."""
        if observation.frame.session != self._session:
            self._session = observation.frame.session
            self._check.restart()
        if observation.decision.status in get_args(Unusable):
            return
        if not self._check.update(observation.prediction.picture, observation.time):
            return
        self._report = self._check.report()
        if self._report.verdict not in self._said:
            self._said.add(self._report.verdict)
            self._notify(self.describe())

    def report(self) -> DeviceReport:
        """Return how far the device is from those of training; from any thread."""
        return self._report

    def describe(self) -> str:
        """Return the report in words."""
        return describe(self._report, self._statistics)

    def close(self) -> None:
        """Nothing is kept."""


def device_names(statistics: DeviceStatistics) -> list[str]:
    """Return the names of the devices of training: source and, where there is one, target."""
    return [device.name for device in (statistics.source, statistics.target) if device is not None]


def describe(report: DeviceReport, statistics: DeviceStatistics) -> str:
    """Return in words which device a stream's pictures are like, and what to do where it is none of training's."""
    names = device_names(statistics)
    distances = [distance for distance in (report.source, report.target) if distance is not None]
    if report.verdict == "not enough yet":
        return f"device: {report.looks} pictures are too few to tell which it is like"
    if report.verdict == "unknown":
        known = " and ".join(f"{name} ({distance:.1f})" for name, distance in zip(names, distances, strict=True))
        return (
            f"device: unlike {known}, in units of the limit that their own pictures keep; collect frames of it with "
            "--collect DIR, and adapt to them with metfa-train --target DIR"
        )
    index = ("source", "target").index(report.verdict)
    others = "".join(f"; {names[other]} {distances[other]:.1f}" for other in range(len(names)) if other != index)
    return f"device: like {names[index]} ({distances[index]:.1f} of the limit that its own pictures keep{others})"
