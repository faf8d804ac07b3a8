"""``metfa-stream`` with an archive that comes and goes, and with options that do not fit."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("highdicom", reason="needs the extra pacs")
pytest.importorskip("pynetdicom", reason="needs the extra pacs")

import pydicom  # after the skip

from metfa.runtime.cli import main

from ..test_cli import COMMAND, HEADLESS
from ..test_dicom import write
from .dcmtk import Archive, free_port, wait_until

if TYPE_CHECKING:
    from pathlib import Path

LEVELS = [170 if 25 <= index < 75 else 20 for index in range(100)]
SCENES = np.stack(
    [
        (np.linspace(level, level + 60, 64) + np.random.default_rng(index).integers(0, 20, (48, 64))).astype(np.uint8)
        for index, level in enumerate(LEVELS)
    ]
)


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A recording of two dark planes and a bright one between them."""
    path = tmp_path / "scan.avi"
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for scene in SCENES:
        writer.write(cv2.cvtColor(scene, cv2.COLOR_GRAY2BGR))
    writer.release()
    return path


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "metfa" / "dicom"


def run(*arguments: object) -> Any:
    return CliRunner().invoke(main, [*map(str, arguments), "--no-window"])


def instances_in(*paths: Path) -> set[str]:
    return {pydicom.dcmread(path).SOPInstanceUID for path in paths}


def test_what_a_killed_stream_left_is_delivered_by_the_next(bundle: Path, scan: Path, state: Path) -> None:
    port = free_port()
    arguments = ["--bundle", bundle, "--device", scan, "--dicom", f"store://PACS@127.0.0.1:{port}"]
    killed = subprocess.Popen(
        [*COMMAND, *map(str, arguments), "--realtime"],
        env={**HEADLESS, "XDG_STATE_HOME": str(state.parents[1])},
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: len(list(state.glob("*/[!.]*-report.dcm"))) == 1)  # and two more to come
    killed.kill()
    killed.wait()
    left = instances_in(*state.glob("*/[!.]*.dcm"))
    with Archive(state.parents[2] / "archive", port=port) as archive:
        result = run(*arguments)
        received = instances_in(*archive.received)
    assert result.exit_code == 0
    assert f"dicom: objects that wait for PACS@127.0.0.1:{port} since an earlier stream: 2" in result.output
    assert len(left) == 2
    assert left < received
    assert len(received) == 2 + 6
    assert not any(path.suffix == ".dcm" for path in state.rglob("*"))


def test_a_stream_goes_on_while_its_archive_is_away(bundle: Path, scan: Path, state: Path) -> None:
    port = free_port()
    result = run("--bundle", bundle, "--device", scan, "--dicom", f"store://PACS@127.0.0.1:{port}")
    assert result.exit_code == 0
    lines = [line for line in result.output.splitlines() if line.startswith("dicom: ")]
    assert [re.sub(r" in /.*", "", line.partition(" (")[0]) for line in lines[1:]] == [
        f"dicom: PACS@127.0.0.1:{port} is away",
        f"dicom: objects that wait for PACS@127.0.0.1:{port}: 6,",
    ]
    assert len(instances_in(*state.glob("*/*.dcm"))) == 6


def test_a_full_queue_leaves_planes_out_and_counts_them(
    bundle: Path, scan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from metfa.runtime.sinks.dicom.queue import Queue

    monkeypatch.setattr(Queue.__init__, "__defaults__", (20_000,))  # bytes: room for one
    result = run("--bundle", bundle, "--device", scan, "--dicom", f"store://PACS@127.0.0.1:{free_port()}")
    assert result.exit_code == 0
    assert result.output.count("dicom: planes are left out: expected") == 1
    assert "dicom: planes that were left out: 2" in result.output


def test_the_planes_of_a_cine_are_those_of_its_patient(bundle: Path, tmp_path: Path) -> None:
    cine = write(tmp_path / "cine.dcm", SCENES, "MONOCHROME2")
    dataset = pydicom.dcmread(cine)
    dataset.PatientID, dataset.StudyInstanceUID, dataset.StudyDate = "4711", "1.2.3", "20261126"
    dataset.save_as(cine)
    result = run("--bundle", bundle, "--device", cine, "--dicom", tmp_path / "planes")
    assert (result.exit_code, "dicom:" in result.output) == (0, False)
    images = [pydicom.dcmread(path) for path in sorted((tmp_path / "planes").glob("*-image.dcm"))]
    assert [(image.PatientID, image.StudyInstanceUID, image.StudyDate) for image in images] == [
        ("4711", "1.2.3", "20261126")
    ] * 3
    for image in images:
        (source,) = image.SourceImageSequence
        assert np.array_equal(image.pixel_array, SCENES[source.ReferencedFrameNumber - 1])


def test_the_study_of_a_file_is_that_of_a_stream_without_one(bundle: Path, scan: Path, tmp_path: Path) -> None:
    answer = write(tmp_path / "answer of a worklist.dcm", SCENES[:1], "MONOCHROME2")
    dataset = pydicom.dcmread(answer)
    del dataset.PixelData, dataset.SOPClassUID
    dataset.PatientID, dataset.StudyInstanceUID = "4711", "1.2.3"
    dataset.StudyDate = "20261126"
    dataset.save_as(answer)
    answer.write_bytes(answer.read_bytes().replace(b"20261126", b"no date "))
    arguments = ["--bundle", bundle, "--device", scan, "--dicom", tmp_path / "planes", "--dicom-study", answer]
    assert run(*arguments).exit_code == 0
    image = pydicom.dcmread(min((tmp_path / "planes").iterdir()))
    assert (image.PatientID, image.PatientName, image.StudyInstanceUID) == ("4711", "Somebody", "1.2.3")
    assert not image.StudyDate


@pytest.mark.parametrize("arguments", [["--dicom", "planes"], ["--device", "dicom-listen:METFA@127.0.0.1:11112"]])
def test_without_the_packages_the_remedy_is_told(
    bundle: Path, scan: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "pynetdicom" else find_spec(name))
    result = run("--bundle", bundle, *(arguments if "--device" in arguments else ["--device", scan, *arguments]))
    assert result.exit_code == 1
    assert result.output.splitlines()[-1] == (
        "Error: expected the package pynetdicom, received a Python environment without it; "
        "pip install '.[pacs]' in a clone of metfa"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dicom", "store://127.0.0.1:4242"], "expected a directory or store://AE@HOST:PORT"),
        (["--dicom", "http://127.0.0.1:4242"], "expected a directory or store://AE@HOST:PORT"),
        (["--dicom-study", "scan.avi"], "expected --dicom with --dicom-study"),
        (["--dicom", "planes", "--dicom-study", "scan.avi"], "expected a DICOM file with a Study Instance UID"),
        (["--dicom", "planes", "--dicom-study", "nothing.dcm"], "expected to be able to read"),
        (["--dicom", "planes", "--dicom-study", "x", "--device", "scan.avi"], "expected one --device"),
    ],
)
def test_what_does_not_fit_is_refused(
    bundle: Path, scan: Path, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(scan.parent)
    result = run("--bundle", bundle, "--device", scan, *arguments)
    assert result.exit_code != 0
    error = result.output.splitlines()[-1]
    assert error.removeprefix("Error: ").removeprefix("Invalid value for '--dicom': ").startswith(message)
    assert not (scan.parent / "planes").exists()
