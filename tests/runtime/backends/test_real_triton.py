"""The repository that is exported, in a real Triton server: ``tritonserver`` on PATH.

NVIDIA's containers have one with all of its backends. The wheel ``nvidia-pytriton`` for Linux on x86-64 has one that
only knows models in Python: there, such a model runs the ONNX, and all else is as exported. ::

    pip download --no-deps nvidia-pytriton && unzip -q nvidia_pytriton-*.whl
    cd pytriton/tritonserver && cp python_backend_stubs/3.11/* backends/python && chmod +x bin/* backends/python/*stub
    PATH=$PWD/bin:$PATH pytest …/tests/runtime/backends/test_real_triton.py
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tritonclient import grpc

from metfa.export.serving.triton import write_triton_repository
from metfa.runtime import Bundle
from metfa.runtime.backends.choice import load_backend
from metfa.runtime.backends.reconnection import AwayError
from metfa.runtime.backends.server_address import ServerAddress
from metfa.runtime.backends.triton import TritonConnection
from metfa.runtime.errors import BackendError

from ..conftest import make_bundle, make_contract
from ..triton_server import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

EXECUTABLE = shutil.which("tritonserver")

pytestmark = pytest.mark.skipif(EXECUTABLE is None, reason="no tritonserver here")

MODEL = """
from pathlib import Path

import numpy as np
import onnxruntime
import triton_python_backend_utils as triton


class TritonPythonModel:
    def initialize(self, args):
        path = Path(args["model_repository"], args["model_version"], "model.onnx")
        self.session = onnxruntime.InferenceSession(path)

    def execute(self, requests):
        responses = []
        for request in requests:
            frames = np.from_dlpack(triton.get_input_tensor_by_name(request, "frame"))
            outputs = zip(["logits", "embedding"], self.session.run(["logits", "embedding"], {"frame": frames}))
            responses.append(triton.InferenceResponse([triton.Tensor.from_dlpack(*output) for output in outputs]))
        return responses
"""


class RealServer:
    """A ``tritonserver`` on a repository of its own."""

    def __init__(self, directory: Path) -> None:
        assert EXECUTABLE is not None
        self._directory, self._repository = directory, directory / "models"
        self._backends = Path(EXECUTABLE).resolve().parents[1] / "backends"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.address = ServerAddress("127.0.0.1", free.getsockname()[1], "metfa")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        return f"triton:{self.address.target}/{self.address.model}"

    def serve(self, bundle: Path) -> None:
        """Put a bundle's model in the place of what is there, at once."""
        model = write_triton_repository(Bundle.open(bundle), self._directory / f"{bundle.name} exported")
        if not (self._backends / "onnxruntime").is_dir():
            config = (model / "config.pbtxt").read_text()
            for exported, present in (
                ('platform: "onnxruntime_onnx"', 'backend: "python"'),
                ('default_model_filename: "model.onnx"', 'default_model_filename: "model.py"'),
            ):
                assert exported in config
                config = config.replace(exported, present)
            (model / "config.pbtxt").write_text(config)
            (version,) = (path for path in model.iterdir() if path.is_dir())
            (version / "model.py").write_text(MODEL)
        self._repository.mkdir(exist_ok=True)
        shutil.rmtree(self._repository / "metfa", ignore_errors=True)
        model.rename(self._repository / "metfa")

    def start(self, *options: str) -> None:
        assert EXECUTABLE is not None
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *map(str, (EXECUTABLE, "--model-repository", self._repository)),
                    *("--backend-directory", str(self._backends), "--allow-http=false", "--allow-metrics=false"),
                    *("--grpc-address=127.0.0.1", f"--grpc-port={self.address.port}", *options),
                ],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)  # with the process that runs a model in Python
            self._process.wait()


@pytest.fixture
def server(bundle: Path, tmp_path: Path) -> Iterator[RealServer]:
    it = RealServer(tmp_path)
    it.serve(bundle)
    it.start()
    try:
        wait_until(lambda: is_there(it, bundle))
        yield it
    finally:
        it.kill()


def is_there(server: RealServer, bundle: Path) -> bool:
    try:
        TritonConnection(server.address, Bundle.open(bundle))
    except AwayError:
        return False
    return True


def random_frames(number: int) -> np.ndarray[tuple[int, int, int, int], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (number, 1, 32, 40), np.uint8)


def test_it_accepts_what_is_exported_and_says_what_the_cpu_says(server: RealServer, bundle: Path) -> None:
    there, _ = load_backend(Bundle.open(bundle), server.name)
    assert re.fullmatch(rf"Triton \d+\.\d+\.\d+ at {server.address.target}, model\.onnx", there.description)
    here, _ = load_backend(Bundle.open(bundle), "cpu")
    frames = random_frames(20)  # more than its largest batch
    np.testing.assert_allclose(there.infer(frames).logits, here.infer(frames).logits, rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(there.infer(frames).embedding, here.infer(frames).embedding, rtol=1e-6)
    for frame in frames:
        assert there.infer(frame[None]).logits.tolist() == here.infer(frame[None]).logits.tolist()


def test_it_makes_batches_of_what_comes_at_once(server: RealServer, bundle: Path) -> None:
    there, _ = load_backend(Bundle.open(bundle), server.name)
    with ThreadPoolExecutor(there.concurrency) as pool:
        list(pool.map(there.infer, random_frames(200)[:, None]))
    (statistics,) = (
        grpc.InferenceServerClient(server.address.target).get_inference_statistics(server.address.model).model_stats
    )
    assert statistics.inference_count >= 200
    assert statistics.execution_count < statistics.inference_count


def test_it_is_killed_and_starts_again(server: RealServer, bundle: Path) -> None:
    told: list[str] = []
    there, _ = load_backend(Bundle.open(bundle), server.name, notify=told.append)
    before = there.infer(random_frames(1)).logits
    server.kill()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(there.infer, random_frames(1))
        wait_until(lambda: len(told) == 1)
        server.start()
        assert waiting.result().logits.tolist() == before.tolist()
    assert [line.split(maxsplit=2)[0] for line in told] == ["away:", "back"]


def test_it_starts_again_with_another_model(server: RealServer, bundle: Path, tmp_path: Path) -> None:
    there, _ = load_backend(Bundle.open(bundle), server.name)
    server.kill()
    server.serve(make_bundle(tmp_path / "other", make_contract(("a", "b"))))
    server.start()
    with pytest.raises(BackendError, match=r"expected FP32 \[-1, 3\] as logits of .*, received FP32 \[-1, 2\]; give"):
        there.infer(random_frames(1))


def test_its_model_is_replaced_while_it_runs(server: RealServer, bundle: Path, tmp_path: Path) -> None:
    there, _ = load_backend(Bundle.open(bundle), server.name)
    server.kill()
    server.start("--model-control-mode=poll", "--repository-poll-secs=1")
    assert there.infer(random_frames(1)).logits.shape == (1, 3)
    server.serve(make_bundle(tmp_path / "other", make_contract(("x", "y", "z"))))

    refusals: list[str] = []

    def is_refused() -> bool:
        try:
            there.infer(random_frames(1))
        except BackendError as refusal:
            refusals.append(str(refusal))
        return bool(refusals)

    wait_until(is_refused)
    assert re.search(r"expected the contract of .*, received one with another labels; give", refusals[0])


def test_a_model_that_it_does_not_have_is_told(server: RealServer, bundle: Path) -> None:
    with pytest.raises(BackendError, match="received no model planes that is ready"):
        load_backend(Bundle.open(bundle), server.name.replace("metfa", "planes"))
