"""``metfa-export``: bundle in, the same bundle with ONNX in FP32, FP16 and INT8 and engines out."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from metfa.runtime import command
from metfa.runtime.bundle.directory import CARD, CARD_PAGE, DEFAULT_DIRECTORY, Bundle
from metfa.runtime.bundle.engine_record import LIVE_BATCH
from metfa.runtime.bundle_parameters import WrittenBundleType
from metfa.runtime.command import Command, require_extra, say, typed_arguments
from metfa.runtime.errors import ParityError
from metfa.runtime.lock import writing_alone
from metfa.runtime.parameters import BatchType, RoiType, SectionedOption

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from metfa.runtime.bundle.contract import Roi
    from metfa.runtime.bundle.engine_record import BatchRange

    from .run import Export

# PyTorch and ONNX are imported where they are used, so that --help answers at once.


# Options under the title of a section.
_model = partial(click.option, cls=SectionedOption, section="Model")
_proof = partial(click.option, cls=SectionedOption, section="Comparison and calibration")
_engine = partial(click.option, cls=SectionedOption, section="TensorRT engines")
_server = partial(click.option, cls=SectionedOption, section="Servers")


@click.command(cls=Command)
@click.argument("bundle", type=WrittenBundleType(), required=False)
@_model(
    "--bundle",
    "named",
    type=WrittenBundleType(),
    help=f"Another way to name BUNDLE.  [default: {DEFAULT_DIRECTORY}]",
)
@_model("--fp16", is_flag=True, help="Make the FP16 graph too, and an engine where TensorRT is installed.")
@_model(
    "--int8",
    is_flag=True,
    help="Make INT8 graphs for CPUs and TensorRT too, calibrated on unlabelled target frames, and engines likewise.",
)
@_model(
    "--sononet",
    "weights",
    type=click.Path(path_type=Path),
    metavar="SonoNet16.npz",
    help="Make a new bundle of the published SonoNet-16 weights.",
)
@_model("--keep", multiple=True, metavar="LAYER", help="A layer to leave in FP32 in INT8 graphs; repeatable.")
@_proof(
    "--frames",
    metavar="SPEC",
    help="What to compare on: any domain, such as a folder or a recording.  [default: the bundle's reference frames]",
)
@_proof(
    "--calibration",
    metavar="SPEC",
    help="What to calibrate INT8 on, named likewise.  [default: the bundle's calibration frames]",
)
@_proof(
    "--roi",
    "region",
    type=RoiType(),
    help="The part of each of --frames and --calibration that the model sees.  [default: full]",
)
@_proof(
    "--largest-differences",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Draw the frames on which each artefact is furthest from PyTorch, whether or not it passes.",
)
@_engine(
    "--compute-capability",
    "compute_capabilities",
    multiple=True,
    metavar="X.Y",
    help="Of GPUs that the engine must run on, with TensorRT for RTX; repeatable.  [default: all that it lists]",
)
@_engine(
    "--batch",
    type=BatchType(),
    help="How many frames engines take at once: fewest, what they are tuned for, most.  [default: 1,1,8]",
)
@_engine(
    "--workspace",
    type=click.IntRange(min=1),
    metavar="MIB",
    help="The most GPU memory for engines beside the network's own.  [default: no limit]",
)
@_server("--triton", type=click.Path(path_type=Path), metavar="DIR", help="Also write a model repository for Triton.")
@_server(
    "--deepstream", type=click.Path(path_type=Path), metavar="DIR", help="Also write what DeepStream's nvinfer needs."
)
def main(  # click passes the options by name
    bundle: Path | None,
    named: Path | None,
    fp16: bool,
    int8: bool,
    weights: Path | None,
    frames: str | None,
    calibration: str | None,
    region: Roi,
    keep: tuple[str, ...],
    largest_differences: Path | None,
    compute_capabilities: tuple[str, ...],
    batch: BatchRange | None,
    workspace: int | None,
    triton: Path | None,
    deepstream: Path | None,
) -> None:
    """Turn the weights in BUNDLE into what an edge device runs, and prove that it computes the same.

    BUNDLE is the directory that metfa-train wrote, by default runs/metfa.

    Whatever differs from PyTorch beyond the tolerance stays out of the bundle, and the exit code is 1.
    """
    if bundle and named:
        raise click.UsageError("name the bundle once: as BUNDLE or with --bundle")
    directory = bundle or named
    if weights and not directory:
        raise click.UsageError("name the bundle that --sononet makes with --bundle")
    _require("--roi", region, "--frames and --calibration", frames or calibration)
    _require("--calibration and --keep", calibration or keep, "--int8", int8)
    builder = compute_capabilities or batch or workspace
    _require("--compute-capability, --batch and --workspace", builder, "--fp16 and --int8", fp16 or int8)
    require_extra("export", "torch", "safetensors", "onnx", "onnxscript", "markdown")
    require_extra("cpu", "onnxruntime")
    from .run import ExportConfig, export, export_sononet
    from .serving.directory import require_absent

    for path in (triton and triton / "metfa", deepstream):
        if path:
            require_absent(path)  # before the work
    directory = directory or DEFAULT_DIRECTORY
    config = ExportConfig(
        fp16=fp16,
        int8=int8,
        frames=frames,
        calibration=calibration,
        region=region,
        keep=keep,
        largest_differences=largest_differences,
        compute_capabilities=compute_capabilities,
        batch=batch or LIVE_BATCH,
        workspace=workspace * 2**20 if workspace else None,
    )
    typed = shlex.join(["metfa-export", *typed_arguments()])
    if weights:
        made = export_sononet(weights, directory, config, command=typed)
    else:
        made = export(directory, config, command=typed)
    if made.written:
        say([f"{directory}: {made.contract.provenance.method}, {len(made.contract.labels)} classes", *_describe(made)])
    if made.refusals:
        _refuse(made.refusals, "the bundle holds the rest" if made.written else "the bundle is as it was")
    if triton or deepstream:
        with writing_alone(directory):  # nobody may change what is read
            _write_for_servers(Bundle.open(directory), triton=triton, deepstream=deepstream)


def run() -> None:
    """Be the process ``metfa-export``."""
    command.run(main)


def _write_for_servers(bundle: Bundle, *, triton: Path | None, deepstream: Path | None) -> None:
    """Write what servers need of a bundle."""
    if triton:
        from .serving.triton import write_triton_repository

        written = write_triton_repository(bundle, triton)
        say([f"wrote {written}, for: tritonserver --model-repository {triton}"])
    if deepstream:
        from .serving.deepstream import write_deepstream

        config = write_deepstream(bundle, deepstream)
        say([f"wrote {deepstream}, for: nvinfer config-file-path={config}"])


def _refuse(refusals: Mapping[str, ParityError], state: str) -> NoReturn:
    """Say of each artefact that the gate refused why it did, and what became of the bundle."""
    *others, last = (
        ParityError(expected=refusal.expected, received=refusal.received, remedy=f"{state}; {refusal.remedy}")
        for refusal in refusals.values()
    )
    for refusal in others:
        click.echo(f"Error: {refusal}", err=True)  # escaped by its class
    raise last


def _require(options: str, given: object, others: str, present: object) -> None:
    """Refuse options without those that they qualify."""
    if given and not present:
        raise click.UsageError(f"{options} {'go' if 'and' in options else 'goes'} with {others}")


def _describe(made: Export) -> Iterator[str]:
    """Yield the lines that tell the user what was made."""
    from .report import describe

    artefacts = made.artefacts
    yield from describe(artefacts.parity)
    for artefact, operations in artefacts.parity.operations.items():
        counts = (
            f"{count} {kind} in {name}" for kind, types in operations.items() for name, count in sorted(types.items())
        )
        yield f"{artefact}: {', '.join(counts)}"
    for name, record in artefacts.engines.items():
        yield (
            f"{name}: {record.flavour} {record.version}, {record.precision}, "
            f"batches of {record.batch.minimum} to {record.batch.maximum}, "
            f"for {record.device or 'GPUs'} of compute capability {', '.join(record.compute_capabilities)}"
        )
    yield from artefacts.notes
    for name, size in sorted(made.models.items()):
        yield f"wrote {name}, {size / 1e6:.1f} MB"
    if made.removed:
        yield f"removed what an earlier export made: {', '.join(made.removed)}"
    yield f"wrote {CARD} and {CARD_PAGE}"
