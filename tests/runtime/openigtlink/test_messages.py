"""What metfa packs, pyigtl reads; what pyigtl packs, metfa reads; what is no message is refused."""

from __future__ import annotations

import re
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pyigtl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyigtl.messages import CRC64, MessageBase

from metfa.runtime.address import Address
from metfa.runtime.openigtlink.address import DeviceAddress, PeerAddress
from metfa.runtime.openigtlink.checksum import crc64
from metfa.runtime.openigtlink.images import GreyLevels, image_content, read_pixels
from metfa.runtime.openigtlink.messages import (
    HEADER_BYTES,
    Header,
    MalformedError,
    content_of,
    pack,
    string_content,
)

from .peer import image_message

if TYPE_CHECKING:
    from numpy.typing import NDArray

RAMP = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20


def read(message: bytes) -> NDArray[Any]:
    """Return the pixels of a whole IMAGE message."""
    header = Header.unpack(message[:HEADER_BYTES])
    return read_pixels(content_of(header, memoryview(message[HEADER_BYTES:])))


def changed(message: bytes, place: int, value: bytes) -> bytes:
    """Return a message with other bytes in its body."""
    at = HEADER_BYTES + place
    return message[:at] + value + message[at + len(value) :]


def unpack(message: bytes) -> Any:
    """Return a message as pyigtl reads it."""
    fields = MessageBase.parse_header(message[:HEADER_BYTES])
    result = MessageBase.create_message(fields["message_type"])
    result.unpack(fields, message[HEADER_BYTES:])
    return result


def test_the_checksum_is_that_of_the_standard() -> None:
    assert crc64(b"123456789") == 0x6C40DF5F0B497347  # CRC-64/ECMA-182 in catalogues of checksums


@given(st.binary(max_size=300))
def test_the_checksum_is_that_of_pyigtl(data: bytes) -> None:
    assert crc64(data) == CRC64(data)


@pytest.mark.parametrize("length", [0, 1, 8, 307_200, 307_201])
def test_the_checksum_of_an_image_is_that_of_pyigtl(length: int) -> None:
    data = np.random.default_rng(length).bytes(length)
    assert crc64(memoryview(data)) == CRC64(data)


def test_a_header_says_what_pyigtl_packed() -> None:
    message = image_message(RAMP, "Image_Reference", timestamp=1700000000.25)
    header = Header.unpack(message[:HEADER_BYTES])
    assert header[:5] == (1, "IMAGE", "Image_Reference", 1700000000.25, len(message) - HEADER_BYTES)
    assert header.checksum == crc64(message[HEADER_BYTES:])


def test_a_device_name_may_fill_its_field() -> None:
    assert Header.unpack(image_message(RAMP, "twenty characters ab")[:HEADER_BYTES]).device == "twenty characters ab"


@pytest.mark.parametrize("version", [1, 2, 3])
def test_every_version_of_the_header_is_read(version: int) -> None:
    message = image_message(RAMP, header_version=version, metadata={"Depth": "55", "Probe": "C5-2"})
    np.testing.assert_array_equal(read(message), RAMP)


@pytest.mark.parametrize("version", [0, 4, 0x4854])
def test_other_versions_are_refused(version: int) -> None:
    with pytest.raises(MalformedError, match=f"a header of version {version}"):
        Header.unpack(struct.pack(">H", version) + bytes(HEADER_BYTES - 2))


@pytest.mark.parametrize("number", ["i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8"])
def test_every_number_type_is_read_in_both_byte_orders(number: str) -> None:
    image = (RAMP // 2).astype(number)
    np.testing.assert_array_equal(read(image_message(image)), image)
    big_endian = changed(image_message(image.byteswap()), 4, b"\x01")  # pyigtl itself packs little-endian images only
    np.testing.assert_array_equal(read(big_endian), image)


def test_the_first_row_of_an_image_is_its_top() -> None:
    image = np.zeros((3, 4), np.uint8)
    image[0] = 255
    np.testing.assert_array_equal(GreyLevels()(read(image_message(image))), image)


def test_an_array_without_a_slice_is_read_too() -> None:
    # pyigtl gives it a size of 1 x width x height.
    np.testing.assert_array_equal(read(bytes(pyigtl.ImageMessage(RAMP).pack())), RAMP)


def test_rgb_becomes_bgr() -> None:
    rgb = np.zeros((3, 4, 3), np.uint8)
    rgb[..., 0] = 200
    bgr = GreyLevels()(read(image_message(rgb)))
    assert bgr.shape == (3, 4, 3)
    assert bgr[0, 0].tolist() == [0, 0, 200]


@pytest.mark.parametrize(
    ("pixels", "levels"),
    [
        (np.array([[0, 100, 255]], np.uint16), [0, 100, 255]),
        (np.array([[0, 512, 1023]], np.uint16), [0, 128, 255]),
        (np.array([[0, 2048, 4000]], np.int16), [0, 128, 249]),
        (np.array([[-500, 0, 65535]], np.int32), [0, 0, 255]),
        (np.array([[0, 2**31, 2**32 - 1]], np.uint32), [0, 128, 255]),
        (np.array([[-128, 0, 127]], np.int8), [0, 0, 127]),
        (np.array([[0, 0.5, 1]], np.float32), [0, 128, 255]),
        (np.array([[0, 100, 255]], np.float32), [0, 100, 255]),
        (np.array([[np.nan, np.inf, 255]], np.float64), [0, 0, 255]),
        (np.array([[0, 1, 1e300]], np.float64), [0, 0, 255]),
    ],
)
def test_other_numbers_are_brought_to_eight_bits(pixels: NDArray[Any], levels: list[int]) -> None:
    assert GreyLevels()(pixels).tolist() == [levels]


def test_a_darker_image_does_not_become_brighter() -> None:
    to_grey = GreyLevels()
    assert to_grey(np.array([[4095]], np.uint16)).tolist() == [[255]]
    assert to_grey(np.array([[255]], np.uint16)).tolist() == [[16]]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (image_message(RAMP)[: HEADER_BYTES + 71], "71 bytes, too short for an image"),
        (image_message(RAMP)[:-1], "11 bytes for 4x3x1 pixels of 1 bytes"),
        (image_message(RAMP) + b"\0", "13 bytes for 4x3x1 pixels of 1 bytes"),
        (bytes(pyigtl.ImageMessage(np.zeros((5, 3, 4), np.uint8)).pack()), "4x3x5 pixels, which is no image"),
        (changed(image_message(RAMP), 6, bytes(2)), "a part of an image"),
        (changed(image_message(RAMP), 2, b"\x02"), "2 components of scalar type 3 in byte order 2"),
        (changed(image_message(RAMP), 3, b"\x0d"), "1 components of scalar type 13 in byte order 2"),
        (changed(image_message(RAMP), 4, b"\x00"), "1 components of scalar type 3 in byte order 0"),
        (image_message(RAMP, header_version=2)[: HEADER_BYTES + 11], "too short for its extended header"),
        (changed(image_message(RAMP, header_version=2), 0, b"\x00\x05"), "too short for its metadata"),
        (changed(image_message(RAMP, header_version=2), 4, b"\xff\xff\xff\xff"), "too short for its metadata"),
    ],
    ids=[
        "short",
        "a byte less",
        "a byte more",
        "a volume",
        "a part",
        "components",
        "scalar type",
        "byte order",
        "no extended header",
        "extended header too short",
        "metadata too long",
    ],
)
def test_what_is_no_image_is_refused(message: bytes, reason: str) -> None:
    with pytest.raises(MalformedError, match=reason):
        read(message)


@given(st.binary(max_size=120), st.sampled_from([1, 2, 3]))
def test_whatever_comes_is_read_or_refused(body: bytes, version: int) -> None:
    with suppress(MalformedError):
        read_pixels(content_of(Header(version, "IMAGE", "", 0.0, len(body), 0), memoryview(body)))


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 3)])
def test_pyigtl_reads_an_image(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    message = unpack(pack("IMAGE", "metfa_image", 1700000000.25, image_content(image)))
    assert (message.device_name, message.timestamp, message.header_version) == ("metfa_image", 1700000000.25, 1)
    np.testing.assert_array_equal(message.image[0], image if image.ndim == 2 else image[..., ::-1])
    # Left and back, as 3D Slicer's axial view wants it; the centre of the image is the origin.
    assert message.ijk_to_world_matrix.tolist() == [[-1, 0, 0, 1.5], [0, -1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert message.world_coordinate_system == "ras"


def test_pyigtl_reads_a_string() -> None:
    message = unpack(pack("STRING", "more than twenty characters", 0.0, string_content('{"a": 1}')))
    assert (message.device_name, message.string) == ("more than twenty cha", '{"a": 1}')


def test_a_text_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="65536 bytes, more than"):
        string_content("a" * 65536)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("igtl://host:18945/Image_Reference", DeviceAddress(Address("host", 18945), "Image_Reference")),
        ("IGTL://host/a%20b", DeviceAddress(Address("host", 18944), "a b")),
        ("igtl://host/", DeviceAddress(Address("host", 18944), None)),
        ("igtl://[::1]:5", DeviceAddress(Address("::1", 5), None)),
    ],
)
def test_a_url_names_server_and_device(url: str, address: DeviceAddress) -> None:
    assert DeviceAddress.parse(url) == address
    assert DeviceAddress.parse(str(address)) == address


@pytest.mark.parametrize("text", ["", "host:", "host:65536", "host:1:2", "a b", "[::1", "user@host:1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        Address.parse(text)


def test_who_takes_events_is_named_by_an_address() -> None:
    assert PeerAddress.parse("slicer:18945") == PeerAddress(Address("slicer", 18945), listens=False)
    assert PeerAddress.parse("listen:127.0.0.1") == PeerAddress(Address("127.0.0.1", 18944), listens=True)
    assert str(PeerAddress.parse("listen:[::1]:5")) == "listen:[::1]:5"
