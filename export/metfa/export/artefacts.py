"""One export, from a network in PyTorch to all its files, each of them through the gate."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from metfa.runtime.bundle.contract import software
from metfa.runtime.bundle.directory import ONNX, PARITY
from metfa.runtime.bundle.engine_record import EngineRecord, record_name
from metfa.runtime.bundle.records import to_json
from metfa.runtime.errors import ParityError
from metfa.runtime.files import write_text
from metfa.training.names import SONONET
from metfa.training.sononet import load_sononet
from metfa.training.weights import load_network

from .engines import EngineOptions, find_targets, plan_engines
from .gate import Gate
from .graph import Model, deploy
from .parity import Comparison
from .plans import Built, Int8Options, Plan, plan_fp16, plan_fp32, plan_int8
from .report import SCHEMA, ParityReport
from .sononet import sononet_model

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from metfa.runtime.bundle.directory import Bundle

    from .frames import FrameSet


@dataclass(frozen=True, slots=True)
class Artefacts:
    """What an export made.

    Attributes:
        parity: what the gate measured.
        engines: record of each engine, by file name.
        notes: why an engine was not built or not compared, one sentence each.
        refusals: why artefacts of reduced precision were left out again, by file name.
    """

    parity: ParityReport
    engines: dict[str, EngineRecord]
    notes: tuple[str, ...]
    refusals: dict[str, ParityError]


def load_model(bundle: Bundle) -> Model:
    """Load the network of a bundle that ``metfa-train`` or ``metfa-export --sononet`` made.

    Raises:
        BundleError: its weights are missing, damaged, or those of another network.
    """
    if bundle.contract.provenance.method == SONONET:
        return sononet_model(load_sononet(bundle), bundle.contract)
    network = load_network(bundle)
    return Model(network, partial(deploy, network), bundle.contract)


def write_artefacts(
    model: Model,
    frames: Sequence[FrameSet],
    directory: Path,
    *,
    fp16: bool,
    int8: Int8Options | None,
    engine: EngineOptions,
    largest_differences: Path | None,
) -> Artefacts:
    """Write the artefacts of ``model`` and their parity report into ``directory``.

    Args:
        model: what to export.
        frames: what to compare on, by domain.
        directory: where to write; what is there after an error is not to be used.
        fp16: whether to make the FP16 graph, and engines of it with the flavours of TensorRT that are installed.
        int8: how to make the INT8 graphs, and engines of the one for TensorRT; None for neither.
        engine: what the engines are for.
        largest_differences: where to draw the frames on which each artefact is furthest from PyTorch, whether or not
            it passes; None for nowhere.

    Raises:
        ExportError: an artefact cannot be made or is not in its precision.
        ParityError: the FP32 graph is beyond its tolerance; of others the result says so.
        OutputError: a file cannot be written.
    """
    targets, notes = find_targets(engine.compute_capabilities) if fp16 or int8 else ({}, [])
    gate = Gate(model, frames, largest_differences)
    plans = [plan_fp32(model)]
    if fp16:
        plans += [plan_fp16(model), *plan_engines("fp16", model.contract, targets, engine)]
    if int8:
        plans += plan_int8(directory / ONNX, model.contract, int8, gate)
        plans += plan_engines("int8", model.contract, targets, engine, kept=len(int8.keep))
    results: dict[str, _Result] = {}
    for plan in plans:
        if plan.source is None or results[plan.source].refusal is None:
            results[plan.name] = _carry_out(plan, directory, gate)
    made = {name: result.built for name, result in results.items()}
    report = ParityReport(
        SCHEMA,
        software(),
        gate.compared_on,
        tuple(comparison for result in results.values() for comparison in result.comparisons),
        {name: built.operations for name, built in made.items() if built.operations is not None},
        {name: built.graph for name, built in made.items() if built.graph},
    )
    write_text(directory / PARITY, to_json(report))
    return Artefacts(
        report,
        {name: built.engine for name, built in made.items() if built.engine},
        (*notes, *(note for built in made.values() for note in built.notes)),
        {name: result.refusal for name, result in results.items() if result.refusal},
    )


@dataclass(frozen=True, slots=True)
class _Result:
    """What became of a plan.

    Attributes:
        built: the file; only its notes where the gate refused it.
        comparisons: with PyTorch, one for each of its runners.
        refusal: why the gate refused it.
    """

    built: Built
    comparisons: tuple[Comparison, ...] = ()
    refusal: ParityError | None = None


def _carry_out(plan: Plan, directory: Path, gate: Gate) -> _Result:
    """Build a file and send it through the gate; remove it again where it is refused.

    Raises:
        ParityError: it was refused, and is required.
    """
    built = plan.build(directory / plan.name)
    try:
        return _Result(
            built,
            tuple(
                gate.check(plan.name, plan.precision, runner.name, runner.load(), remedy=plan.remedy)
                for runner in built.runners
            ),
        )
    except ParityError as refusal:
        if plan.required:
            raise
        for name in (plan.name, record_name(plan.name)):
            (directory / name).unlink(missing_ok=True)
        return _Result(Built(notes=built.notes), refusal=refusal)
