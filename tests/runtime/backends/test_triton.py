"""What a connection to a Triton server accepts, and what it refuses."""

from __future__ import annotations

import dataclasses
import http.server
import importlib.util
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from metfa.runtime import Bundle, PlaneClassifier
from metfa.runtime.backends.choice import load_backend
from metfa.runtime.backends.reconnection import AwayError
from metfa.runtime.backends.server_address import ServerAddress
from metfa.runtime.backends.triton import TritonConnection
from metfa.runtime.bundle import directory as bundles
from metfa.runtime.bundle.contract import METADATA_KEY
from metfa.runtime.bundle.served import SERVED_KEY, ServedFiles
from metfa.runtime.errors import BackendError, BundleError, MetfaError, MissingExtraError

from ..conftest import LABELS, grey, make_bundle, make_contract
from ..triton_server import Network, TritonServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray


@pytest.fixture
def server(bundle: Path, tmp_path: Path) -> Iterator[TritonServer]:
    with TritonServer(bundle, tmp_path / "models") as running:
        yield running


def connect(server: TritonServer, bundle: Path, deadline: float = 10) -> TritonConnection:
    return TritonConnection(ServerAddress.parse(server.address), Bundle.open(bundle), deadline=deadline)


def random_frames(number: int) -> NDArray[np.uint8]:
    """Return frames of the contract's size, each of another brightness."""
    noise = np.random.default_rng(0).integers(0, 55, (number, 1, 32, 40))
    return (np.linspace(0, 200, number)[:, None, None, None] + noise).astype(np.uint8)


@pytest.mark.parametrize("number", [1, 8, 20])
def test_the_server_says_what_the_cpu_says(server: TritonServer, bundle: Path, number: int) -> None:
    frames = random_frames(number)
    here, _ = load_backend(Bundle.open(bundle), "cpu")
    there, refusals = load_backend(Bundle.open(bundle), server.address)
    expected, found = here.infer(frames), there.infer(frames)
    assert found.logits.dtype == found.embedding.dtype == np.float32
    np.testing.assert_allclose(found.logits, expected.logits, rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(found.embedding, expected.embedding, rtol=1e-6)
    assert len(set(found.logits.argmax(1))) == min(number, len(LABELS))
    assert refusals == ()


def test_predictions_are_those_of_the_cpu(server: TritonServer, bundle: Path) -> None:
    here, there = (PlaneClassifier.load(bundle, backend=name) for name in ("cpu", server.address))
    for level in range(0, 256, 15):
        expected, found = here(grey(level)), there(grey(level))
        assert (found.label, found.confidence) == (expected.label, expected.confidence)
        assert found.probabilities.tolist() == expected.probabilities.tolist()
        assert found.embedding.tolist() == expected.embedding.tolist()


def test_more_frames_than_a_batch_holds_are_several_requests(server: TritonServer, bundle: Path) -> None:
    connection = connect(server, bundle)
    connection.infer(random_frames(20))
    assert server.batches == [8, 8, 4]
    assert connection.artefact == bundles.ONNX
    assert connection.description == f"Triton 0.0.0 at 127.0.0.1:{server.port}, model.onnx"


def test_a_light_bundle_is_enough(server: TritonServer, bundle: Path) -> None:
    for path in bundle.iterdir():
        if path.name not in {bundles.MANIFEST, bundles.CONTRACT}:
            path.unlink()
    assert PlaneClassifier.load(bundle, backend=server.address)(grey(255)).label == "bright"
    with pytest.raises(BundleError, match=r"expected model\.onnx in the bundle .*, received no such file"):
        PlaneClassifier.load(bundle, backend=f"{server.address},cpu")


def test_what_was_only_trained_has_no_hash_to_compare(server: TritonServer, bundle: Path) -> None:
    with bundles.updating(bundle, keep=lambda name: name == bundles.CONTRACT):
        pass
    with pytest.raises(BundleError, match="received one that was only trained"):
        PlaneClassifier.load(bundle, backend=server.address)


def other_size(server: TritonServer) -> None:
    server.config.input[0].dims[:] = [1, 64, 40]


def floats(server: TritonServer) -> None:
    server.config.input[0].data_type = 11


def more_labels(server: TritonServer) -> None:
    server.config.output[0].dims[:] = [4]


def no_embedding(server: TritonServer) -> None:
    del server.config.output[1]


def one_more_output(server: TritonServer) -> None:
    server.config.output.add(name="attention", data_type=11, dims=[7])


def no_contract(server: TritonServer) -> None:
    del server.config.parameters[METADATA_KEY]


def no_hashes(server: TritonServer) -> None:
    del server.config.parameters[SERVED_KEY]


def damaged_contract(server: TritonServer) -> None:
    server.config.parameters[METADATA_KEY].string_value = '{"schema": 4'


def other_labels(server: TritonServer) -> None:
    contract = dataclasses.replace(make_contract(tuple(reversed(LABELS))), embedding=1)
    server.config.parameters[METADATA_KEY].string_value = contract.to_json()


def other_hash(server: TritonServer) -> None:
    server.config.parameters[SERVED_KEY].string_value = ServedFiles({bundles.ONNX: "0" * 64}).to_json()


def other_file(server: TritonServer) -> None:
    server.config.parameters[SERVED_KEY].string_value = ServedFiles({bundles.ONNX_FP16: "0" * 64}).to_json()


def no_files(server: TritonServer) -> None:
    server.config.parameters[SERVED_KEY].string_value = json.dumps({"files": {}})


NAME = r"the model metfa at 127\.0\.0\.1:\d+"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (other_size, rf"UINT8 \[-1, 1, 32, 40\] as frame of {NAME}, received UINT8 \[-1, 1, 64, 40\]"),
        (floats, rf"UINT8 \[-1, 1, 32, 40\] as frame of {NAME}, received FP32 \[-1, 1, 32, 40\]"),
        (more_labels, rf"FP32 \[-1, 3\] as logits of {NAME}, received FP32 \[-1, 4\]"),
        (no_embedding, rf"FP32 \[-1, 1\] as embedding of {NAME}, received nothing"),
        (one_more_output, rf"nothing as attention of {NAME}, received FP32 \[-1, 7\]"),
        (no_contract, rf"a model that metfa-export --triton wrote as {NAME}, received one without metfa\.contract"),
        (no_hashes, rf"a model that metfa-export --triton wrote as {NAME}, received one without metfa\.files"),
        (damaged_contract, rf"JSON in {NAME}, received text that is not JSON .*"),
        (other_labels, rf"the contract of .*bundle in {NAME}, received one with another labels"),
        (other_hash, rf"model\.onnx of .*bundle \(SHA-256 \w{{12}}…\) in {NAME}, received one with SHA-256 0{{12}}…"),
        (other_file, rf"model\.fp16\.onnx of .* \(which it does not hold\) in {NAME}, received one with SHA-256 0+…"),
        (no_files, rf"valid values of ServedFiles in {NAME}, received no files"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_another_model_is_refused_with_what_differs(
    server: TritonServer, bundle: Path, change: Callable[[TritonServer], None], said: str
) -> None:
    change(server)
    for fallback in ("", ",cpu"):  # which is for a server that is away, not for a wrong one
        with pytest.raises(MetfaError) as refusal:
            load_backend(Bundle.open(bundle), server.address + fallback)
        assert re.fullmatch(rf"expected {said}; [^;]+", str(refusal.value))
    assert server.frames == 0


def test_the_artefact_of_another_training_is_refused(server: TritonServer, tmp_path: Path) -> None:
    other = make_contract()
    other = dataclasses.replace(other, provenance=dataclasses.replace(other.provenance, source="another scanner"))
    bundle = make_bundle(tmp_path / "other", other)
    with pytest.raises(BackendError, match="received one with another provenance; give server and edge device the"):
        load_backend(Bundle.open(bundle), server.address)


def test_a_server_that_is_not_there_is_one_line(server: TritonServer, bundle: Path) -> None:
    server.stop()
    with pytest.raises(
        BackendError, match=rf"an answer of {NAME}, received UNAVAILABLE: .*; start the server, or"
    ) as no:
        load_backend(Bundle.open(bundle), server.address)
    assert "\n" not in str(no.value)


def test_a_port_that_speaks_http_is_told(server: TritonServer, bundle: Path) -> None:
    class Quiet(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as other:
        threading.Thread(target=other.serve_forever).start()
        with pytest.raises(BackendError, match=r"received UNAVAILABLE: .*HTTP.*; .* the port of Triton's gRPC is 8001"):
            load_backend(Bundle.open(bundle), f"triton:127.0.0.1:{other.server_port}/metfa")
        other.shutdown()


def test_a_model_that_is_unknown_or_not_ready_is_told(server: TritonServer, bundle: Path) -> None:
    with pytest.raises(BackendError, match="received no model metfb that is ready"):
        load_backend(Bundle.open(bundle), server.address.replace("/metfa", "/metfb"))
    server.ready = False
    with pytest.raises(BackendError, match="received no model metfa that is ready"):
        load_backend(Bundle.open(bundle), server.address)


def test_an_answer_that_takes_too_long_is_not_waited_for(server: TritonServer, bundle: Path) -> None:
    connection = connect(server, bundle, deadline=0.2)
    answered = threading.Event()
    server.answer = answered.wait
    with pytest.raises(AwayError, match="DEADLINE_EXCEEDED: Deadline Exceeded"):
        connection.infer(random_frames(1))
    answered.set()


def test_a_new_connection_shares_nothing_with_one_that_hangs(server: TritonServer, bundle: Path) -> None:
    """As where a router forgets a connection: its ends are not told."""
    with closing(Network(server.port)) as network, ThreadPoolExecutor(1) as pool:
        address = dataclasses.replace(ServerAddress.parse(server.address), port=network.port)
        lost = TritonConnection(address, Bundle.open(bundle), deadline=2)
        network.swallow()
        hanging = pool.submit(lost.infer, random_frames(1))
        assert TritonConnection(address, Bundle.open(bundle)).infer(random_frames(1)).logits.shape == (1, 3)
        with pytest.raises(AwayError, match="DEADLINE_EXCEEDED"):
            hanging.result()


def test_an_error_says_its_status(server: TritonServer, bundle: Path) -> None:
    connection = connect(server, bundle)
    server.status = grpc.StatusCode.INTERNAL
    with pytest.raises(AwayError, match=r"^INTERNAL: it went wrong$"):
        connection.infer(random_frames(1))


def short(response: Any) -> None:
    response.raw_output_contents[0] = response.raw_output_contents[0][:-1]


def empty(response: Any) -> None:
    del response.raw_output_contents[:]


def of_another_type(response: Any) -> None:
    response.outputs[0].datatype = "BYTES"


def of_another_shape(response: Any) -> None:
    response.outputs[0].shape[:] = [3, 1]


def without_logits(response: Any) -> None:
    response.outputs[0].name = "probabilities"


@pytest.mark.parametrize(
    ("spoil", "received"),
    [
        (short, "data that do not fill it"),
        (empty, "data that do not fill it"),
        (of_another_type, r"BYTES \[1, 3\]"),
        (of_another_shape, r"FP32 \[3, 1\]"),
        (without_logits, "nothing"),
    ],
)
def test_an_answer_that_is_something_else_is_refused(
    server: TritonServer, bundle: Path, spoil: Callable[[Any], None], received: str
) -> None:
    backend, _ = load_backend(Bundle.open(bundle), server.address)
    server.spoil = spoil
    with pytest.raises(BackendError, match=rf"^expected FP32 \[1, 3\] as logits of {NAME}, received {received}; look"):
        backend.infer(random_frames(1))


def test_what_is_not_finite_is_no_prediction(server: TritonServer, bundle: Path) -> None:
    def spoil(response: Any) -> None:
        response.raw_output_contents[0] = np.full(3, np.nan, np.float32).tobytes()

    classifier = PlaneClassifier.load(bundle, backend=server.address)
    server.spoil = spoil
    with pytest.raises(
        BackendError, match=r"finite numbers of Triton 0\.0\.0 at .*, received the logits \[nan nan nan\]"
    ):
        classifier(grey(0))


def test_another_version_cannot_answer_in_its_place(server: TritonServer, bundle: Path) -> None:
    """As where the repository is replaced under a server that goes on running: nothing is disconnected."""
    connection = connect(server, bundle)
    server.version = "1"
    with pytest.raises(AwayError, match=r"NOT_FOUND: Request for unknown model: 'metfa' version \d+ is not found"):
        connection.infer(random_frames(1))


def test_frames_take_no_way_round(server: TritonServer, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert connect(server, bundle).infer(random_frames(1)).logits.shape == (1, 3)


def test_a_precision_is_that_of_this_host(server: TritonServer, bundle: Path) -> None:
    with pytest.raises(BackendError, match="no --precision where a server runs the model, received fp32; leave it out"):
        load_backend(Bundle.open(bundle), server.address, "fp32")
    backend, _ = load_backend(Bundle.open(bundle), f"{server.address},cpu", "fp32")
    assert re.fullmatch(r"Triton .*; while that is away, ONNX Runtime .* on the CPU, model\.onnx", backend.description)


def test_without_its_client_the_command_to_install_it_is_named(
    server: TritonServer, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "tritonclient" else find_spec(name))
    with pytest.raises(MissingExtraError, match=r"the package tritonclient, .*; pip install '\.\[triton\]'"):
        load_backend(Bundle.open(bundle), server.address)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("triton:gpu-box:8001/metfa", ServerAddress("gpu-box", 8001, "metfa")),
        ("triton:10.0.0.7:8001/planes_2,cpu", ServerAddress("10.0.0.7", 8001, "planes_2", "cpu")),
        ("triton:[::1]:8001/metfa,auto", ServerAddress("[::1]", 8001, "metfa", "auto")),
    ],
)
def test_an_address_has_a_host_a_port_a_model_and_perhaps_a_fallback(text: str, address: ServerAddress) -> None:
    assert ServerAddress.parse(text) == address


@pytest.mark.parametrize(
    "text",
    [
        *("triton:", "triton:host/metfa", "triton:host:8001", "triton:host:8001/", "triton:::1:8001/metfa"),
        *("triton:host:0/metfa", "triton:host:65536/metfa", "triton:dns:///host:8001/metfa"),
        *("triton:host:8001/metfa,", "triton:host:8001/metfa,cpu,cuda"),
    ],
)
def test_what_is_no_address_is_refused(bundle: Path, text: str) -> None:
    with pytest.raises(BackendError, match=r"is not spelt triton:HOST:PORT/MODEL\[,BACKEND\]; correct the name"):
        load_backend(Bundle.open(bundle), text)
