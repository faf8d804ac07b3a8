"""A model that a Triton Inference Server runs, over gRPC."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

from ..bundle.contract import METADATA_KEY, ModelContract
from ..bundle.served import SERVED_KEY, ServedFiles
from ..errors import BackendError
from . import Inference
from .reconnection import AwayError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ..bundle.directory import Bundle
    from .server_address import ServerAddress

_DEADLINE_SECONDS = 2.0  # for each answer; a stream of a network that is silent for so long is lost, too
_CHANNEL = [
    ("grpc.enable_http_proxy", 0),  # frames go to the server that was named, whatever the environment says
    ("grpc.use_local_subchannel_pool", 1),  # or a new connection would share what the last one hangs in
]
_REMEDY = "give server and edge device the same bundle: copy it, or write the repository with metfa-export --triton"


class TritonConnection:
    """A connection to a server whose model was found to be that of a bundle.

    May be used by several threads. It is closed when nobody refers to it any more.

    Args:
        address: where the server is, and which model.
        bundle: whose model that must be. Its manifest and contract are enough: no artefact is read.
        deadline: seconds that an answer may take.

    Raises:
        AwayError: there is no answer, or the model is not ready.
        BackendError: the server has another model.
        ContractError: the contract of the server's model cannot be read.
    """

    def __init__(self, address: ServerAddress, bundle: Bundle, *, deadline: float = _DEADLINE_SECONDS) -> None:
        self._model, self._contract, self._deadline = address.model, bundle.contract, deadline
        self._name = f"the model {address.model} at {address.target}"
        self._client = grpc.InferenceServerClient(address.target, channel_args=_CHANNEL)
        if not (self._ask(self._client.is_server_live) and self._ask(self._client.is_model_ready, self._model)):
            raise AwayError(f"no model {self._model} that is ready")
        self._require_interface()
        config = self._ask(self._client.get_model_config, self._model).config
        self._max_batch = max(1, config.max_batch_size)
        files = self._require_same_model(config.parameters, bundle)
        self._version = str(files.version)
        self.artefact = next(iter(files.files))
        server = self._ask(self._client.get_server_metadata)
        self.description = f"Triton {server.version} at {address.target}, {' or '.join(files.files)}"

    def infer(self, frames: NDArray[np.uint8]) -> Inference:
        """Have the server run the model on ``frames``, uint8 [N, 1, H, W] of the contract's size.

        Raises:
            AwayError: there is no answer in time, or it is an error.
            BackendError: the answer is something else than the contract says.
        """
        starts = range(0, len(frames), self._max_batch)
        parts = [self._infer(frames[start : start + self._max_batch]) for start in starts]
        return Inference(
            np.concatenate([part.logits for part in parts]), np.concatenate([part.embedding for part in parts])
        )

    def _infer(self, frames: NDArray[np.uint8]) -> Inference:
        tensor = grpc.InferInput("frame", list(frames.shape), "UINT8")
        tensor.set_data_from_numpy(frames)
        result = self._ask(self._client.infer, self._model, [tensor], model_version=self._version)
        logits, embedding = (
            self._read(result, name, (len(frames), size))
            for name, size in (("logits", len(self._contract.labels)), ("embedding", self._contract.embedding))
        )
        return Inference(logits, embedding)

    def _read(self, result: grpc.InferResult, name: str, shape: tuple[int, int]) -> NDArray[np.float32]:
        output = result.get_output(name)
        found = None if output is None else (output.datatype, list(output.shape))
        received = _described(found)
        if found == ("FP32", list(shape)):
            try:
                return np.asarray(result.as_numpy(name))
            except ValueError:
                received = "data that do not fill it"
        raise BackendError(
            expected=f"FP32 {list(shape)} as {name} of {self._name}", received=received, remedy="look after the server"
        )

    def _ask(self, method: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Return what the server answers.

        Raises:
            AwayError: nothing in time, or an error.
        """
        try:
            return method(*arguments, **named, client_timeout=self._deadline)
        except InferenceServerException as cause:
            status = (cause.status() or "error").removeprefix("StatusCode.")
            raise AwayError(f"{status}: {' '.join(cause.message().split())}") from None

    def _require_interface(self) -> None:
        """Make sure that the server's model takes and returns what the contract says."""
        metadata = self._ask(self._client.get_model_metadata, self._model)
        size = self._contract.input
        expected = {
            "frame": ("UINT8", [-1, 1, size.height, size.width]),
            "logits": ("FP32", [-1, len(self._contract.labels)]),
            "embedding": ("FP32", [-1, self._contract.embedding]),
        }
        found = {tensor.name: (tensor.datatype, list(tensor.shape)) for tensor in (*metadata.inputs, *metadata.outputs)}
        for name in (*expected, *found):
            if found.get(name) != expected.get(name):
                raise BackendError(
                    expected=f"{_described(expected.get(name))} as {name} of {self._name}",
                    received=_described(found.get(name)),
                    remedy=_REMEDY,
                )

    def _require_same_model(self, parameters: Any, bundle: Bundle) -> ServedFiles:
        """Make sure that contract and hashes are those of the bundle; return the hashes."""
        for key in (METADATA_KEY, SERVED_KEY):
            if key not in parameters:
                raise BackendError(
                    expected=f"a model that metfa-export --triton wrote as {self._name}",
                    received=f"one without {key}",
                    remedy=_REMEDY,
                )
        contract = ModelContract.from_json(parameters[METADATA_KEY].string_value, origin=self._name)
        names = [field.name for field in fields(ModelContract)]
        if others := [name for name in names if getattr(contract, name) != getattr(bundle.contract, name)]:
            raise BackendError(
                expected=f"the contract of {bundle.directory} in {self._name}",
                received=f"one with another {' and another '.join(others)}",
                remedy=_REMEDY,
            )
        served = ServedFiles.from_json(parameters[SERVED_KEY].string_value, origin=self._name)
        for name, digest in served.files.items():
            if digest != bundle.files.get(name):
                held = f"SHA-256 {bundle.files[name][:12]}…" if name in bundle.files else "which it does not hold"
                raise BackendError(
                    expected=f"{name} of {bundle.directory} ({held}) in {self._name}",
                    received=f"one with SHA-256 {digest[:12]}…",
                    remedy=_REMEDY,
                )
        return served


def _described(tensor: tuple[str, list[int]] | None) -> str:
    return "nothing" if tensor is None else f"{tensor[0]} {tensor[1]}"
