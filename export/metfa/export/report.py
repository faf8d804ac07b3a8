"""What the gate let through and what the files hold: a record for machines and tables for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from metfa.runtime.bundle.engine_record import OperationCounts

from .inspection import Inspection
from .parity import Compared, Comparison

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Row: TypeAlias = tuple[str, ...]

SCHEMA = 1
"""Version of the report's fields."""


@dataclass(frozen=True, slots=True)
class ParityReport:
    """What the gate let through: ``parity.json``.

    Attributes:
        schema: version of these fields.
        software: name and version of what wrote it.
        compared_on: the frames, by domain.
        comparisons: one per artefact and way of computing it.
        operations: per artefact of reduced precision, the proof of its precision.
        graphs: what each ONNX file holds, by its name.
    """

    schema: int
    software: str
    compared_on: dict[str, Compared]
    comparisons: tuple[Comparison, ...]
    operations: dict[str, OperationCounts]
    graphs: dict[str, Inspection]


def describe(report: ParityReport) -> Iterator[str]:
    """Yield the lines of the tables."""
    for name, compared in report.compared_on.items():
        right = "" if compared.accuracy is None else f", of which PyTorch labels {compared.accuracy:.1%} rightly"
        yield f"compared with PyTorch in FP32 on {compared.frames} frames of {name} ({compared.description}){right}"
    yield from _table(*comparison_table(report))
    yield "by class: largest Δp, and top-1 where it is below 100 %"
    yield from _table(
        ("frames", "class", "", *(comparison.artefact for comparison in report.comparisons)),
        [
            (name, label, f"{agreement.frames}", *_of_class(report.comparisons, name, label))
            for name, domain in report.comparisons[0].domains.items()
            for label, agreement in domain.classes.items()
        ],
    )
    yield from _table(*graph_table(report))


def comparison_table(report: ParityReport) -> tuple[Row, list[Row]]:
    """Return heading and rows: how far each artefact is from PyTorch on the frames of each domain."""
    return ("artefact", "computed by", "frames", "top-1", "largest Δp", "embedding", "not finite", "right"), [
        (
            comparison.artefact,
            comparison.computed_by,
            name,
            f"{domain.overall.top1:.1%}",
            f"{domain.overall.probability_difference:.1e}",
            f"{domain.overall.embedding_distance:.1e}",
            f"{domain.overall.non_finite}",
            "" if domain.accuracy is None else f"{domain.accuracy:.1%}",
        )
        for comparison in report.comparisons
        for name, domain in comparison.domains.items()
    ]


def graph_table(report: ParityReport) -> tuple[Row, list[Row]]:
    """Return heading and rows: what each ONNX file holds."""
    return ("graph", "size", "parameters", "MACs a frame", "operators"), [
        (
            name,
            f"{graph.bytes / 1e6:.2f} MB",
            f"{graph.parameters:,}",
            f"{graph.macs / 1e6:,.1f} M",
            f"{sum(count for types in graph.operators.values() for count in types.values())}",
        )
        for name, graph in report.graphs.items()
    ]


def _of_class(comparisons: Sequence[Comparison], domain: str, label: str) -> Iterator[str]:
    for comparison in comparisons:
        agreement = comparison.domains[domain].classes[label]
        share = "" if agreement.top1 == 1 else f" ({agreement.top1:.1%})"
        yield f"{agreement.probability_difference:.1e}{share}"


def _table(heading: Row, rows: Sequence[Row]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(heading, *rows, strict=True)]
    for row in (heading, *rows):
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
