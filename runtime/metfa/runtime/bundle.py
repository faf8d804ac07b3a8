"""The bundle: the directory that passes between train, export and stream, with a manifest of what it holds.

::

    bundle.json             manifest: SHA-256 of every other file
    contract.json           what the model takes and returns
    model.safetensors       weights
    model.onnx              FP32 graph
    model.fp16.onnx         typed FP16 graph, same inputs and outputs
    model.int8.onnx         Q/DQ graph for CPUs
    model.int8.tensorrt.onnx  Q/DQ graph for TensorRT
    model.*.*.engine        TensorRT plans in FP16 and INT8, each beside its <name>.engine.json
    devices.json            what the pictures of the training devices look like
    …                       records of training and export
"""

from __future__ import annotations

import shlex
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import records
from .contract import ModelContract
from .errors import BundleError, OutputError
from .files import make_directory, remove_empty, sha256, sync, umask, writing_to
from .onnx_file import require_self_contained

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEFAULT_DIRECTORY = Path("runs/metfa")
MANIFEST = "bundle.json"
CONTRACT = "contract.json"
WEIGHTS = "model.safetensors"
ONNX = "model.onnx"
ONNX_FP16 = "model.fp16.onnx"
ONNX_INT8 = "model.int8.onnx"
ONNX_INT8_TENSORRT = "model.int8.tensorrt.onnx"
PARITY = "parity.json"
CARD = "MODEL_CARD.md"
CARD_PAGE = "MODEL_CARD.html"
DEVICES = "devices.json"
UNFINISHED = "unfinished"
"""The directory inside a bundle that holds a training run until it is finished."""

CHECKPOINT = "checkpoint.safetensors"
"""The file in it that ``metfa-train --resume`` goes on from."""

ENGINE_PATTERN = "model.fp16.*.engine"
ENGINE_PATTERN_INT8 = "model.int8.*.engine"

_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class _Manifest:
    schema: int
    files: dict[str, str]  # name → SHA-256

    def __post_init__(self) -> None:
        if self.schema != _SCHEMA:
            raise ValueError(f"schema {self.schema} where this version of metfa reads schema {_SCHEMA}")
        for name in self.files:
            if Path(name).name != name or name in {"", ".", ".."}:
                raise ValueError(f"{name!r} is not the name of a file in the bundle")


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that was opened: its manifest and contract are read and intact; files are verified when asked for.

    Attributes:
        directory: where it is.
        contract: the model's contract.
        files: SHA-256 by file name.
    """

    directory: Path
    contract: ModelContract
    files: dict[str, str]

    @classmethod
    def open(cls, directory: Path) -> Bundle:
        """Open the bundle in ``directory``.

        Raises:
            BundleError: there is no bundle, or its manifest or contract is damaged.
            ContractError: the contract is of another version or invalid.
        """
        manifest = read_manifest(directory)
        contract = ModelContract.from_json(
            _verified(directory, CONTRACT, manifest).read_bytes(), origin=str(directory / CONTRACT)
        )
        return cls(directory, contract, manifest)

    def path(self, name: str) -> Path:
        """Return the path of the file ``name``, whose hash was just checked; an ONNX is known to name no other file.

        Raises:
            BundleError: the bundle holds no such file, it is not the one that was written, or it names others.
        """
        path = _verified(self.directory, name, self.files)
        if path.suffix == ".onnx":
            require_self_contained(path)
        return path

    def require_exported(self) -> None:
        """Make sure that there is a model that can be run.

        Raises:
            BundleError: it was only trained.
        """
        if not (self.matching("*.onnx") or self.matching("*.engine")):
            raise BundleError(
                expected=f"an exported model in the bundle {self.directory}",
                received="one that was only trained",
                remedy=f"run metfa-export {shlex.quote(str(self.directory))} --fp16",
            )

    def matching(self, pattern: str) -> list[str]:
        """Return the names of the bundle's files that match the glob ``pattern``, sorted."""
        return sorted(name for name in self.files if Path(name).match(pattern))


def read_manifest(directory: Path) -> dict[str, str]:
    """Return SHA-256 by file name.

    Raises:
        BundleError: there is no manifest, or it is damaged.
    """
    path = directory / MANIFEST
    if not path.is_file():
        if (directory / UNFINISHED / CHECKPOINT).is_file():
            raise BundleError(
                expected=f"a finished bundle in {directory}",
                received="one whose training was interrupted",
                remedy=f"go on with metfa-train --resume --bundle {shlex.quote(str(directory))}",
            )
        raise BundleError(
            expected=f"a bundle in {directory}",
            received=f"a directory without {MANIFEST}" if directory.is_dir() else "no such directory",
            remedy="run metfa-train first, or name the bundle with --bundle",
        )
    return records.from_json(
        _Manifest,
        path.read_bytes(),
        origin=str(path),
        remedy="make the bundle again with metfa-train",
        error=BundleError,
    ).files


@contextmanager
def updating(directory: Path, *, keep: Callable[[str], bool]) -> Iterator[Path]:
    """Yield an empty directory whose files enter the bundle, all together, if the block succeeds.

    If it fails, the bundle stays as it was. ``contract.json`` must be among the files of a new bundle.

    Args:
        directory: the bundle; made if it is missing.
        keep: says of the name of each other file of the bundle whether it stays. Files that the manifest does not name
            are left alone.

    Raises:
        OutputError: the directory cannot be written, by the block either.
    """
    before = _files_before(directory)
    with writing_to(directory):
        made = make_directory(directory)
        stage = Path(tempfile.mkdtemp(prefix=".stage-", dir=directory))
    try:
        with _writing_bundle(directory, stage):
            yield stage
            new = {path.name: sha256(path) for path in stage.iterdir()}
            kept = {name: digest for name, digest in before.items() if keep(name)}
            manifest = _Manifest(_SCHEMA, dict(sorted({**kept, **new}.items())))
            (stage / MANIFEST).write_text(records.to_json(manifest), encoding="utf-8")
            for name in (*new, MANIFEST):
                sync(stage / name)
            # From here on nothing needs space on the disk; the manifest comes last.
            for name in (*new, MANIFEST):
                (stage / name).chmod(0o666 & ~umask())
                (stage / name).replace(directory / name)
            sync(directory)
            for name in before.keys() - manifest.files.keys():
                (directory / name).unlink(missing_ok=True)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        remove_empty(made)


@contextmanager
def _writing_bundle(directory: Path, stage: Path) -> Iterator[None]:
    """Name the bundle's files where those of ``stage``, which users have never seen, cannot be written."""
    try:
        with writing_to(directory):
            yield
    except OutputError as error:
        raise OutputError(
            expected=error.expected.replace(str(stage), str(directory)), received=error.received, remedy=error.remedy
        ) from None


def is_exported(name: str) -> bool:
    """Return whether ``name`` is a file that ``metfa-export`` makes: another export leaves none of the last."""
    return (
        Path(name).suffix in {".onnx", ".engine"} or name.endswith(".engine.json") or name in {PARITY, CARD, CARD_PAGE}
    )


def _files_before(directory: Path) -> dict[str, str]:
    """Return what the manifest names; nothing where it is missing or damaged, as it is about to be replaced."""
    try:
        return read_manifest(directory)
    except BundleError:
        return {}


def _verified(directory: Path, name: str, files: dict[str, str]) -> Path:
    path = directory / name
    if name not in files or not path.is_file():
        raise BundleError(
            expected=f"{name} in the bundle {directory}", received="no such file", remedy=_remedy_for(name)
        )
    actual = sha256(path)
    if actual != files[name]:
        raise BundleError(
            expected=f"{path} as it was written (SHA-256 {files[name][:12]}…)",
            received=f"a file that was changed or truncated since (SHA-256 {actual[:12]}…)",
            remedy=_remedy_for(name),
        )
    return path


def _remedy_for(name: str) -> str:
    return f"make it again with {'metfa-export' if is_exported(name) else 'metfa-train'}"
