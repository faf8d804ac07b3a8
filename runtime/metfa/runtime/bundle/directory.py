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
    scanners.json            what the pictures of the training scanners look like
    …                       records of training and export

While files enter it, a bundle also holds a directory ``.stage-…``, where they are written, which then becomes
``.exchange``, from which they get their names. Whoever opens a bundle next finishes an exchange that was interrupted.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BundleError, OutputError
from ..files import WITHOUT_WAITING, replace, sha256, sync, umask, writing_to
from ..lock import lock, own_directory, remove_abandoned, renaming
from . import records
from .contract import ModelContract
from .onnx_file import require_harmless

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
SCANNERS = "scanners.json"
REFERENCE = "reference.safetensors"
"""Frames as the model sees them, which exports are compared and calibrated on; not where images must stay behind."""

UNFINISHED = "unfinished"
"""The directory inside a bundle that holds a training run until it is finished."""

CHECKPOINT = "checkpoint.safetensors"
"""The file in it that ``metfa-train --resume`` goes on from."""

ENGINE_PATTERN = "model.fp16.*.engine"
ENGINE_PATTERN_INT8 = "model.int8.*.engine"

MAX_FILE_BYTES = 1 << 31
"""Bytes of a file in a bundle; an ONNX cannot be larger."""

_SCHEMA = 2
_STAGE, _EXCHANGE = ".stage-", ".exchange"


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
        contract = ModelContract.from_json(_verified(directory, CONTRACT, manifest), origin=str(directory / CONTRACT))
        return cls(directory, contract, manifest)

    @property
    def digest(self) -> str:
        """Which bundle it is: the first twelve digits of the SHA-256 of ``bundle.json``, as metfa writes it."""
        return hashlib.sha256(records.to_json(_Manifest(_SCHEMA, self.files)).encode()).hexdigest()[:12]

    def read(self, name: str) -> bytes:
        """Return the bytes of the file ``name``, whose hash was checked; an ONNX is known to be harmless.

        Bytes and no path, so that what was checked is what is used.

        Raises:
            BundleError: the bundle holds no such file, it is not the one that was written, or it is an ONNX that names
                other files or may run without end.
        """
        content = _verified(self.directory, name, self.files)
        if name.endswith(".onnx"):
            require_harmless(content, self.directory / name)
        return content

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
    _finish_exchange(directory)
    path = directory / MANIFEST
    if not _is_file(path):
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
    return _parse_manifest(path)


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
    remove_abandoned(directory, _STAGE)
    with own_directory(directory, _STAGE) as stage, _writing_bundle(directory, stage):
        yield stage
        new = {path.name: sha256(path) for path in stage.iterdir()}
        kept = {name: digest for name, digest in before.items() if keep(name)}
        manifest = _Manifest(_SCHEMA, dict(sorted({**kept, **new}.items())))
        (stage / MANIFEST).write_text(records.to_json(manifest), encoding="utf-8", newline="\n")
        for name in (*new, MANIFEST):
            (stage / name).chmod(0o666 & ~umask())
            sync(stage / name)
        sync(stage)
        # From here on nothing needs space on the disk, and whatever happens, it can be finished.
        with renaming(stage, directory / _EXCHANGE):
            sync(directory)
            _exchange(directory)


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


def _finish_exchange(directory: Path) -> None:
    """Finish an exchange of files whose process was killed; wait for one that goes on.

    Raises:
        BundleError: it cannot be finished here.
    """
    if not os.path.isdir(directory / _EXCHANGE):  # noqa: PTH112  # where that may not be asked, there is none
        return
    try:
        descriptor = lock(directory / _EXCHANGE, wait=True)
    except FileNotFoundError:
        return  # another process has just finished it
    except OSError as cause:
        raise _unfinished(directory, cause) from None
    try:
        _exchange(directory)
    except OSError as cause:
        raise _unfinished(directory, cause) from None
    finally:
        os.close(descriptor)


def _exchange(directory: Path) -> None:
    """Give the files of ``.exchange`` their names, the manifest last; some may have them already."""
    exchange = directory / _EXCHANGE
    if (exchange / MANIFEST).exists():
        old, new = _files_of(directory / MANIFEST), _parse_manifest(exchange / MANIFEST)
        for path in exchange.iterdir():
            if path.name != MANIFEST:
                replace(path, directory / path.name)
        for name in old.keys() - new.keys():
            (directory / name).unlink(missing_ok=True)
        sync(directory)
        replace(exchange / MANIFEST, directory / MANIFEST)
        sync(directory)
    exchange.rmdir()


def _unfinished(directory: Path, cause: OSError) -> BundleError:
    return BundleError(
        expected=f"a whole bundle in {directory}",
        received=f"one whose exchange of files was interrupted and cannot be finished here ({cause.strerror})",
        remedy="open it once as a user who may write there, or make it again with metfa-export",
    )


def is_exported(name: str) -> bool:
    """Return whether ``name`` is a file that ``metfa-export`` makes: another export leaves none of the last."""
    return (
        Path(name).suffix in {".onnx", ".engine"} or name.endswith(".engine.json") or name in {PARITY, CARD, CARD_PAGE}
    )


def _files_before(directory: Path) -> dict[str, str]:
    """Return what the manifest names; nothing where it is missing or damaged, as it is about to be replaced."""
    _finish_exchange(directory)
    return _files_of(directory / MANIFEST)


def _files_of(manifest: Path) -> dict[str, str]:
    try:
        return _parse_manifest(manifest)
    except BundleError:
        return {}


def _parse_manifest(path: Path) -> dict[str, str]:
    return records.from_json(
        _Manifest, _read(path), origin=str(path), remedy="make the bundle again with metfa-train", error=BundleError
    ).files


def _verified(directory: Path, name: str, files: dict[str, str]) -> bytes:
    path = directory / name
    if name not in files or not _is_file(path):
        raise BundleError(
            expected=f"{name} in the bundle {directory}", received="no such file", remedy=_remedy_for(name, files)
        )
    content = _read(path)
    actual = hashlib.sha256(content).hexdigest()
    if actual != files[name]:
        raise BundleError(
            expected=f"{path} as it was written (SHA-256 {files[name][:12]}…)",
            received=f"a file that was changed or truncated since (SHA-256 {actual[:12]}…)",
            remedy=_remedy_for(name, files),
        )
    return content


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except PermissionError:  # reading it will say so
        return True


def _read(path: Path) -> bytes:
    """Return the bytes of a regular file of a bundle, and wait for nothing else.

    Raises:
        BundleError: it cannot be read, or is larger than ``MAX_FILE_BYTES``.
    """
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | WITHOUT_WAITING)) as file:
            status = os.fstat(file.fileno())
            if stat.S_ISREG(status.st_mode) and status.st_size <= MAX_FILE_BYTES:
                return file.read()
            received = f"{status.st_size} bytes" if stat.S_ISREG(status.st_mode) else "something else"
    except OSError as cause:
        received = cause.strerror or str(cause)
    raise BundleError(
        expected=f"a file of at most {MAX_FILE_BYTES} bytes that can be read at {path}",
        received=received,
        remedy="correct its permissions, or make the bundle again",
    )


def _remedy_for(name: str, files: dict[str, str]) -> str:
    """Return how to have a file again; an export replaces the last, and so asks for all precisions of its files."""
    if not is_exported(name):
        return "make it again with metfa-train"
    precisions = [each for each in ("fp16", "int8") if any(f".{each}." in known for known in (name, *files))]
    return " --".join(["make it again with metfa-export", *precisions])
