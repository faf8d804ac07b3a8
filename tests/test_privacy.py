"""No command tells anybody anything: no name is looked up, nothing leaves the machine, no library leaves files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

ISOLATION = Path(__file__).with_name("isolation.py")
UNSHARE = ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--net", "--mount"]
FEW = ("--input-size", "28x28", "--preset", "small", "--steps", "4", "--candidates", "1", "--threads", "1")
STREAM = ("--device", "phantom:B", "--no-window")

pytestmark = pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode != 0,
    reason="no network namespace can be made here",
)


def watch(*together: list[list[str]], home: Path) -> dict[str, object]:
    """Run commands, those of a list side by side, and return what they looked up and how much had nowhere to go."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "ORT_", "MPL"))}
    ended = subprocess.run(
        [*UNSHARE, sys.executable, ISOLATION, *map(json.dumps, together)],
        env={**environment, "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    seen: dict[str, object] = json.loads(ended.stdout)
    return seen


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_look_up_and_a_packet_are_seen(tmp_path: Path) -> None:
    look_up = "import socket\ntry: socket.gethostbyname('example.org')\nexcept OSError: pass"
    connect = "import socket\ntry: socket.create_connection(('192.0.2.1', 80), 1)\nexcept OSError: pass"
    assert watch([python(look_up)], [python(connect)], home=tmp_path) == {"names": ["example.org"], "unroutable": 1}


def test_no_command_calls_anybody_or_leaves_files_in_the_users_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    for domain, level in (("A", 230), ("B", 120)):
        for label, thickness in (("disc", -1), ("ring", 2)):
            folder = work / domain / label
            folder.mkdir(parents=True)
            for number in range(8):
                image = np.random.default_rng(number).integers(0, 60, (40, 40), np.uint8)
                cv2.circle(image, (14 + number, 20), 9, level, thickness)
                cv2.imwrite(str(folder / f"{number}.png"), image)
    bundle, commit = work / "bundle", "0123456789abcdef0123456789abcdef01234567"
    snapshots = work / "hub" / "models--clinic--planes" / "snapshots"  # where the Hub's library keeps what it has
    snapshots.mkdir(parents=True)
    monkeypatch.setenv("HF_HUB_CACHE", str(work / "hub"))

    def command(name: str, *arguments: object) -> list[str]:
        return [str(Path(sys.executable).with_name(name)), *map(str, arguments)]

    domains = ("--source", work / "A", "--target", work / "B")
    seen = watch(
        [command("metfa-train", *domains, *FEW, "--bundle", bundle, "--tensorboard")],
        [command("metfa-export", "--fp16", bundle)],
        [["cp", "-r", str(bundle), str(snapshots / commit)]],
        [
            # Some libraries wait ten seconds before they call.
            # So does one that looks for a server, which is not there: this host runs the model.
            command(
                *("metfa-stream", "--bundle", bundle, *STREAM, "--seconds", 12),
                *("--backend", "triton:localhost:9/metfa,auto"),
            ),
            command("metfa-stream", "--bundle", f"hf://clinic/planes@{commit}", *STREAM, "--limit", 1),
            command("metfa-tune", *domains, *FEW, "--trials", 1, "--study", work / "study"),
        ],
        [command("metfa-evaluate", "--bundle", bundle, "--data", work / "B", "--output", work / "evaluation")],
        [command("metfa", "doctor", "--bundle", bundle)],
        [command("metfa-benchmark", "--bundle", bundle, "--seconds", 0.01)],
        home=home,
    )
    assert seen == {"names": [], "unroutable": 0}
    assert [path.relative_to(home) for path in home.rglob("*") if ".cache/metfa" not in f"{path}/"] == [Path(".cache")]
