"""Image files as machines, archives and accidents leave them."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from metfa.runtime.errors import SourceError
from metfa.runtime.imaging.images import read_image, read_images

Image = pytest.importorskip("PIL.Image", reason="writes the files with Pillow")

if TYPE_CHECKING:
    from pathlib import Path


def ramp(height: int = 40, width: int = 60) -> np.ndarray:
    """Grey, smooth, with every level in reach."""
    return np.linspace(0, 255, height * width).reshape(height, width).astype(np.uint8)


def colours() -> np.ndarray:
    """RGB."""
    return np.dstack([ramp(), ramp()[::-1], ramp()[:, ::-1]])


def encode(pixels: np.ndarray, form: str, mode: str | None = None, **options: object) -> bytes:
    picture = Image.fromarray(pixels)
    file = io.BytesIO()
    (picture.convert(mode) if mode else picture).save(file, form, **options)
    return file.getvalue()


def read(tmp_path: Path, content: bytes, name: str = "image.png") -> np.ndarray:
    path = tmp_path / name
    path.write_bytes(content)
    return read_image(path)


def bgr(pixels: np.ndarray) -> np.ndarray:
    return pixels[..., ::-1]


@pytest.mark.parametrize(
    ("content", "expected", "tolerance"),
    [
        pytest.param(encode(ramp(), "PNG"), ramp(), 0, id="grey PNG"),
        pytest.param(encode(ramp(), "TIFF"), ramp(), 0, id="grey TIFF"),
        pytest.param(encode(ramp(), "JPEG", quality=95), ramp(), 8, id="grey JPEG"),
        pytest.param(encode(colours(), "PNG"), bgr(colours()), 0, id="RGB PNG"),
        pytest.param(encode(colours(), "BMP"), bgr(colours()), 0, id="RGB BMP"),
        pytest.param(encode(colours(), "TIFF", compression="tiff_lzw"), bgr(colours()), 0, id="LZW TIFF"),
        pytest.param(encode(colours() // 64 * 64, "PNG", "P"), bgr(colours() // 64 * 64), 64, id="palette PNG"),
        pytest.param(encode(colours() // 64 * 64, "BMP", "P"), bgr(colours() // 64 * 64), 64, id="palette BMP"),
        pytest.param(encode(ramp() // 128 * 255, "PNG", "1"), ramp() // 128 * 255, 0, id="one bit"),
        pytest.param(encode(colours(), "JPEG", "CMYK", quality=95), bgr(colours()), 16, id="CMYK JPEG"),
        pytest.param(encode(colours(), "TIFF", "CMYK"), bgr(colours()), 0, id="CMYK TIFF"),
    ],
)
def test_every_kind_of_image_shows_what_was_written(
    tmp_path: Path, content: bytes, expected: np.ndarray, tolerance: int
) -> None:
    image = read(tmp_path, content)
    assert image.dtype == np.uint8
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).max() <= tolerance


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_of_deep_images_the_highest_bits_are_kept_whatever_range_they_use(tmp_path: Path, form: str) -> None:
    full = ramp().astype(np.uint16) * 257
    assert (read(tmp_path, encode(full, form)) == ramp()).all()
    assert (read(tmp_path, encode(full // 16, form)) == ramp() // 16).all()


@pytest.mark.parametrize(("bits", "white_is_zero"), [(12, False), (16, False), (16, True)])
def test_a_deep_tiff_may_have_12_bits_and_white_at_zero(tmp_path: Path, bits: int, white_is_zero: bool) -> None:
    words = ramp().astype(np.uint16) << (bits - 8)
    words = (1 << bits) - 1 - words if white_is_zero else words
    row_bits = np.unpackbits(words.astype(">u2").view(np.uint8).reshape(40, 60, 2), axis=2)[..., 16 - bits :]
    data = words.tobytes() if bits == 16 else np.packbits(row_bits.reshape(40, -1), axis=1).tobytes()
    fields = {256: 60, 257: 40, 258: bits, 259: 1, 262: int(not white_is_zero), 273: 8, 277: 1, 278: 40, 279: len(data)}
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields.items())
    header = b"II*\0" + struct.pack("<I", 8 + len(data))
    content = header + data + struct.pack("<H", len(fields)) + directory + bytes(4)
    assert (read(tmp_path, content) == ramp()).all()


@pytest.mark.parametrize(
    ("pixels", "form"),
    [
        pytest.param(np.dstack([colours(), ramp()]), "PNG", id="RGBA PNG"),
        pytest.param(np.dstack([colours(), ramp()]), "TIFF", id="RGBA TIFF"),
        pytest.param(np.dstack([*[ramp()[::-1]] * 3, ramp()]), "PNG", id="grey with alpha"),
    ],
)
def test_what_is_transparent_lies_on_black(tmp_path: Path, pixels: np.ndarray, form: str) -> None:
    mode = "LA" if (pixels[..., 0] == pixels[..., 1]).all() else None
    image = read(tmp_path, encode(pixels, form, mode))
    expected = pixels[..., :3] * (pixels[..., 3:] / 255)
    assert np.abs(image[..., ::-1] - expected).max() <= 1


def test_a_transparent_colour_of_a_palette_is_black(tmp_path: Path) -> None:
    pixels = np.full((20, 30, 3), 255, np.uint8)
    pixels[:, 15:] = 100
    picture = Image.fromarray(pixels).quantize(2)
    file = io.BytesIO()
    picture.save(file, "PNG", transparency=picture.getpixel((0, 0)))
    image = read(tmp_path, file.getvalue())
    assert (image[:, :15] == 0).all()
    assert (image[:, 15:] == 100).all()


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "TIFF"])
@pytest.mark.parametrize("name", ["image.png", "image.jpg", "image.tif"])
def test_the_content_counts_not_the_extension(tmp_path: Path, form: str, name: str) -> None:
    assert read(tmp_path, encode(colours(), form), name).shape == (40, 60, 3)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.95])
def test_a_truncated_image_is_refused_in_silence(
    tmp_path: Path, form: str, share: float, capfd: pytest.CaptureFixture[str]
) -> None:
    content = encode(np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8), form)
    with pytest.raises(SourceError, match=r"^expected an image in .*image\.png, received .*damaged"):
        read(tmp_path, content[: round(share * len(content))])
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_damaged_png_is_refused_in_silence(tmp_path: Path, share: float, capfd: pytest.CaptureFixture[str]) -> None:
    content = bytearray(encode(colours(), "PNG"))
    content[round(share * len(content))] ^= 0x10
    with pytest.raises(SourceError, match=r"received a damaged or truncated file;"):
        read(tmp_path, bytes(content))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("content", "received"),
    [
        pytest.param(b"", "an empty file", id="empty"),
        pytest.param(b"no image" * 20, "no PNG, JPEG, BMP or TIFF, or a damaged one", id="text"),
        pytest.param(b"\x89PNG\r\n\x1a\n", "no PNG, JPEG, BMP or TIFF, or a damaged one", id="a signature"),
        pytest.param(
            b"\xff\xd8\xff\xe0" + b"\xff\xda" + b"\0" * 50 + b"\xff\xd9", "damaged or truncated", id="no tables"
        ),
        pytest.param(
            encode(ramp().astype(np.float32), "TIFF"), "pixels of 32 bits or in floating", id="floating point"
        ),
    ],
)
def test_what_is_no_image_is_refused(tmp_path: Path, content: bytes, received: str) -> None:
    with pytest.raises(SourceError, match=received):
        read(tmp_path, content)


def test_a_folder_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.png"):
        with pytest.raises(SourceError, match="expected to be able to read"):
            read_image(path)


def test_pixels_are_those_of_opencv_where_there_is_nothing_to_decide(tmp_path: Path) -> None:
    content = encode(colours(), "PNG")
    expected = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert (read(tmp_path, content) == expected).all()


def noise() -> np.ndarray:
    """RGB whose compressed data are long."""
    return np.random.default_rng(0).integers(0, 256, (96, 128, 3)).astype(np.uint8)


@pytest.mark.parametrize("damage", ["gone", "zeros"])
@pytest.mark.parametrize(
    ("form", "options"),
    [
        pytest.param("JPEG", {}, id="JPEG"),
        pytest.param("JPEG", {"progressive": True}, id="progressive JPEG"),
        pytest.param("JPEG", {"mode": "L"}, id="grey JPEG"),
        pytest.param("JPEG", {"mode": "CMYK"}, id="CMYK JPEG"),
        pytest.param("TIFF", {"compression": "tiff_lzw"}, id="LZW TIFF"),
        pytest.param("TIFF", {"compression": "tiff_adobe_deflate"}, id="deflated TIFF"),
        pytest.param("TIFF", {"compression": "jpeg"}, id="JPEG TIFF"),
        pytest.param("PNG", {}, id="PNG"),
    ],
)
def test_compressed_data_with_a_hole_are_refused_in_silence(
    tmp_path: Path, form: str, options: dict[str, object], damage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = encode(noise(), form, **options)  # type: ignore[arg-type]
    assert read(tmp_path, whole).shape[:2] == (96, 128)
    first, last = len(whole) * 2 // 5, len(whole) * 3 // 5
    hole = b"" if damage == "gone" else bytes(last - first)
    with pytest.raises(SourceError, match=r"received .*damaged"):
        read(tmp_path, whole[:first] + hole + whole[last:])
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "TIFF"])
def test_what_follows_the_end_of_an_image_is_ignored(tmp_path: Path, form: str) -> None:
    whole = encode(colours(), form)
    other = encode(noise(), "JPEG")  # as the preview that a phone appends
    assert (read(tmp_path, whole + b"appended" + other) == read(tmp_path, whole)).all()


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_every_page_and_frame_counts(tmp_path: Path, form: str) -> None:
    pages = [np.roll(ramp(), 5 * number, axis=1) for number in range(4)]
    first, *others = map(Image.fromarray, pages)
    path = tmp_path / "pages"
    first.save(path, form, save_all=True, append_images=others)
    for image, page in zip(read_images(path), pages, strict=True):
        assert (image == page).all()
    with pytest.raises(SourceError, match=r"expected one image in .*, received several pages or frames;"):
        read_image(path)


def test_the_reduced_copy_of_a_page_is_no_page(tmp_path: Path) -> None:
    copy = Image.fromarray(ramp()[::2, ::2])
    copy.encoderinfo = {"tiffinfo": {254: 1}}
    Image.fromarray(ramp()).save(tmp_path / "1.tif", save_all=True, append_images=[copy])
    (image,) = read_images(tmp_path / "1.tif")
    assert (image == ramp()).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_exif_is_obeyed_in_every_format(tmp_path: Path, orientation: int) -> None:
    stored = colours()
    expected = bgr(
        {
            1: stored,
            2: stored[:, ::-1],
            3: stored[::-1, ::-1],
            4: stored[::-1],
            5: stored.transpose(1, 0, 2),
            6: np.rot90(stored, -1),
            7: stored[::-1, ::-1].transpose(1, 0, 2),
            8: np.rot90(stored),
        }[orientation]
    )
    opaque = np.full((40, 60), 255, np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    for pixels, form, tolerance in (
        (stored, "PNG", 0),
        (np.dstack([stored, opaque]), "PNG", 0),
        (stored, "TIFF", 0),
        (np.dstack([stored, opaque]), "TIFF", 0),
        (stored, "JPEG", 40),
    ):
        image = read(tmp_path, encode(pixels, form, exif=exif)).astype(int)
        assert image.shape == expected.shape
        assert np.abs(image - expected).mean() <= tolerance / 10


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "TIFF"])
def test_a_header_that_declares_too_many_pixels_is_enough(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metfa.runtime.imaging.images.MAX_PIXELS", 2000)
    with pytest.raises(SourceError, match=r"at most 2,000 pixels in .*, received 60x40 pixels; scale it down"):
        read(tmp_path, encode(colours(), form)[:1200])


@pytest.mark.parametrize("side", [11_000, 60_000])
def test_a_bomb_is_not_decoded(tmp_path: Path, side: int) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )
    with pytest.raises(SourceError, match="at most 100,000,000 pixels"):
        read(tmp_path, bomb)
