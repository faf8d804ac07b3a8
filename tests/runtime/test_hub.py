"""Bundles of the Hugging Face Hub, against a server on this machine; the real Hub is not asked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from metfa.runtime import PlaneClassifier
from metfa.runtime.bundle.directory import CONTRACT, MANIFEST, ONNX
from metfa.runtime.bundle.hub import HubBundle
from metfa.runtime.bundle.location import find_bundle
from metfa.runtime.errors import BundleError, MissingExtraError

from .hub import COMMIT, REPOSITORY, TAG, Hub

if TYPE_CHECKING:
    from collections.abc import Iterator

FIND = """
import sys, time
time.sleep = lambda seconds: None  # between tries
from metfa.runtime.bundle.location import find_bundle
from metfa.runtime.errors import MetfaError
try:
    print(find_bundle(sys.argv[1], allow_download="allow" in sys.argv))
except MetfaError as error:
    sys.exit(str(error))
"""
NAMED = f"hf://{REPOSITORY}@{COMMIT}"


@pytest.fixture
def hub(bundle: Path) -> Iterator[Hub]:
    files = {path.name: path.read_bytes() for path in bundle.iterdir()}
    with Hub({**files, "README.md": b"for people", "enormous.bin": bytes(10)}) as hub:
        yield hub


@pytest.fixture
def environment(hub: Hub, tmp_path: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return {**inherited, "HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "hub"), "NO_PROXY": "127.0.0.1"}


def find(environment: dict[str, str], named: str = NAMED, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", FIND, named, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def refusal(ended: subprocess.CompletedProcess[str]) -> str:
    """Return the one line that says why nothing was found."""
    assert ended.returncode == 1, ended
    *_, line = ended.stderr.splitlines()  # before it the library warns
    assert line.startswith("expected "), ended.stderr
    assert "Traceback" not in ended.stderr
    return line


@pytest.mark.parametrize("revision", [COMMIT, TAG])
def test_a_bundle_is_downloaded_once_and_nothing_else(
    hub: Hub, environment: dict[str, str], bundle: Path, revision: str
) -> None:
    named = f"hf://{REPOSITORY}@{revision}"
    ended = find(environment, named, "allow")
    assert ended.returncode == 0, ended.stderr
    directory = bundle.parent / "hub" / "hub" / "models--clinic--planes" / "snapshots" / COMMIT
    assert ended.stdout.strip() == str(directory)
    held = {path.name: path.read_bytes() for path in bundle.iterdir()}
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == held
    asked = {request.partition(" ")[2].rpartition("/")[2] for request in hub.requests}
    assert asked == held.keys()
    hub.requests.clear()
    again = find(environment, named)
    assert again.stdout == ended.stdout
    assert hub.requests == []


def test_the_hub_is_told_little(hub: Hub, environment: dict[str, str]) -> None:
    assert find(environment, NAMED, "allow").returncode == 0
    (agent,) = hub.agents
    assert [part.partition("/")[0] for part in agent.split("; ")] == ["metfa", "hf_hub", "python"]


def test_nothing_is_asked_without_leave(hub: Hub, environment: dict[str, str]) -> None:
    line = refusal(find(environment))
    assert f"expected {MANIFEST} of {REPOSITORY} at {COMMIT} in the cache of the Hub, received no such file" in line
    assert f"add --allow-download to download it, or run: hf download {REPOSITORY} --revision {COMMIT}" in line
    assert hub.requests == []


@pytest.mark.parametrize(
    ("named", "said"),
    [
        (f"hf://{REPOSITORY}@v2", "received no such revision; name a commit's hash or a tag that is there"),
        (f"hf://clinic/others@{COMMIT}", "received no repository that you may read; correct its name, or log in"),
    ],
)
def test_what_is_not_there_is_said_to_be_absent(environment: dict[str, str], named: str, said: str) -> None:
    assert said in refusal(find(environment, named, "allow"))


def test_a_repository_without_a_manifest_is_no_bundle(hub: Hub, environment: dict[str, str]) -> None:
    del hub.files[MANIFEST]
    line = refusal(find(environment, NAMED, "allow"))
    assert "received a repository without it; name a repository that holds a bundle" in line


def test_a_file_that_the_manifest_names_must_be_there(hub: Hub, environment: dict[str, str]) -> None:
    del hub.files[ONNX]
    assert f"expected {ONNX} of {REPOSITORY} at {COMMIT} on the Hub, received a repository without it" in refusal(
        find(environment, NAMED, "allow")
    )
    assert f"expected {ONNX} of {REPOSITORY} at {COMMIT} in the cache" in refusal(find(environment))


@pytest.mark.parametrize("name", [ONNX, CONTRACT])
def test_a_file_that_is_not_the_manifests_is_refused(hub: Hub, environment: dict[str, str], name: str) -> None:
    hub.files[name] = hub.files[name][:-1] + b"?"
    for arguments in (("allow",), ()):  # once downloaded, it stays refused
        line = refusal(find(environment, NAMED, *arguments))
        assert f"{name} as it was written" in line
        assert f"download it again; if it stays so, tell the owner of {REPOSITORY}" in line


def test_a_cache_that_is_damaged_is_mended_as_the_message_says(hub: Hub, environment: dict[str, str]) -> None:
    directory = Path(find(environment, NAMED, "allow").stdout.strip())
    (directory / ONNX).resolve().write_bytes(b"damaged")
    line = refusal(find(environment))
    named = line.partition("; delete ")[2].partition(" and download it again")[0]
    shutil.rmtree(named)
    assert find(environment, NAMED, "allow").returncode == 0


def test_a_manifest_cannot_lead_out_of_the_bundle(hub: Hub, environment: dict[str, str]) -> None:
    manifest = json.loads(hub.files[MANIFEST])
    manifest["files"]["../../README.md"] = "0" * 64
    hub.files[MANIFEST] = json.dumps(manifest).encode()
    assert "is not the name of a file in the bundle" in refusal(find(environment, NAMED, "allow"))


def test_a_download_that_is_cut_off_goes_on(hub: Hub, environment: dict[str, str], bundle: Path) -> None:
    """By itself, where the version of the library does so; else with the same command."""
    hub.cut[ONNX] = 100
    ended = find(environment, NAMED, "allow")
    if ended.returncode:
        assert f"expected {ONNX} of {REPOSITORY} at {COMMIT} on the Hub, received " in refusal(ended)
        ended = find(environment, NAMED, "allow")
    assert ended.returncode == 0, ended.stderr
    assert (Path(ended.stdout.strip()) / ONNX).read_bytes() == (bundle / ONNX).read_bytes()
    assert hub.requests.count(f"GET /{REPOSITORY}/resolve/{COMMIT}/{ONNX}") == 2


def test_a_download_that_never_ends_is_given_up(hub: Hub, environment: dict[str, str]) -> None:
    hub.cut[ONNX], hub.cuts_always = 100, True
    line = refusal(find(environment, NAMED, "allow"))
    assert f"expected {ONNX} of {REPOSITORY} at {COMMIT} on the Hub, received " in line
    assert f"see what this says: hf download {REPOSITORY}" in line
    hub.cuts_always = False
    hub.cut.clear()
    assert find(environment, NAMED, "allow").returncode == 0


def test_a_hub_that_is_out_of_order_is_said_to_be(hub: Hub, environment: dict[str, str]) -> None:
    hub.refusal = 500
    assert "500" in refusal(find(environment, NAMED, "allow"))


def test_a_hub_that_is_away_is_not_needed_for_what_is_in_the_cache(hub: Hub, environment: dict[str, str]) -> None:
    nobody = {**environment, "HF_ENDPOINT": "http://127.0.0.1:9"}
    assert "Connection refused" in refusal(find(nobody, NAMED, "allow"))
    found = find(environment, f"hf://{REPOSITORY}@{TAG}", "allow")
    assert found.returncode == 0, found.stderr
    assert find(nobody, f"hf://{REPOSITORY}@{TAG}", "allow").stdout == found.stdout


def test_offline_is_offline_whatever_else_is_allowed(hub: Hub, environment: dict[str, str]) -> None:
    offline = {**environment, "HF_HUB_OFFLINE": "1"}
    assert f"expected {MANIFEST} of {REPOSITORY}" in refusal(find(offline, NAMED, "allow"))
    assert hub.requests == []
    assert find(environment, NAMED, "allow").returncode == 0
    assert find(offline, NAMED, "allow").returncode == 0


@pytest.mark.parametrize(
    "named",
    [
        f"hf://{REPOSITORY}",
        f"hf://{REPOSITORY}@",
        "hf://planes@v1",
        f"hf://{REPOSITORY}@../../etc",
        f"hf://../..@{TAG}",
        f"hf://{REPOSITORY}/sub@{TAG}",
    ],
)
def test_a_name_without_a_revision_or_of_another_form_is_refused(named: str) -> None:
    with pytest.raises(BundleError, match="expected a bundle of the Hub as hf://OWNER/NAME@REVISION, received hf://"):
        HubBundle.parse(named)


def command(environment: dict[str, str], name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [str(Path(sys.executable).with_name(name)), *arguments]
    return subprocess.run(line, env=environment, capture_output=True, text=True, check=False)


def test_a_stream_downloads_with_leave_and_begins_without_a_request(hub: Hub, environment: dict[str, str]) -> None:
    stream = ("--device", "phantom:B", "--limit", "2", "--no-window", "--backend", "cpu")
    named = ("--bundle", f"hf://{REPOSITORY}@{TAG}")
    refused = command(environment, "metfa-stream", *named, *stream)
    assert (refused.returncode, hub.requests) == (1, [])
    assert refused.stderr.startswith(f"Error: expected {MANIFEST} of {REPOSITORY} at {TAG} in the cache of the Hub")
    for options in (("--allow-download",), ()):
        ended = command(environment, "metfa-stream", *named, *stream, *options)
        assert ended.returncode == 0, ended.stderr
        assert f"bundle: hf://{REPOSITORY}@{TAG} is the commit {COMMIT}\n" in ended.stderr
        assert bool(hub.requests) == bool(options)
        hub.requests.clear()


@pytest.mark.parametrize(
    "arguments",
    [
        ("metfa-stream", "--bundle", NAMED, "--device", "phantom:B", "--watch"),
        ("metfa-stream", "--bundle", NAMED, "--device", "phantom:B", "--rebuild"),
        ("metfa-export", NAMED),
        ("metfa-train", "--bundle", NAMED),
    ],
)
def test_a_bundle_of_the_hub_is_not_written_to(hub: Hub, environment: dict[str, str], arguments: tuple[str]) -> None:
    assert find(environment, NAMED, "allow").returncode == 0
    ended = command(environment, *arguments)
    assert ended.returncode == 2
    assert f"received {NAMED}" in ended.stderr
    assert "hf download OWNER/NAME --revision REVISION --local-dir DIR" in ended.stderr


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda module: None)
    with pytest.raises(MissingExtraError, match=r"pip install '\.\[hub\]' in a clone of metfa"):
        find_bundle(NAMED)


def test_no_engine_is_written_into_the_cache_of_the_hub() -> None:
    with pytest.raises(BundleError, match=r"an engine can be written, received hf://.*; download it with: hf download"):
        PlaneClassifier.load(NAMED, rebuild=True)
