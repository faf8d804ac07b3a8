"""Image files as machines, archives and accidents leave them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from metfa.runtime.errors import SourceError
from metfa.runtime.images import read_image

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
    with pytest.raises(
        SourceError, match=r"^expected an image in .*image\.png, received a truncated file|received content that"
    ):
        read(tmp_path, content[: round(share * len(content))])
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_damaged_png_is_refused_in_silence(tmp_path: Path, share: float, capfd: pytest.CaptureFixture[str]) -> None:
    content = bytearray(encode(colours(), "PNG"))
    content[round(share * len(content))] ^= 0x10
    with pytest.raises(SourceError, match=r"a (damaged|truncated) file"):
        read(tmp_path, bytes(content))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("content", "received"),
    [
        pytest.param(b"", "an empty file", id="empty"),
        pytest.param(b"no image" * 20, "content that cannot be decoded", id="text"),
        pytest.param(b"\x89PNG\r\n\x1a\n", "a truncated file", id="a signature"),
        pytest.param(b"\xff\xd8\xff\xe0" + b"\xff\xda" + b"\0" * 50 + b"\xff\xd9", "cannot be decoded", id="no tables"),
        pytest.param(encode(ramp().astype(np.float32), "TIFF"), "cannot be decoded", id="floating point"),
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
