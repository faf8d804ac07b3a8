"""DICOM cines of every photometric interpretation, depth, sign, planar configuration and transfer syntax."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Literal, NamedTuple

import cv2
import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="needs the extra dicom")

from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402  # after the skip
from pydicom.uid import (  # noqa: E402
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
    UltrasoundMultiFrameImageStorage,
)

from metfa.runtime.sources import open_source  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FRAMES, ROWS, COLUMNS = 3, 36, 34
NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
NEAR = 2  # grey levels that near-lossless JPEG-LS may be off


class Cine(NamedTuple):
    """How a cine is written."""

    syntax: UID
    photometric: str
    bits: int
    signed: bool
    planar: int

    def __str__(self) -> str:
        sign = "signed" if self.signed else "unsigned"
        return f"{self.syntax.name}, {self.photometric}, {self.bits} bits {sign}, planar {self.planar}"


def cines(syntax: UID) -> Iterator[Cine]:
    """All that there can be in a transfer syntax, as far as pydicom can write it."""
    depths = (1, 5, 8, 10, 12, 16)
    for photometric, bits, signed in product(("MONOCHROME1", "MONOCHROME2"), depths, (False, True)):
        if bits == 1 and (signed or syntax not in NATIVE):
            continue
        if syntax in {JPEGLSLossless, JPEGLSNearLossless} and (bits < 8 or signed):  # neither is defined there
            continue
        yield Cine(syntax, photometric, bits, signed, 0)
    for photometric, bits, planar in product(("RGB", "YBR_FULL", "YBR_FULL_422"), (8, 16), (0, 1)):
        if photometric != "RGB" and (bits > 8 or (photometric, planar) == ("YBR_FULL_422", 1)):
            continue
        if planar and syntax not in NATIVE:  # the encoders arrange samples themselves
            continue
        if photometric == "YBR_FULL_422" and syntax not in NATIVE:
            continue
        yield Cine(syntax, photometric, bits, False, planar)
    for bits, signed in product((8, 16), (False, True)):
        if syntax in NATIVE or not (signed or syntax == JPEGLSNearLossless):
            yield Cine(syntax, "PALETTE COLOR", bits, signed, 0)


def stored_bytes(values: np.ndarray, cine: Cine) -> bytes:
    """Values of 0 … 2^bits - 1 as the pixel data of a native transfer syntax."""
    if cine.bits == 1:
        return np.packbits(values.astype(np.uint8).ravel(), bitorder="little").tobytes()
    if cine.signed:
        values = values.astype(np.int32) - (1 << (cine.bits - 1))
    words = values.astype(f"{'i' if cine.signed else 'u'}{1 if cine.bits <= 8 else 2}")
    if cine.planar:
        words = words.transpose(0, 3, 1, 2)
    order: Literal["<", ">"] = ">" if cine.syntax == ExplicitVRBigEndian else "<"
    data = words.astype(words.dtype.newbyteorder(order)).tobytes()
    data += bytes(len(data) % 2)
    # Bytes of big-endian files are swapped in pairs, as they are words for whoever writes them.
    return np.frombuffer(data, np.uint16).byteswap().tobytes() if order == ">" and cine.bits <= 8 else data


def subsampled(ybr: np.ndarray) -> np.ndarray:
    """Y, Y, Cb, Cr of each two pixels, uint8 [N, H, W / 2, 4]."""
    return np.concatenate([ybr[:, :, ::2, :1], ybr[:, :, 1::2, :1], ybr[:, :, ::2, 1:]], axis=3)


def write(path: Path, cine: Cine, values: np.ndarray, palette: np.ndarray) -> None:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = cine.syntax if cine.syntax in NATIVE else ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = UltrasoundMultiFrameImageStorage, "1.2.3"
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = FRAMES, ROWS, COLUMNS
    dataset.SamplesPerPixel = 3 if values.ndim == 4 else 1
    if values.ndim == 4:
        dataset.PlanarConfiguration = cine.planar
    dataset.PhotometricInterpretation = cine.photometric
    dataset.BitsAllocated = 1 if cine.bits == 1 else 8 if cine.bits <= 8 else 16
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = cine.bits, cine.bits - 1, int(cine.signed)
    dataset.PixelData = stored_bytes(subsampled(values) if cine.photometric == "YBR_FULL_422" else values, cine)
    dataset["PixelData"].VR = "OB" if cine.bits <= 8 and cine.syntax != ExplicitVRBigEndian else "OW"
    if cine.photometric == "PALETTE COLOR":
        add_palette(dataset, cine, palette)
    if cine.syntax not in NATIVE:
        dataset.compress(cine.syntax, jls_error=NEAR if cine.syntax == JPEGLSNearLossless else None)
    dataset.save_as(path, enforce_file_format=True)


def add_palette(dataset: Dataset, cine: Cine, palette: np.ndarray) -> None:
    """256 colours, uint8 [256, 3], in words that hold 8 bits or 16."""
    words = palette.astype(np.uint16) * (257 if cine.bits == 16 else 1)
    order = ">" if cine.syntax == ExplicitVRBigEndian else "<"
    first = -(1 << (cine.bits - 1)) if cine.signed else 0
    for channel, colour in enumerate(("Red", "Green", "Blue")):
        dataset.add_new(f"{colour}PaletteColorLookupTableDescriptor", "SS" if cine.signed else "US", [256, first, 16])
        setattr(dataset, f"{colour}PaletteColorLookupTableData", words[:, channel].astype(f"{order}u2").tobytes())


def original(cine: Cine, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values to write, the palette, and what is to be seen of them in BGR or grey, int."""
    colours = cine.photometric in {"RGB", "YBR_FULL", "YBR_FULL_422"}
    shape = (FRAMES, ROWS, COLUMNS, 3) if colours else (FRAMES, ROWS, COLUMNS)
    values = generator.integers(0, 1 << cine.bits, shape)
    values.reshape(FRAMES, -1)[:, :2] = 0, (1 << cine.bits) - 1  # all of the range is used
    palette = generator.integers(0, 256, (256, 3)).astype(np.uint8)
    if cine.photometric == "PALETTE COLOR":
        values = generator.integers(0, 256, shape)
        return values, palette, palette[values][..., ::-1].astype(int)
    seen = values >> (cine.bits - 8) if cine.bits >= 8 else values * 255 // ((1 << cine.bits) - 1)
    if cine.photometric == "MONOCHROME1":
        seen = 255 - seen
    if cine.photometric.startswith("YBR"):
        values[..., 1:] = generator.integers(100, 156, (FRAMES, ROWS, COLUMNS // 2, 2)).repeat(2, axis=2)
        values[..., 0] = values[..., 0] // 2 + 64  # no colour is cut off
        frames = [cv2.cvtColor(frame[..., [0, 2, 1]].astype(np.uint8), cv2.COLOR_YCrCb2BGR) for frame in values]
        return values, palette, np.stack(frames).astype(int)
    return values, palette, seen[..., ::-1] if colours else seen


@pytest.mark.parametrize(
    "syntax",
    [*NATIVE, RLELossless, JPEGLSLossless, JPEGLSNearLossless, JPEG2000Lossless],
    ids=lambda syntax: syntax.name,
)
def test_every_cine_that_can_be_written_is_seen_as_it_was(tmp_path: Path, syntax: UID) -> None:
    if syntax == JPEG2000Lossless:
        pytest.importorskip("openjpeg", reason="writes JPEG 2000 with pylibjpeg-openjpeg")
    generator = np.random.default_rng(0)
    wrong = []
    for cine in cines(syntax):
        values, palette, expected = original(cine, generator)
        path = tmp_path / "cine.dcm"
        write(path, cine, values, palette)
        with open_source(str(path)) as source:
            images = np.stack([frame.image for frame in source]).astype(int)
        tolerance = NEAR if syntax == JPEGLSNearLossless else 0
        if "YBR" in cine.photometric:
            tolerance = 2 + 3 * tolerance  # a level of Cb is 1.8 of blue
        if images.shape != expected.shape or np.abs(images - expected).max() > tolerance:
            wrong.append(str(cine))
    assert not wrong
