"""What a table says: mean and spread over seeds, as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from metfa.runtime.bundle import records
from metfa.runtime.errors import BundleError
from metfa.training.config import CONFIG, TrainingConfig
from metfa.training.outcome import EVALUATION, Evaluation

from .runs import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from metfa.training.names import MethodName

    from .runs import Direction

REFERENCES: tuple[MethodName, ...] = ("fine-tuned", "fully-supervised")
BASELINES: tuple[MethodName, ...] = ("source-only", "adabn", "dann", "cdan", "adda", "mme", "mcc", "shot")
PROPOSED: tuple[MethodName, ...] = ("metfa-v", "metfa-vi")


@dataclass(frozen=True, slots=True)
class Result:
    """One finished run."""

    run: Run
    config: TrainingConfig
    evaluation: Evaluation


COLUMNS: dict[str, Callable[[Evaluation], float]] = {
    "source F1": lambda e: math.nan if e.source is None else e.source.f1,
    "source recall": lambda e: math.nan if e.source is None else e.source.recall,
    "source precision": lambda e: math.nan if e.source is None else e.source.precision,
    "target F1": lambda e: _target(e).f1,
    "target recall": lambda e: _target(e).recall,
    "target precision": lambda e: _target(e).precision,
    "target F1, last step": lambda e: _of_candidates(e)[-1],
    "target F1, oracle": lambda e: max(_of_candidates(e)),
}
"""What is measured of each run, by the heading of its column."""

_SCORES = tuple(COLUMNS)[:6]
_SELECTION = ("target F1, last step", "target F1", "target F1, oracle")


def read_result(run: Run, bundle: Path) -> Result:
    """Read what a finished run left in its bundle.

    Raises:
        BundleError: a record is missing or damaged, or the target has no labels to score with.
    """

    def read(cls: type[records.Record], name: str) -> records.Record:
        path = bundle / name
        remedy = f"delete {bundle} and run the table again"
        if not path.is_file():
            raise BundleError(expected=f"{name} in {bundle}", received="no such file", remedy=remedy)
        return records.from_json(cls, path.read_bytes(), origin=str(path), remedy=remedy, error=BundleError)

    result = Result(run, read(TrainingConfig, CONFIG), read(Evaluation, EVALUATION))
    if result.evaluation.target is None:
        raise BundleError(
            expected=f"a labelled target to score on in {run.direction.target.specification}",
            received="a target without labels",
            remedy="give the target class folders, whose names only score",
        )
    return result


def markdown(results: Sequence[Result], direction: Direction) -> str:
    """Return the tables of one direction: scores on both domains, then what selection makes of the target's F1."""
    seeds = len({result.run.seed for result in results})
    spread = f"mean ± standard deviation over {seeds} seeds" if seeds > 1 else "one seed"
    head = f"{direction.source.specification} → {direction.target.specification}"
    return "\n\n".join(
        [
            f"### {head}",
            f"Macro scores on held-out images, {spread}; the model of each run was chosen without target labels.",
            _table(results, _SCORES),
            "Target F1 of the last step's model, of the one that the validators chose, and of the best of all "
            "candidates. **The oracle needs target labels**: it shows what selection loses, and is no result.",
            _table(results, _SELECTION, {"target F1": "target F1, chosen by validators"}),
            "† sees target labels in training: a reference, not an adaptation.",
            *_findings(results),
        ]
    )


def csv_table(results: Sequence[Result]) -> str:
    """Return all columns of all directions, mean and standard deviation apart."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["direction", "method", "seeds", *(f"{name}, {kind}" for name in COLUMNS for kind in ("mean", "deviation"))]
    )
    for direction in dict.fromkeys(result.run.direction.name for result in results):
        for method, group in _by_method([r for r in results if r.run.direction.name == direction]):
            numbers = [f"{number:.4f}" for name in COLUMNS for number in _mean_and_deviation(_values(group, name))]
            writer.writerow([direction, method, len(group), *numbers])
    return text.getvalue()


def json_record(results: Sequence[Result], host: dict[str, Any], command: str) -> str:
    """Return every run's configuration and scores."""
    runs = [
        {
            "direction": result.run.direction.name,
            "method": result.run.method,
            "seed": result.run.seed,
            "config": asdict(result.config),
            "evaluation": asdict(result.evaluation),
        }
        for result in results
    ]
    return record_of_runs({"benchmark": "tables", "command": command, "host": host}, runs)


def record_of_runs(head: dict[str, Any], runs: Sequence[dict[str, Any]]) -> str:
    """Return a record as JSON, one run a line."""
    beginning = json.dumps(head, ensure_ascii=False)[:-1]
    lines = ",\n".join(json.dumps(run, ensure_ascii=False) for run in runs)
    return f'{beginning}, "runs": [\n{lines}\n]}}\n'


def _target(evaluation: Evaluation) -> Any:
    assert evaluation.target is not None
    return evaluation.target


def _of_candidates(evaluation: Evaluation) -> list[float]:
    return [candidate.target_f1 for candidate in evaluation.candidates if candidate.target_f1 is not None]


def _by_method(results: Sequence[Result]) -> Iterator[tuple[MethodName, list[Result]]]:
    for method in dict.fromkeys(result.run.method for result in results):
        yield method, [result for result in results if result.run.method == method]


def _values(results: Sequence[Result], column: str) -> list[float]:
    return [COLUMNS[column](result.evaluation) for result in results]


def _mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def _table(results: Sequence[Result], columns: Sequence[str], headings: dict[str, str] | None = None) -> str:
    lines = ["| method | " + " | ".join((headings or {}).get(column, column) for column in columns) + " |"]
    lines.append("|---" * (1 + len(columns)) + "|")
    for method, group in _by_method(results):
        cells = [spread(_values(group, column)) for column in columns]
        lines.append(f"| {method}{' †' if method in REFERENCES else ''} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def spread(values: Sequence[float]) -> str:
    """Return mean and standard deviation of at least one value, as a table shows them."""
    mean, deviation = _mean_and_deviation(values)
    return f"{mean:.3f} ± {deviation:.3f}" if len(values) > 1 else f"{mean:.3f}"


def _findings(results: Sequence[Result]) -> Iterator[str]:
    """Yield in words, where the rows are there, how MetFA stands to the baselines and what each of its terms does."""
    scores = {method: _mean_and_deviation(_values(group, "target F1")) for method, group in _by_method(results)}
    rivals = [method for method in BASELINES if method in scores]
    proposed = [method for method in PROPOSED if method in scores]
    for method in proposed if rivals else ():
        best = max(rivals, key=lambda rival: scores[rival][0])
        gain = scores[method][0] - scores[best][0]
        spread = max(scores[method][1], scores[best][1])
        verdict = f"{'more than' if abs(gain) > spread else '**within**'} the larger of their deviations ({spread:.3f})"
        if len({result.run.seed for result in results}) == 1:
            verdict = "of one seed, which says little"
        yield f"{method} − {best}, the best baseline, on the target: {gain:+.3f}, {verdict}."
    if not proposed:
        return
    ablation = [method for method in scores if method.startswith("metfa-")]
    order = sorted(ablation, key=lambda method: -scores[method][0])
    yield "Order of the ablation on the target: " + ", ".join(f"{each} {scores[each][0]:.3f}" for each in order) + "."
