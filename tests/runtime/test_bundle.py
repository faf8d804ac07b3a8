from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from metfa.runtime import Bundle, ModelContract
from metfa.runtime.backends.choice import load_backend
from metfa.runtime.bundle import directory as bundles
from metfa.runtime.bundle.contract import SCHEMA
from metfa.runtime.errors import BundleError, ContractError, OutputError
from metfa.runtime.files import write_text

from .conftest import make_contract


def test_a_bundle_is_opened(bundle: Path, contract: ModelContract) -> None:
    opened = Bundle.open(bundle)
    assert opened.contract == contract
    assert set(opened.files) == {bundles.CONTRACT, bundles.ONNX}
    assert opened.read(bundles.ONNX) == (bundle / bundles.ONNX).read_bytes()
    assert opened.matching("*.onnx") == [bundles.ONNX]
    assert opened.matching(bundles.ENGINE_PATTERN) == []


def test_a_bundle_is_known_by_the_sha256_of_its_manifest(bundle: Path) -> None:
    assert Bundle.open(bundle).digest == hashlib.sha256((bundle / bundles.MANIFEST).read_bytes()).hexdigest()[:12]


def test_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no such directory; run metfa-train first, or name the bundle"):
        Bundle.open(tmp_path / "nowhere")
    with pytest.raises(BundleError, match=r"a directory without bundle\.json"):
        Bundle.open(tmp_path)


def test_a_run_that_was_interrupted_is_told_how_to_go_on(tmp_path: Path) -> None:
    directory = tmp_path / "my run"
    (directory / bundles.UNFINISHED).mkdir(parents=True)
    (directory / bundles.UNFINISHED / bundles.CHECKPOINT).write_bytes(b"whatever")
    with pytest.raises(
        BundleError, match=r"training was interrupted; go on with metfa-train --resume --bundle '.*run'$"
    ):
        Bundle.open(directory)


def test_a_bundle_that_was_only_trained_names_the_command_that_exports_it(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    opened.require_exported()
    del opened.files[bundles.ONNX]
    with pytest.raises(BundleError, match=r"received one that was only trained; run metfa-export .* --fp16$"):
        opened.require_exported()


@pytest.mark.parametrize("name", [bundles.CONTRACT, bundles.ONNX])
@pytest.mark.parametrize("edit", ["append", "truncate", "empty", "remove"])
def test_an_edited_file_is_refused(bundle: Path, name: str, edit: str) -> None:
    path = bundle / name
    content = path.read_bytes()
    match edit:
        case "append":
            path.write_bytes(content + b" ")
        case "truncate":
            path.write_bytes(content[:-1])
        case "empty":
            path.write_bytes(b"")
        case "remove":
            path.unlink()
    with pytest.raises(BundleError, match=r"make it again with metfa-(train|export)"):
        Bundle.open(bundle).read(name)


@pytest.mark.parametrize(
    "manifest",
    ["", "{}", "[]", '{"schema": 3, "files": {}}', '{"schema": 2, "files": {"../secret": "0"}}', '{"schema": 2}'],
)
def test_a_damaged_manifest_is_refused(bundle: Path, manifest: str) -> None:
    (bundle / bundles.MANIFEST).write_text(manifest)
    with pytest.raises(BundleError, match="make the bundle again with metfa-train"):
        Bundle.open(bundle)


def test_a_contract_of_another_version_is_refused(bundle: Path, contract: ModelContract) -> None:
    document = json.loads(contract.to_json()) | {"schema": 99}
    with bundles.updating(bundle, keep=lambda _: True) as stage:
        (stage / bundles.CONTRACT).write_text(json.dumps(document))
    with pytest.raises(ContractError, match=f"schema 99 where this version of metfa reads schema {SCHEMA}"):
        Bundle.open(bundle)


def test_files_enter_together_and_the_others_stay(bundle: Path) -> None:
    with bundles.updating(bundle, keep=lambda _: True) as stage:
        (stage / "report.json").write_text("{}")
    assert set(Bundle.open(bundle).files) == {bundles.CONTRACT, bundles.ONNX, "report.json"}


def test_a_new_bundle_takes_the_place_of_the_old(bundle: Path) -> None:
    (bundle / "mine.txt").write_text("not of the bundle")
    contract = make_contract(("a", "b"))
    with bundles.updating(bundle, keep=lambda _: False) as stage:
        (stage / bundles.CONTRACT).write_text(contract.to_json())
    opened = Bundle.open(bundle)
    assert opened.contract == contract
    assert not (bundle / bundles.ONNX).exists()
    assert (bundle / "mine.txt").exists()


def test_what_fails_leaves_the_bundle_as_it_was(bundle: Path) -> None:
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}

    def fail() -> None:
        with bundles.updating(bundle, keep=lambda _: False) as stage:
            (stage / bundles.CONTRACT).write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before


@pytest.mark.parametrize("there", [True, False])
def test_only_a_directory_that_was_made_for_nothing_goes_again(tmp_path: Path, there: bool) -> None:
    directory = tmp_path / "bundle"
    if there:
        directory.mkdir()
    with pytest.raises(RuntimeError), bundles.updating(directory, keep=lambda _: False):
        raise RuntimeError
    assert directory.exists() == there


@pytest.mark.parametrize("by_itself", [True, False])
def test_what_cannot_be_written_is_named_as_it_would_be_in_the_bundle(bundle: Path, by_itself: bool) -> None:
    def fill(stage: Path) -> None:
        (stage / "file").touch()
        if by_itself:
            (stage / "file" / "text").write_text("")
        write_text(stage / "file" / "text", "")

    where = bundle if by_itself else bundle / "file" / "text"
    with (
        pytest.raises(OutputError, match=f"^expected to be able to write {re.escape(str(where))}, received "),
        bundles.updating(bundle, keep=lambda _: True) as stage,
    ):
        fill(stage)


def test_a_bundle_is_on_the_disk_before_its_files_have_their_names(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[Path, bool]] = []

    def fsync(descriptor: int) -> None:
        synced.append((Path("/proc/self/fd", str(descriptor)).readlink(), (bundle / "report.json").exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    with bundles.updating(bundle, keep=lambda _: True) as stage:
        (stage / "report.json").write_text("{}")
    assert [(path.name, renamed) for path, renamed in synced] == [
        ("report.json", False),
        (bundles.MANIFEST, False),
        (synced[2][0].name, False),
        (bundle.name, False),
        (bundle.name, True),
        (bundle.name, True),
    ]
    assert synced[2][0].name.startswith(".stage-")


KILLED = """
import itertools, os, sys
from pathlib import Path
from metfa.runtime.bundle import directory as bundle
step, directory = int(sys.argv[1]), Path(sys.argv[2])
steps = itertools.count()
def dying(work):
    def do(*arguments, **named):
        if next(steps) == step:
            os._exit(9)
        return work(*arguments, **named)
    return do
for name in ("replace", "rename", "unlink", "rmdir", "chmod", "iterdir", "write_text"):
    setattr(Path, name, dying(getattr(Path, name)))
bundle.sync = dying(bundle.sync)
with bundle.updating(directory, keep=lambda name: name != "old.json") as stage:
    (stage / "first.json").write_bytes(b"new first")
    (stage / "second.json").write_bytes(b"new second")
"""


def test_an_update_that_is_killed_at_any_step_is_undone_or_finished(bundle: Path) -> None:
    with bundles.updating(bundle, keep=lambda _: True) as stage:
        for name in ("first.json", "old.json"):
            (stage / name).write_text(f"old {name}")
    (bundle / "mine.txt").write_text("not of the bundle")
    old = {path.name: path.read_bytes() for path in bundle.iterdir()}
    outcomes = []
    for step in range(100):
        directory = shutil.copytree(bundle, bundle.with_name(f"killed at {step}"))
        ended = subprocess.run([sys.executable, "-c", KILLED, str(step), str(directory)], check=False)
        opened = Bundle.open(directory)
        assert all(opened.read(name) for name in opened.files)
        outcomes.append("second.json" in opened.files)
        if outcomes[-1]:
            assert set(opened.files) == {bundles.CONTRACT, bundles.ONNX, "first.json", "second.json"}
            assert opened.read("first.json") == b"new first"
            assert not (directory / "old.json").exists()
            assert {path.name for path in directory.iterdir()} == {*opened.files, bundles.MANIFEST, "mine.txt"}
        else:
            here = {path.name: path.read_bytes() for path in directory.iterdir() if not path.name.startswith(".stage-")}
            assert here == old
            with bundles.updating(directory, keep=lambda _: True):
                pass
            assert {path.name for path in directory.iterdir()} == old.keys()
        if ended.returncode == 0:
            break
        assert ended.returncode == 9
    assert outcomes == sorted(outcomes)
    assert 4 < outcomes.count(False) < 15 < len(outcomes)


def test_an_exchange_that_cannot_be_finished_here_says_so(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with bundles.updating(bundle, keep=lambda _: True) as stage:
        (stage / "report.json").write_text("{}")
    exchange = bundle / ".exchange"
    exchange.mkdir()
    for name in (bundles.MANIFEST, "report.json"):
        (bundle / name).rename(exchange / name)

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", refuse)
        with pytest.raises(
            BundleError, match=r"interrupted and cannot be finished here \(Read-only file system\); open"
        ):
            Bundle.open(bundle)
    assert Bundle.open(bundle).read("report.json") == b"{}"
    assert not exchange.exists()


@pytest.mark.parametrize("kind", ["fifo", "boundless", "directory"])
def test_what_is_no_file_of_a_bundle_is_not_waited_for(bundle: Path, kind: str) -> None:
    for name in (bundles.MANIFEST, bundles.CONTRACT):
        (bundle / name).unlink()
        if kind == "fifo":
            os.mkfifo(bundle / name)
        elif kind == "directory":
            (bundle / name).mkdir()
        else:
            os.truncate(os.open(bundle / name, os.O_CREAT | os.O_WRONLY), bundles.MAX_FILE_BYTES + 1)
        with pytest.raises(BundleError, match=r"without bundle\.json|a file of at most 2147483648 bytes"):
            Bundle.open(bundle)


def test_what_was_hashed_is_what_is_used(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is exchanged the moment it was read is not the one that the model comes from."""
    read = bundles._read

    def read_and_exchange(path: Path) -> bytes:
        content = read(path)
        if path.name == bundles.ONNX:
            path.write_bytes(b"another model")
        return content

    monkeypatch.setattr(bundles, "_read", read_and_exchange)
    backend, _ = load_backend(Bundle.open(bundle), "cpu")
    assert backend.infer(np.zeros((1, 1, 32, 40), np.uint8)).logits.shape == (1, 3)
    assert (bundle / bundles.ONNX).read_bytes() == b"another model"


def test_a_bundle_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError), bundles.updating(tmp_path / "file", keep=lambda _: False):
        pytest.fail("began to write")
