"""``metfa`` and ``metfa doctor`` as users run them."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from importlib.metadata import distribution, entry_points, version
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import onnxruntime
import pytest
from av import DeviceInfo
from click.testing import CliRunner, Result

from metfa.runtime.backends.choice import load_backend
from metfa.runtime.bundle import directory as bundles
from metfa.runtime.bundle.directory import Bundle
from metfa.runtime.doctor import backends, packages, screen, surroundings, system
from metfa.runtime.doctor.cli import COMMANDS, main
from metfa.runtime.errors import MetfaError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from metfa.runtime.bundle.contract import ModelContract

ROOT = Path(__file__).parents[2]
BASE = ("numpy", "opencv-python-headless", "av", "pillow", "simplejpeg", "click", "metfa")
HEAVY = {"torch", "onnx", "matplotlib", "sklearn", "tritonclient", "grpc", "tkinter"}
DOCTOR = "import sys; sys.argv[0] = 'metfa'; from metfa.runtime.doctor.cli import main; main(standalone_mode=False); "
UNSHARE = ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--uts"]


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="metfa")


def rows(output: str) -> dict[str, str]:
    """Return what a screen says, by name."""
    unwrapped = re.sub(r"\n {16}", " ", output)
    return {match[1]: match[2] for match in re.finditer(r"^  (\S.*?) {2,}(.*)$", unwrapped, re.MULTILINE)}


def examine(environment: Mapping[str, str], *, code: str = "", prefix: tuple[str, ...] = ()) -> str:
    """Return the screen, and what else is printed, of a process of its own."""
    ended = subprocess.run(
        [*prefix, sys.executable, "-S", "-c", f"import sys; sys.argv[1:] = ['doctor']; {DOCTOR}{code}"],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


@pytest.fixture
def base_install(tmp_path: Path) -> Path:
    """Return a folder with metfa's own dependencies, and nothing of its extras."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    for name in BASE:
        installed = distribution(name)
        for top in {file.parts[0] for file in installed.files or () if not file.name.endswith(".pth")}:
            if top not in {"..", "__pycache__"}:
                (folder / top).symlink_to(str(installed.locate_file(top)))
    return folder


def path_with(folder: Path) -> str:
    return os.pathsep.join([str(folder), str(ROOT / "runtime")])


def test_the_help_lists_every_command() -> None:
    scripts = {point.name for point in entry_points(group="console_scripts") if point.name.startswith("metfa-")}
    assert set(COMMANDS) == {"metfa doctor", *scripts}
    for arguments in ((), ("--help",)):
        result = invoke(*arguments)
        assert result.exit_code == 0
        assert [name for name in COMMANDS if f"\n  {name} " not in result.output] == []


def test_the_version() -> None:
    assert invoke("--version").output == f"metfa {version('metfa')}\n"
    assert invoke("doctor", "--version").output == f"metfa doctor {version('metfa')}\n"


def test_the_screen_says_what_is_here() -> None:
    result = invoke("doctor")
    assert result.exit_code == 0
    assert result.output.startswith(f"metfa {version('metfa')}\n\nMachine\n")
    assert max(map(len, result.output.splitlines())) <= 110
    seen = rows(result.output)
    assert seen["Python"].startswith(sys.version.split()[0])
    assert os.uname().release in seen["system"]
    assert seen["OpenCV"].startswith(cv2.__version__)
    assert re.fullmatch(rf"{re.escape(version('av'))}, with FFmpeg \d.*", seen["PyAV"])
    assert f"onnx {version('onnx')}" in seen["export"]
    assert seen["cpu"].endswith(", ".join(onnxruntime.get_available_providers()))  # of the backend, below the extra


@pytest.mark.parametrize("backend", ["tensorrt", "cuda", "cpu", "openvino"])
def test_what_it_says_of_a_backend_is_what_a_stream_finds(backend: str, bundle: Path) -> None:
    said = rows(invoke("doctor").output)[backend]
    if said.startswith("yes") and backend != "tensorrt":  # the bundle has no engine
        load_backend(Bundle.open(bundle), backend)
    elif said.startswith("no"):
        with pytest.raises(MetfaError):
            load_backend(Bundle.open(bundle), backend)


@pytest.mark.parametrize(
    ("works", "listed", "cuda", "said"),
    [
        (True, [], None, "yes; there is no nvidia-smi to name it"),
        (True, [("A2", "550.54")], None, "A2 (driver 550.54)"),
        (True, [("A2", "550.54")], ("12.6", "12.8"), "A2 (driver 550.54), CUDA 12.6; the driver is made for 12.8"),
        (False, [("A2", "550.54")], None, "fails: nvidia-smi lists A2 (driver 550.54), but libcuda.so.1 finds none"),
        (False, [], None, "none"),
    ],
)
def test_what_it_says_of_a_gpu(
    works: bool,
    listed: list[tuple[str, str]],
    cuda: tuple[str, str] | None,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backends, "has_nvidia_gpu", lambda: works)
    monkeypatch.setattr("metfa.runtime.backends.choice.has_nvidia_gpu", lambda: works)
    monkeypatch.setattr(backends, "gpus", lambda: [dict(zip(("name", "driver"), gpu, strict=True)) for gpu in listed])
    monkeypatch.setattr(backends, "cuda_versions", lambda: cuda and dict(zip(("runtime", "driver"), cuda, strict=True)))
    seen = dict(backends.rows())
    assert seen["NVIDIA GPU"] == said
    if not works:
        assert seen["tensorrt"] == seen["cuda"] == "no: needs an NVIDIA GPU and its driver; install the driver"
    elif "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        assert seen["cuda"].startswith("no: needs an ONNX Runtime with CUDA; ")


def test_it_works_without_any_extra(base_install: Path) -> None:
    output = examine({"PYTHONPATH": path_with(base_install), "HOME": "/nonexistent"})
    seen = rows(output)
    assert "fails" not in output
    assert seen["cpu"] == "no: needs the package onnxruntime; pip install '.[cpu]' in a clone of metfa " + (
        "(or '.[cuda]' with an NVIDIA GPU)"
    )
    assert seen["openvino"] == "no: needs the package openvino; pip install '.[openvino]' in a clone of metfa"
    assert seen["triton"].startswith("no: needs the package tritonclient")
    assert "  export        no: lightning-fabric, markdown, onnx, onnxscript," in output
    assert seen["web"] == "no: h11 missing"


def test_it_imports_nothing_heavy() -> None:
    listed = examine(
        {"PYTHONPATH": os.pathsep.join(sys.path)}, code=f"print('imported:', *sorted({HEAVY} & set(sys.modules)))"
    )
    assert listed.endswith("imported:\n")


def test_what_is_broken_is_said_and_the_rest_told(base_install: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    for module in ("numpy", "cv2", "av", "onnxruntime"):
        (broken / module).mkdir(parents=True)
        (broken / module / "__init__.py").write_text(
            "raise ImportError('/home/jane-doe/private/lib/libGL.so.1: cannot open shared object file')"
        )
    output = examine({"PYTHONPATH": os.pathsep.join([str(broken), path_with(base_install)]), "HOME": "/nonexistent"})
    seen = rows(output)
    assert seen["OpenCV"] == "fails: ImportError: …/libGL.so.1: cannot open shared object file"
    assert seen["click"] == version("click")
    assert "\nBackends\n                fails: ImportError: …/libGL.so.1" in output
    assert "Surroundings\n  cameras" in output
    assert "jane-doe" not in output


def test_nothing_tells_whose_machine_it_is(tmp_path: Path) -> None:
    names = {"user": "jane-doe", "host": "scan-room-7", "display": "private-display", "cache": "private-cache"}
    environment = {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "HOME": f"/home/{names['user']}",
        "USER": names["user"],
        "LOGNAME": names["user"],
        "HOSTNAME": names["host"],
        "DISPLAY": f"{names['display']}:0",
    }
    can_rename = shutil.which("unshare") and not subprocess.run([*UNSHARE, "true"], check=False).returncode
    prefix = (*UNSHARE, "sh", "-c", f'hostname {names["host"]}; exec "$@"', "sh") if can_rename else ()
    code = "import os; print('HOST', os.uname().nodename)"
    *lines, host = examine(environment, code=code, prefix=prefix).splitlines()
    lines += examine({**environment, "XDG_CACHE_HOME": str(tmp_path / names["cache"])}).splitlines()
    assert not can_rename or host == f"HOST {names['host']}"
    assert any("~/.cache/metfa, 0.0 GB" in line for line in lines)
    assert any("where XDG_CACHE_HOME says, 0.0 GB" in line for line in lines)
    assert any(line.endswith("DISPLAY set") for line in lines)
    text = "\n".join(lines)
    assert [
        name for name in (*names.values(), str(Path.home()), str(tmp_path), socket.gethostname()) if name in text
    ] == []
    assert re.findall(r"\b(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\b|\b\d+\.\d+\.\d+\.\d+:\d", text) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/jane/.venv/lib/a.so: cannot open", "…/a.so: cannot open"),
        ("in '/data/hospital/study', and more", "in '…/study', and more"),
        ("/dev/video0 and ~/.cache/metfa", "/dev/video0 and ~/.cache/metfa"),
        ("triton:HOST:PORT/MODEL", "triton:HOST:PORT/MODEL"),
        ("no space on /jane", "no space on ~"),
        (r"no C:\Users\jane\scans\1.png", "no …/1.png"),
    ],
)
def test_long_paths_are_shortened(text: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/jane")
    assert screen.without_places(text) == shown


def test_cameras_have_names_and_permissions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    devices, described = tmp_path / "dev", tmp_path / "sys"
    devices.mkdir()
    assert list(surroundings.cameras(devices, described)) == [("cameras", f"none: there is no {devices}/video0")]
    for name in ("video10", "video2", "video-dec0"):
        (devices / name).touch()
    (described / "video2").mkdir(parents=True)
    (described / "video2" / "name").write_text("USB Capture HDMI\n")
    monkeypatch.setattr("os.access", lambda path, mode: path.name == "video2")
    assert list(surroundings.cameras(devices, described)) == [
        ("/dev/video2", "USB Capture HDMI, may be opened"),
        ("/dev/video10", "of unknown name, may not be opened; sudo usermod -aG video $USER, and log in again"),
    ]


def test_a_container_has_to_be_given_its_cameras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    ((_, none),) = surroundings.cameras(tmp_path, tmp_path, inside=True)
    assert none.endswith("/video0; a container has to be given it: docker run --device /dev/video0")
    (tmp_path / "video0").touch()
    ((_, refused),) = surroundings.cameras(tmp_path, tmp_path, inside=True)
    assert refused.endswith("may not be opened; docker run --group-add $(getent group video | cut -d: -f3)")


@pytest.mark.parametrize(("platform", "listing"), [("darwin", "avfoundation"), ("win32", "dshow")])
def test_cameras_of_other_systems_are_listed_by_ffmpeg(
    platform: str, listing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = {
        listing: [
            DeviceInfo("0", "FaceTime HD Camera", False, ["video"]),
            DeviceInfo("1", "Microphone", False, ["audio"]),
            DeviceInfo("2", "USB Capture HDMI", False, ["audio", "video"]),
        ]
    }
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr("av.enumerate_input_devices", listed.__getitem__)
    assert list(surroundings.cameras()) == [("cameras", "FaceTime HD Camera, USB Capture HDMI")]
    listed[listing].clear()
    assert list(surroundings.cameras()) == [("cameras", "none")]


@pytest.mark.parametrize(("platform", "called"), [("darwin", "macOS "), ("win32", "Windows ")])
def test_what_other_systems_do_not_tell_is_left_out(
    platform: str, called: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.delattr(os, "sched_getaffinity")
    shown = dict(system.rows())
    assert shown["system"].startswith(called)
    assert not [row for row in shown.values() if row.startswith("fails")]
    assert system.memory(tmp_path / "no such file") == "not known"


def test_a_port_is_free_or_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert not surroundings.port_is_free(port)
    assert surroundings.port_is_free(port)


@pytest.mark.parametrize(
    ("file", "text", "kind"),
    [
        ("run/.containerenv", "", "Podman"),
        (".dockerenv", "", "Docker"),
        ("proc/1/cgroup", "11:cpu:/kubepods/besteffort/pod1\n", "kubepods"),
        ("proc/1/cgroup", "0::/init.scope\n", None),
    ],
)
def test_containers(file: str, text: str, kind: str | None, tmp_path: Path) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(text)
    assert system.container_kind(tmp_path) == kind


def test_memory_and_jetson_as_linux_writes_them(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:        7802964 kB\nMemFree:  1 kB\nMemAvailable:    2621440 kB\n")
    assert system.memory(tmp_path / "meminfo") == "7.4 GiB, 2.5 GiB available"
    release = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 2025\n"
    assert system.jetson_release(release) == "Jetson Linux R36.4.3"


def test_extras_say_what_is_missing() -> None:
    installed = {"torch": "2.13.0", "scipy": "1.16.0"}
    requirements = [
        "numpy>=1.26",
        "torch>=2.5; extra == 'train'",
        "torch>=2.5; extra == 'tune'",
        "optuna>=4; extra == 'tune'",
        "scipy; extra == 'tune'",
        "tensorrt-rtx-cu13>=1.4; (platform_machine == 'z80') and extra == 'rtx'",
        "torch; extra == 'rtx'",
        "pytest; extra == 'dev'",
    ]
    assert list(packages.describe_extras(requirements, installed.get)) == [
        ("train", "yes: torch 2.13.0"),
        ("tune", "no: optuna missing; there: scipy 1.16.0"),
        ("rtx", "yes"),
    ]


def test_packages_that_overwrite_each_other_are_told() -> None:
    installed = {"onnxruntime": "1.23", "onnxruntime-gpu": "1.22", "opencv-python": "4.10"}
    assert [text for _, text in packages.conflicts(installed.get)] == [
        "onnxruntime and onnxruntime-gpu overwrite each other; uninstall all, and install one again"
    ]


def test_a_bundle_is_opened_and_loaded(bundle: Path) -> None:
    result = invoke("doctor", "--bundle", str(bundle))
    assert result.exit_code == 0
    seen = rows(result.output)
    assert seen["bundle"] == f"{Bundle.open(bundle).digest}, of tests"
    assert seen["model"] == "40x32 pixels, 3 classes"
    assert seen["artefacts"] == "model.onnx"
    assert seen["runs on"].startswith(load_backend(Bundle.open(bundle))[0].description)
    assert str(bundle) not in result.output


def spoil_what_does_not_run_here(bundle: Path) -> None:
    with bundles.updating(bundle, keep=lambda _: True) as stage:
        (stage / "model.fp16.tensorrt.engine").write_bytes(b"plan")
    (bundle / "model.fp16.tensorrt.engine").write_bytes(b"another")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda bundle: (bundle / bundles.ONNX).write_bytes(b"cut"), "changed or truncated"),
        (spoil_what_does_not_run_here, "changed or truncated"),
        (lambda bundle: (bundle / bundles.MANIFEST).unlink(), "without bundle.json"),
        (lambda bundle: (bundle / bundles.ONNX).unlink(), "received no such file"),
    ],
    ids=["edited", "another edited", "no manifest", "no model"],
)
def test_a_broken_bundle_is_refused_below_the_screen(
    damage: Callable[[Path], object], message: str, bundle: Path, contract: ModelContract
) -> None:
    damage(bundle)
    result = invoke("doctor", "--bundle", str(bundle))
    assert result.exit_code == 1
    assert result.stdout.startswith("metfa ")
    assert "Bundle" not in result.stdout
    assert re.fullmatch(r"Error: expected [^\n]*\n", result.stderr)
    assert message in result.stderr
