"""A medium → its pictures as the model sees them: decode, crop, grey, resize; and what each picture is known by."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from metfa.runtime.bundle.contract import Region, Roi
from metfa.runtime.errors import SourceError
from metfa.runtime.imaging.coded import CodedImage
from metfa.runtime.imaging.preprocess import preprocess, to_grey
from metfa.runtime.imaging.sector import find_sector

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from metfa.runtime.imaging.coded import Image

    from .listing import Entry

    Sectors = Mapping[tuple[int, ...], Region | None]

SAMPLE = 24
"""So many pictures of a domain, or of a recording, show where the sector is."""

THUMBNAIL = 32
"""Rows and columns of the picture that near-duplicates are found with."""

DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class Preparation:
    """What is done to every picture of a domain.

    Attributes:
        height: rows of the model's input.
        width: columns of the model's input.
        region: what to keep of each picture; ``auto`` for the sector, None for all of it.
    """

    height: int
    width: int
    region: Roi


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture, prepared.

    Attributes:
        frame: as the model sees it, uint8 [1, H, W].
        region: what was kept of the picture; None for all of it.
        digest: of the pixels, of a video the grey ones, before anything was done to them: whatever the picture is
            called, wherever it lies.
        thumbnail: of the frame, uint8 [32, 32].
    """

    frame: NDArray[np.uint8]
    region: Region | None
    digest: bytes
    thumbnail: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Decoder:
    """Prepares the pictures of a medium.

    Where the sector is to be found and the medium does not tell where it is, the pictures of a recording show it
    together. A single picture shares the sector of the domain's pictures of its size, as these are taken for one
    layout, or else shows its own.

    Attributes:
        preparation: what is done to every picture.
        sectors: of the domain's single pictures, by their height and width.
    """

    preparation: Preparation
    sectors: Sectors

    def __call__(self, entry: Entry) -> Iterator[Picture]:
        """Yield the pictures of a medium, in order.

        Raises:
            SourceError: the medium cannot be decoded, holds no picture, or the region reaches beyond one.
        """
        images = iter(entry.medium.read())
        region, sectors = self.preparation.region, self.sectors
        if region == "auto" and entry.region:
            region = entry.region
        if region == "auto":
            sample = list(islice(images, SAMPLE))
            images = chain(sample, images)
            if len(sample) > 1:
                sectors = find_sectors(sample)
        image = None
        for image in images:
            yield self._prepare(image, region, sectors)
        if image is None:
            raise SourceError(
                expected=f"pictures in {entry.medium.name}", received="no picture", remedy="replace or remove the file"
            )

    def _prepare(self, image: Image, region: Roi, sectors: Sectors) -> Picture:
        size = image.shape[:2]
        if region == "auto":
            region = sectors[size] if size in sectors else find_sector([image])
        elif region is not None and (region.y + region.height > size[0] or region.x + region.width > size[1]):
            raise SourceError(
                expected=f"a region inside the frame of {size[1]}x{size[0]} pixels",
                received=f"{size[1]}x{size[0]} pixels, beyond which the region {region} reaches",
                remedy="correct the region",
            )
        frame = preprocess(image, height=self.preparation.height, width=self.preparation.width, region=region)
        thumbnail = cv2.resize(frame[0], (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
        return Picture(frame, region, digest(image), np.asarray(thumbnail, np.uint8))


def first_picture(entry: Entry) -> Iterator[NDArray[np.uint8]]:
    """Yield the first picture of a medium, uint8 [H, W].

    Raises:
        SourceError: it cannot be decoded.
    """
    yield from map(to_grey, islice(entry.medium.read(), 1))


def find_sectors(images: Iterable[Image]) -> dict[tuple[int, ...], Region | None]:
    """Return the sector that pictures of one size show together, by their height and width."""
    by_size: dict[tuple[int, ...], list[Image]] = {}
    for image in images:
        by_size.setdefault(image.shape[:2], []).append(image)
    return {size: find_sector(of_size) for size, of_size in by_size.items()}


def digest(image: Image) -> bytes:
    """Return what a picture is known by: a hash of its shape and pixels, of a video the grey ones; 16 bytes."""
    pixels = to_grey(image) if isinstance(image, CodedImage) else image
    hashed = hashlib.blake2b(str(pixels.shape).encode(), digest_size=DIGEST_BYTES)
    hashed.update(np.ascontiguousarray(pixels).data)
    return hashed.digest()
