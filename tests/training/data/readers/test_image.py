"""Image files of a domain: what cannot be used is told by an error, so that it can be skipped and listed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from metfa.runtime.errors import SourceError
from metfa.training.data.readers.image import SMALLEST, ImageFile

from .examples import picture, write

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "pixels",
    [
        pytest.param(picture(0), id="grey"),
        pytest.param(picture(0, SMALLEST, SMALLEST), id="as small as digits"),
        pytest.param(picture(0).astype(np.uint16) * 257, id="16-bit"),
        pytest.param(np.dstack([picture(0), picture(1), picture(2)]), id="colours"),
        pytest.param(np.dstack([picture(0), picture(1), picture(2), picture(3)]), id="RGBA"),
    ],
)
def test_an_image_is_one_picture_of_8_bits(tmp_path: Path, pixels: np.ndarray) -> None:
    (image,) = ImageFile(write(tmp_path / "1.png", pixels)).read()
    assert image.dtype == np.uint8
    assert image.shape in (pixels.shape, (*pixels.shape[:2], 3))


def test_every_page_of_an_image_is_a_picture(tmp_path: Path) -> None:
    pages = [picture(seed) for seed in range(5)]
    assert cv2.imwritemulti(str(tmp_path / "pages.tif"), pages)
    for image, page in zip(ImageFile(tmp_path / "pages.tif").read(), pages, strict=True):
        assert (image == page).all()


def test_what_cannot_be_used_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    whole = cv2.imencode(".png", picture(0))[1].tobytes()
    bad = {
        "empty.png": b"",
        "truncated.png": whole[:200],
        "text.png": b"patient list",
        "1x1.png": cv2.imencode(".png", np.zeros((1, 1), np.uint8))[1].tobytes(),
        "line.png": cv2.imencode(".png", np.zeros((1, 900), np.uint8))[1].tobytes(),
    }
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SourceError, match=name):
            next(ImageFile(tmp_path / name).read())


def test_a_file_that_is_gone_has_no_identity(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"gone\.png, received No such file"):
        ImageFile(tmp_path / "gone.png").identity()
