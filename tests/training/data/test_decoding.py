"""Every picture is prepared as the edge would prepare it, and known by its pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from tests.training.data.media import Held, picture

from metfa.runtime.bundle.contract import Region, Roi
from metfa.runtime.errors import SourceError
from metfa.runtime.imaging.preprocess import preprocess
from metfa.training.data.decoding import Decoder, Preparation, digest, find_sectors, first_picture
from metfa.training.data.listing import Entry

from .domains import entry

if TYPE_CHECKING:
    from numpy.typing import NDArray

SECTOR, OTHER = Region(120, 40, 160, 180), Region(200, 40, 160, 180)


def captured(seed: int, sector: Region = SECTOR, height: int = 240, width: int = 400) -> NDArray[np.uint8]:
    """A black screen with speckle in one place."""
    image = np.zeros((height, width), np.uint8)
    noise = cv2.GaussianBlur(np.random.default_rng(seed).rayleigh(60, (sector.height, sector.width)), (0, 0), 1)
    image[sector.y : sector.y + sector.height, sector.x : sector.x + sector.width] = np.clip(noise, 3, 255)
    return image


def is_near(found: Region | None, expected: Region) -> bool:
    assert found is not None
    pairs = zip(str(found).split(","), str(expected).split(","), strict=True)
    return all(abs(int(one) - int(other)) <= 4 for one, other in pairs)


def decoder(region: Roi, *sample: NDArray[np.uint8]) -> Decoder:
    return Decoder(Preparation(28, 30, region), find_sectors(sample))


@pytest.mark.parametrize("region", [None, Region(4, 4, 40, 30)])
def test_a_fixed_region_is_that_of_every_picture(region: Region | None) -> None:
    images = picture(0), picture(1), cv2.cvtColor(picture(2), cv2.COLOR_GRAY2BGR)
    made = list(decoder(region)(entry(Held("cine", images))))  # type: ignore[arg-type]
    for image, each in zip(images, made, strict=True):
        assert (each.frame == preprocess(np.asarray(image, np.uint8), height=28, width=30, region=region)).all()
        assert each.region == region
        assert each.thumbnail.shape == (32, 32)


def test_single_pictures_of_one_size_share_the_sector_that_a_sample_shows_together() -> None:
    images = captured(0), captured(1, OTHER)
    decode = decoder("auto", *images)
    (one,), (other,) = (decode(entry(Held("still", (image,)))) for image in images)
    assert one.region == other.region
    assert is_near(one.region, Region(120, 40, 240, 180))


def test_a_size_that_the_sample_does_not_hold_has_a_sector_of_its_own() -> None:
    (made,) = decoder("auto", captured(0))(entry(Held("still", (captured(1, Region(60, 30, 200, 250), 300, 320),))))
    assert is_near(made.region, Region(60, 30, 200, 250))
    (made,) = decoder("auto")(entry(Held("still", (np.zeros((40, 40), np.uint8),))))
    assert made.region is None


def test_the_pictures_of_a_recording_show_their_sector_together() -> None:
    recording = Held("cine", tuple(captured(seed, OTHER) for seed in range(30)))
    made = list(decoder("auto", captured(0))(entry(recording)))
    assert len(made) == 30
    assert len({each.region for each in made}) == 1
    assert is_near(made[0].region, OTHER)


def test_a_medium_that_tells_where_its_sector_is_is_believed_unless_the_user_says_otherwise() -> None:
    said = Region(10, 12, 200, 100)
    told = Entry(Held("dicom", (captured(0), captured(1))), None, None, None, said)
    assert {each.region for each in decoder("auto")(told)} == {said}
    assert {each.region for each in decoder(None)(told)} == {None}


def test_a_region_that_reaches_beyond_a_picture_is_refused() -> None:
    with pytest.raises(SourceError, match=r"received 50x40 pixels, beyond which the region 0,0,51,40 reaches"):
        list(decoder(Region(0, 0, 51, 40))(entry(0)))


def test_the_first_picture_is_read_and_no_more() -> None:
    ((one),) = first_picture(entry(Held("cine", (picture(0), picture(1)))))
    assert (one == picture(0)).all()


def test_a_digest_is_of_pixels_and_shape() -> None:
    image = picture(0)
    assert digest(image) == digest(image.copy(order="F"))
    others = [image.T, image.reshape(50, 40), image[::-1], image ^ np.eye(40, 50, dtype=np.uint8)]
    assert len({digest(each) for each in [image, *others]}) == 5


def test_a_medium_without_a_picture_is_an_error() -> None:
    with pytest.raises(SourceError, match="expected pictures in cine, received no picture"):
        list(decoder(None)(entry(Held("cine", ()))))
