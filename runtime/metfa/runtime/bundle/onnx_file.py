"""What must be known of an ONNX file before an engine opens it: it is whole, names no other file, and comes to an end.

An ONNX file may say of a tensor that its data are in another file, by a path that whoever made it chose. An operator
may hold a graph that it runs as often as it likes. metfa writes neither. The package ``onnx`` would follow the path,
and is not on the edge; so this walks the file's protobuf itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Field numbers of onnx.proto3 under which a message holds others that may hold tensors.
_HOLDS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 10: "tensor", 22: "sparse tensor", 23: "sparse tensor"},
    "sparse tensor": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_GRAPHS = {6, 11}  # of an attribute
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # of a tensor


def require_harmless(content: bytes, path: Path) -> None:
    """Make sure that an ONNX file is whole, refers to no other file and has no loops or branches.

    Args:
        content: the file's bytes.
        path: where they were read, for the message.

    Raises:
        BundleError: it is not.
    """
    remedy = "export the bundle again with metfa-export, and do not use this one"
    pending = [("model", memoryview(content))]
    graphs = 0
    while pending:
        kind, message = pending.pop()
        graphs += kind == "graph"
        try:
            for number, value in _fields(message):
                if kind == "tensor" and (number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value)):
                    raise BundleError(
                        expected=f"all weights of {path} in the file itself",
                        received="a tensor whose data are in another file",
                        remedy=remedy,
                    )
                if kind == "attribute" and number in _GRAPHS:
                    raise BundleError(
                        expected=f"a graph without loops and branches in {path}",
                        received="an operator that runs a graph of its own",
                        remedy=remedy,
                    )
                if number in _HOLDS[kind] and isinstance(value, memoryview):
                    pending.append((_HOLDS[kind][number], value))
        except ValueError as cause:
            raise BundleError(expected=f"an ONNX model in {path}", received=str(cause), remedy=remedy) from None
    if not graphs:
        raise BundleError(expected=f"an ONNX model in {path}", received="a file without a graph", remedy=remedy)


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield number and value of each field of a protobuf message; of numbers of fixed size, no value but 0.

    Raises:
        ValueError: it is cut off, or no protobuf.
    """
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        kind, value = tag & 7, 0
        if kind == 0:
            value, position = _varint(message, position)
            yield tag >> 3, value
        elif kind == 2:
            size, position = _varint(message, position)
            if size > len(message) - position:
                raise ValueError(f"a part of {size} bytes where {len(message) - position} are left")
            yield tag >> 3, message[position : position + size]
            position += size
        elif kind in {1, 5}:
            position += 8 if kind == 1 else 4
            if position > len(message):
                raise ValueError("a number that is cut off")
            yield tag >> 3, 0
        else:
            raise ValueError(f"a part of unknown kind {kind}")


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """Return the number of variable length at ``position``, and the position after it."""
    number = 0
    for index in range(10):
        if position + index >= len(message):
            raise ValueError("a number that is cut off")
        byte = message[position + index]
        number |= (byte & 127) << 7 * index
        if byte < 128:
            return number, position + index + 1
    raise ValueError("a number of more than 64 bits")
