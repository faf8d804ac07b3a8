"""One export: artefacts are written, go through the gate, and become part of the bundle, with its card."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from metfa.runtime.bundle.contract import ModelContract, Roi
from metfa.runtime.bundle.directory import CARD, CARD_PAGE, MANIFEST, Bundle, is_exported, updating
from metfa.runtime.bundle.engine_record import LIVE_BATCH, BatchRange
from metfa.runtime.errors import OutputError
from metfa.runtime.lock import writing_alone
from metfa.training.names import SONONET

from .artefacts import Artefacts, load_model, write_artefacts
from .card import write_card
from .engines import EngineOptions
from .frames import calibration_frames, default_frames, read_frames
from .plans import Int8Options
from .sononet import read_published_weights, save_sononet, sononet_contract, sononet_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from metfa.runtime.errors import ParityError

    from .graph import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportConfig:
    """What an export makes, and what it is compared on. The FP32 graph is always made.

    Attributes:
        fp16: make the FP16 graph too, and an engine where TensorRT is installed.
        int8: make INT8 graphs for CPUs and TensorRT too, and engines likewise.
        frames: what to compare on: any domain, such as a folder or a recording; None for the bundle's own frames.
        calibration: what to calibrate INT8 on, named likewise.
        region: the part of both that the model sees; ``auto`` for the sector, None for all.
        keep: names of layers that stay in float32 in INT8 graphs.
        largest_differences: where to draw the frames on which each artefact is furthest from PyTorch; None for nowhere.
        compute_capabilities: of the GPUs that engines must run on; empty for all that can be built for here.
        batch: how many frames engines take at once.
        workspace: the most bytes of GPU memory beside the network's own; None for no limit.
    """

    fp16: bool = False
    int8: bool = False
    frames: str | None = None
    calibration: str | None = None
    region: Roi = None
    keep: tuple[str, ...] = ()
    largest_differences: Path | None = None
    compute_capabilities: tuple[str, ...] = ()
    batch: BatchRange = LIVE_BATCH
    workspace: int | None = None

    def command(self, bundle: Path) -> str:
        """Return the command line that asks for such an export of ``bundle``."""
        given = [f"--{name}" for name in ("fp16", "int8") if getattr(self, name)]
        for name in ("frames", "calibration"):
            given += [f"--{name}", getattr(self, name)] if getattr(self, name) else []
        given += ["--roi", str(self.region)] if self.region else []
        given += [part for layer in self.keep for part in ("--keep", layer)]
        return shlex.join(["metfa-export", str(bundle), *given])


@dataclass(frozen=True, slots=True)
class Export:
    """What became of an export.

    Attributes:
        contract: of the model.
        artefacts: what was made, what the gate measured and what it refused.
        models: the size in bytes of each graph and engine in the bundle, by file name.
        written: whether the bundle was changed. It stays as it was where an artefact that it holds would be refused.
        removed: files of an earlier export that are no longer in the bundle.
    """

    contract: ModelContract
    artefacts: Artefacts
    models: dict[str, int]
    written: bool
    removed: tuple[str, ...]

    @property
    def refusals(self) -> dict[str, ParityError]:
        """Why the gate refused artefacts of reduced precision, by file name; they are not in the bundle."""
        return self.artefacts.refusals


class _StaysAsItWas(Exception):  # noqa: N818  # no error: it ends a change of the bundle
    pass


def export(bundle: str | Path, config: ExportConfig = ExportConfig(), *, command: str | None = None) -> Export:
    """Add to a bundle what an edge device runs, and prove that it computes what PyTorch computes.

    Args:
        bundle: the directory that ``metfa-train`` wrote.
        config: what to make.
        command: the command line that asks for it. Where INT8 is refused, the remedy adds options to it.

    Raises:
        BundleError: there is no whole bundle.
        ExportError: an artefact cannot be made or is not in its precision.
        ParityError: the FP32 graph is beyond its tolerance; of others the result says so.
        OutputError: a file cannot be written, or another process writes to the bundle.
    """
    directory = Path(bundle)
    command = command or config.command(directory)
    if not directory.is_dir():
        Bundle.open(directory)  # which says what is not there
    with writing_alone(directory):
        held = Bundle.open(directory)
        return _export(load_model(held), held, directory, config, command, write_weights=lambda stage: None)


def export_sononet(
    weights: Path, bundle: str | Path, config: ExportConfig = ExportConfig(), *, command: str | None = None
) -> Export:
    """Make a bundle of the published SonoNet-16 weights; see :func:`export`.

    Args:
        weights: ``SonoNet16.npz``.
        bundle: the directory to write; a bundle of SonoNet-16 that is there is replaced.
        config: what to make.
        command: as for :func:`export`.

    Raises:
        SourceError: the weights cannot be read, or are others.
        OutputError: the directory holds a trained bundle, which would be lost.
    """
    directory = Path(bundle)
    command = command or f"{config.command(directory)} --sononet {shlex.quote(str(weights))}"
    with writing_alone(directory):
        _refuse_to_replace_training(directory)
        network = read_published_weights(weights)
        model = sononet_model(network, sononet_contract())
        return _export(
            model, None, directory, config, command, write_weights=lambda stage: save_sononet(network, stage)
        )


def _export(
    model: Model,
    held: Bundle | None,
    directory: Path,
    config: ExportConfig,
    command: str,
    write_weights: Callable[[Path], None],
) -> Export:
    size = model.contract.input
    compared = (read_frames(config.frames, size, config.region),) if config.frames else default_frames(held, size)
    int8 = None
    if config.int8:
        calibrating = (
            read_frames(config.calibration, size, config.region) if config.calibration else calibration_frames(held)
        )
        int8 = Int8Options(calibrating, command, config.keep)
    engine = EngineOptions(config.compute_capabilities, config.batch, config.workspace)
    try:
        with updating(directory, keep=lambda name: held is not None and not is_exported(name)) as stage:
            write_weights(stage)
            made = write_artefacts(
                model,
                compared,
                stage,
                fp16=config.fp16,
                int8=int8,
                engine=engine,
                largest_differences=config.largest_differences,
            )
            if held and not made.refusals.keys().isdisjoint(held.files):
                raise _StaysAsItWas
    except _StaysAsItWas:
        return Export(model.contract, made, {}, written=False, removed=())
    finished = Bundle.open(directory)
    write_card(finished)
    before = {name for name in held.files if is_exported(name) and name not in {CARD, CARD_PAGE}} if held else set()
    return Export(
        finished.contract,
        made,
        {name: (directory / name).stat().st_size for name in finished.files if name.endswith((".onnx", ".engine"))},
        written=True,
        removed=tuple(sorted(before - set(finished.files))),
    )


def _refuse_to_replace_training(directory: Path) -> None:
    """Published weights are fetched again in seconds; trained ones are not."""
    if not (directory / MANIFEST).exists():
        return
    method = Bundle.open(directory).contract.provenance.method
    if method != SONONET:
        raise OutputError(
            expected=f"a new directory, or a bundle of {SONONET} to replace",
            received=f"{directory}, a bundle of {method}",
            remedy="choose another directory with --bundle",
        )
