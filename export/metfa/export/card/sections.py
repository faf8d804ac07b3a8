"""What the card says, section by section, each from the bundle's records alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from metfa.runtime.bundle import records
from metfa.runtime.bundle.contract import Roi
from metfa.runtime.bundle.directory import CARD, CARD_PAGE, PARITY, SCANNERS
from metfa.runtime.bundle.engine_record import EngineRecord, record_name
from metfa.runtime.decisions.scanner_check import ScannerStatistics
from metfa.runtime.errors import BundleError
from metfa.training.config import CONFIG, TrainingConfig
from metfa.training.curves.picture import CURVES
from metfa.training.data.listing import SPLITS
from metfa.training.data.report import DATA, DataReport, describe_groups
from metfa.training.evaluation.scores import score_classes
from metfa.training.outcome import EVALUATION, Evaluation
from metfa.training.settings import SettableField, settable_fields

from ..report import ParityReport, comparison_table, graph_table
from .beginning import ancestors, initial_weights
from .markdown import facts, plain, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from metfa.runtime.bundle.directory import Bundle
    from metfa.training.evaluation.scores import Scores

Record = TypeVar("Record")


def title(bundle: Bundle) -> str:
    """Return the card's heading."""
    return f"Model card: {bundle.contract.provenance.method}, {len(bundle.contract.labels)} classes"


def _recorded(
    name: str, cls: type[Record], describe: Callable[[Record, Sequence[str]], Iterator[str]]
) -> Callable[[Bundle], Iterator[str]]:
    """Return the section that a record and the model's classes give; it says so where there is no such record."""

    def section(bundle: Bundle) -> Iterator[str]:
        if name not in bundle.files:
            yield f"*Not recorded: this bundle holds no `{name}`.*"
            return
        try:
            record = records.from_json(cls, bundle.read(name), origin=name, remedy="", error=BundleError)
        except BundleError as refusal:
            yield f"*`{name}` is not of this version of metfa: expected {plain(refusal.expected)}.*"
            return
        yield from describe(record, bundle.contract.labels)

    return section


def _details(bundle: Bundle) -> Iterator[str]:
    contract = bundle.contract
    size, provenance = contract.input, contract.provenance
    yield "> Research software. Not a medical device; not for diagnosis or any clinical decision."
    yield facts(
        [
            ("Classes", ", ".join(contract.labels)),
            ("Method", provenance.method),
            ("Labelled source", provenance.source),
            ("Adapted to", provenance.target or "no other scanner: the method uses no target"),
            (
                "Input",
                f"uint8, 1 × {size.height} × {size.width}, {size.resize}, normalisation {size.normalisation.kind}",
            ),
            ("Part of the frame", _region(size.region)),
            ("Embedding", f"{contract.embedding} dimensions"),
            ("Written by", provenance.software),
        ]
    )


def _use(bundle: Bundle) -> Iterator[str]:
    target = bundle.contract.provenance.target
    scanner = plain(target if target is not None else bundle.contract.provenance.source)
    yield f"To label frames of the scanner of {scanner} with one of the classes above, or none, in research."
    yield (
        "Not for diagnosis, for measurement, or for scanners, probes, presets or populations other than those of the "
        "data below; the scores say nothing about them. A frame of a plane that is not among the classes may be given "
        "one of them. What the model does on your scanner is known once you have measured it: `metfa-evaluate`."
    )


def _data(report: DataReport, _: Sequence[str]) -> Iterator[str]:
    for role, domain in (("Source", report.source), ("Target", report.target)):
        if domain is None:
            yield (
                "Source: its images were not there; embeddings drawn from what is known of their classes stood for "
                "them, in the source accuracies below, too."
            )
            continue
        yield f"{role}, {describe_groups(domain.groups)}. Images, and in brackets the groups that they are of:"
        yield table(
            ("class", *SPLITS),
            [
                (label, *(f"{of_split[part].images} ({of_split[part].groups})" for part in SPLITS))
                for label, of_split in domain.classes.items()
            ],
        )
        for reason, count in domain.skipped.items():
            yield f"Skipped {count}: {plain(reason)}."
        if domain.patients_unknown:
            yield "No patient is named: held-out images may be of patients that were trained on, and scores too good."
        if domain.divided:
            yield f"In more than one split, as the data came: {domain.divided} groups; scores are too good."
    if report.labelled:
        each = ", ".join(f"{plain(label)} {count}" for label, count in report.labelled.items())
        yield f"Labels of the target that were learnt from: {each}."


def _training(config: TrainingConfig, labels: Sequence[str]) -> Iterator[str]:
    classes = len(labels)
    drawn = "drawn embeddings" if config.origin else "source images"
    yield facts(
        [
            ("Input", f"{config.height} × {config.width}"),
            ("Initial weights", initial_weights(config)),
            *ancestors(config),
            (
                "Batch",
                f"{config.images_of_each_class(classes)} {drawn} of each of {classes} classes",
            ),
            *((each.setting.name, _setting(each, config)) for each in settable_fields(TrainingConfig)),
        ]
    )


def _setting(settable: SettableField, config: TrainingConfig) -> str:
    value = settable.value_in(config)
    if settable.kind == Roi:
        return _region(value)
    if value is None:
        return settable.setting.shown or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _course(bundle: Bundle) -> Iterator[str]:
    if CURVES in bundle.files:
        yield f"![Terms of the objective and validators over the steps]({CURVES})"
    else:
        yield f"*Not recorded: this bundle holds no `{CURVES}`.*"


def _selection(evaluation: Evaluation, _: Sequence[str]) -> Iterator[str]:
    yield (
        f"Of {len(evaluation.candidates)} candidates, that of step {evaluation.selected_step}. No F1 had a part in it: "
        "they were computed after the choice."
    )
    yield table(
        ("step", "source accuracy", "AMI", "V-measure", "IM", "diversity", "source F1", "target F1"),
        [
            (
                f"{candidate.step}",
                f"{candidate.validators.supervised_accuracy:.1%}",
                f"{candidate.validators.ami:.3f}",
                f"{candidate.validators.v_measure:.3f}",
                f"{candidate.validators.information_maximisation:.3f}",
                f"{candidate.validators.diversity:.3f}",
                "no images" if candidate.source_f1 is None else f"{candidate.source_f1:.3f}",
                "no labels" if candidate.target_f1 is None else f"{candidate.target_f1:.3f}",
            )
            for candidate in evaluation.candidates
        ],
    )


def _comparison(evaluation: Evaluation, _: Sequence[str]) -> Iterator[str]:
    if evaluation.verdict is not None:
        yield plain(evaluation.verdict.reason)
    yield "By validators that see no target label; see `docs/selection.md`."
    yield table(
        ("method", "step", "consistency", "reverse accuracy", "source accuracy", "AMI", "diversity"),
        [
            (
                each.judged.method,
                f"{each.selected_step}",
                f"{each.judged.consistency:.3f}",
                f"{each.judged.reverse_accuracy:.3f}",
                f"{each.judged.validators.supervised_accuracy:.1%}",
                f"{each.judged.validators.ami:.3f}",
                f"{each.judged.validators.diversity:.3f}",
            )
            for each in evaluation.compared
        ],
    )
    for method, reason in evaluation.diverged.items():
        yield f"{plain(method)} diverged: {plain(reason)}."


def _shares(evaluation: Evaluation, _: Sequence[str]) -> Iterator[str]:
    shares = evaluation.class_shares
    columns = {"source": shares.source}
    for name, estimates in (("before", shares.before), ("after", shares.after)):
        columns[f"target, {name}, BBSE"] = estimates.bbse
        columns[f"target, {name}, MLLS"] = estimates.mlls
    if shares.target is not None:
        columns["target's test frames"] = shares.target
    yield (
        "Of the source by its labels. Of the target estimated without labels: before adaptation, by "
        f"{shares.before.method} of step {shares.before.step}; after, by the model."
    )
    yield table(
        ("class", *columns),
        [(label, *(f"{of_class[label]:.1%}" for of_class in columns.values())) for label in shares.source],
    )


def _scores(evaluation: Evaluation, labels: Sequence[str]) -> Iterator[str]:
    domains: dict[str, Scores | None] = {
        "source": evaluation.source,
        "source, with this bundle's batch norm": evaluation.source_as_exported,
        "target": evaluation.target,
        **{
            f"target, {each.judged.method} at the same settings": each.target
            for each in evaluation.compared
            if each.judged.method != evaluation.method
        },
    }
    yield "On held-out frames; macro averages over the classes that have frames."
    yield table(
        ("domain", "frames", "macro F1", "precision", "recall", "accuracy"),
        [
            (name, "no images" if name.startswith("source") else "no labels", "", "", "", "")
            if scores is None
            else (
                name,
                f"{scores.images}",
                *(f"{value:.3f}" for value in (scores.f1, scores.precision, scores.recall, scores.accuracy)),
            )
            for name, scores in domains.items()
        ],
    )
    known = evaluation.source_as_exported if evaluation.target is None else evaluation.target
    if known is None:
        return
    yield f"Class by class, on the {'source' if evaluation.target is None else 'target'}:"
    yield table(
        ("class", "frames", "F1", "precision", "recall"),
        [
            (
                label,
                f"{scores.images}",
                *(
                    "none" if value is None else f"{value:.3f}"
                    for value in (scores.f1, scores.precision, scores.recall)
                ),
            )
            for label, scores in zip(labels, score_classes(known.confusion), strict=True)
        ],
    )


def _decisions(bundle: Bundle) -> Iterator[str]:
    decision = bundle.contract.decision
    rejection = decision.rejection
    yield facts(
        [
            (
                "Calibration",
                f"logits are divided by the temperature {decision.temperature:.3g}",
            ),
            (
                "Rejected",
                "nothing"
                if rejection is None
                else f"frames whose {rejection.score} is below {rejection.threshold:.3g}",
            ),
            ("Classes that are no planes", ", ".join(decision.background) or "none"),
            (
                "A plane is shown",
                f"from a smoothed probability of {decision.enter:g} held for {decision.dwell_ms:g} ms, until it is "
                f"below {decision.exit:g}; smoothing {decision.smoothing_ms:g} ms",
            ),
        ]
    )


def _scanners(statistics: ScannerStatistics, _: Sequence[str]) -> Iterator[str]:
    for scanner in (statistics.source, statistics.target):
        if scanner is not None:
            yield f"{plain(scanner.name)}: {len(scanner.points)} training frames stand for what its pictures look like."


def _parity(report: ParityReport, _: Sequence[str]) -> Iterator[str]:
    for name, compared in report.compared_on.items():
        right = "" if compared.accuracy is None else f"; PyTorch labels {compared.accuracy:.1%} of them rightly"
        yield f"Frames of {plain(name)}: {compared.frames} ({plain(compared.description)}){right}."
    yield table(*comparison_table(report))
    yield table(*graph_table(report))


def _engines(bundle: Bundle) -> Iterator[str]:
    engines = bundle.matching("*.engine")
    if not engines:
        yield "None."
        return
    held = {name: EngineRecord.parse(bundle.read(record_name(name)), origin=record_name(name)) for name in engines}
    yield table(
        ("engine", "built by", "precision", "frames at once", "for compute capability"),
        [
            (
                name,
                f"{record.flavour} {record.version}",
                record.precision,
                f"{record.batch.minimum} to {record.batch.maximum}",
                ", ".join(record.compute_capabilities),
            )
            for name, record in held.items()
        ],
    )


def _files(bundle: Bundle) -> Iterator[str]:
    yield table(
        ("file", "SHA-256"),
        [(name, digest) for name, digest in bundle.files.items() if name not in {CARD, CARD_PAGE}],
    )


def _region(region: Roi) -> str:
    if region is None:
        return "all of it"
    return "the ultrasound sector, found in each recording" if region == "auto" else f"{region} (x, y, width, height)"


SECTIONS: Mapping[str, Callable[[Bundle], Iterator[str]]] = {
    "Model": _details,
    "Intended use and limits": _use,
    "Data": _recorded(DATA, DataReport, _data),
    "Training": _recorded(CONFIG, TrainingConfig, _training),
    "Course of the training": _course,
    "Choice of the model": _recorded(EVALUATION, Evaluation, _selection),
    "Whether adaptation helps": _recorded(EVALUATION, Evaluation, _comparison),
    "How frequent the classes are": _recorded(EVALUATION, Evaluation, _shares),
    "Scores": _recorded(EVALUATION, Evaluation, _scores),
    "Decisions": _decisions,
    "Scanners": _recorded(SCANNERS, ScannerStatistics, _scanners),
    "Parity with PyTorch": _recorded(PARITY, ParityReport, _parity),
    "Engines": _engines,
    "Files": _files,
}
