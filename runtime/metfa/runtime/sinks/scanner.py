"""The check of the scanner, beside the stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from ..decisions.scanner_check import ScannerCheck, ScannerReport, ScannerStatistics
from ..frame import Unusable
from .base import Sink

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..frame import ModelIdentity, Observation


class ScannerSink(Sink):
    """Says in a line which scanner the stream's pictures are like, and once more where that changes to unknown.

    Args:
        statistics: the bundle's.
        notify: takes the line.
    """

    name = "scanner check"
    kind = "inputs"  # of a recording every one counts

    def __init__(self, statistics: ScannerStatistics, notify: Callable[[str], object]) -> None:
        self._notify = notify
        self._session = 0
        self._expected: tuple[ModelIdentity, ScannerStatistics] | None = None
        self._begun: tuple[ModelIdentity, ScannerStatistics] | None = None
        self._finding: tuple[ScannerReport, list[str]]  # replaced in one step, as other threads read it
        self._begin(statistics)

    def expect(self, model: ModelIdentity, statistics: ScannerStatistics) -> None:
        """Compare with other statistics from the first frame on that the model classifies; from any thread."""
        self._expected = model, statistics

    def write(self, observation: Observation) -> None:
        """Look at the observation's picture, if it shows something."""
        expected = self._expected
        if expected is not None and expected is not self._begun and observation.model == expected[0]:
            self._begun = expected
            self._begin(expected[1])
        if observation.frame.session != self._session:
            self._session = observation.frame.session
            self._check.restart()
        if observation.decision.status in get_args(Unusable):
            return
        if not self._check.update(observation.prediction.picture, observation.time):
            return
        report = self._check.report()
        self._finding = report, self._finding[1]
        if report.verdict not in self._said:
            self._said.add(report.verdict)
            self._notify(self.describe())

    def finding(self) -> tuple[ScannerReport, list[str]]:
        """Return how far the scanner is from those of training, and their names; from any thread."""
        return self._finding

    def describe(self) -> str:
        """Return the report in words."""
        return describe(*self._finding)

    def close(self) -> None:
        """Nothing is kept."""

    def _begin(self, statistics: ScannerStatistics) -> None:
        self._check = ScannerCheck(statistics)
        self._finding = self._check.report(), scanner_names(statistics)
        self._said: set[str] = {"not enough yet"}


def scanner_names(statistics: ScannerStatistics) -> list[str]:
    """Return the names of the scanners of training: source and, where there is one, target."""
    return [scanner.name for scanner in (statistics.source, statistics.target) if scanner is not None]


def sentence(report: ScannerReport, names: Sequence[str]) -> str:
    """Return what whoever scans should know of a report, without numbers."""
    if report.verdict == "not enough yet":
        return "Too few images yet to tell whether they look like those the model was trained on."
    if report.verdict == "unknown":
        return (
            "These images look unlike those the model was trained on (scanner, preset or gain). "
            "Treat its labels with care."
        )
    name = names[("source", "target").index(report.verdict)]
    return (
        f"In grey levels and texture, these images look like those of {_end(name)}, which the model was trained on; "
        "what they show is not checked."
    )


def describe(report: ScannerReport, names: Sequence[str]) -> str:
    """Return the sentence, what to do where the scanner is unknown, and the distances."""
    distances = [distance for distance in (report.source, report.target) if distance is not None]
    parts = [f"scanner check: {sentence(report, names)}"]
    if report.verdict == "unknown":
        parts.append("To adapt to them, collect frames with --collect DIR, then metfa-train --target DIR.")
    if report.looks:
        each = ", ".join(f"{distance:.1f} from {_end(name)}" for name, distance in zip(names, distances, strict=True))
        parts.append(f"(Distance {each}; the limit is 1.)")
    return " ".join(parts)


def _end(name: str) -> str:
    """Return the end of a path, which tells scanners apart."""
    return name.rstrip("/").rpartition("/")[2] or name
