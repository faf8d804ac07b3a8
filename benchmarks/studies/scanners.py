"""How often the scanner check warns of a scanner that it does not know, and of one that it does.

Scanners are those of the phantom and four more with other probes or settings, and those of the real data that
``METFA_DATA`` names. The same is measured with the embedding in the place of the appearance, where a bundle that was
adapted from phantom:A to phantom:B is given::

    python -m benchmarks.studies.scanners --bundle runs/metfa
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import click
import numpy as np
from numpy.typing import NDArray

from metfa.runtime import Bundle, open_source
from metfa.runtime.benchmark.machine import host
from metfa.runtime.command import Command
from metfa.runtime.decisions.scanner_check import (
    FALSE_ALARMS,
    MIN_LOOKS,
    SCHEMA,
    WINDOW_SECONDS,
    ScannerCheck,
    ScannerSpace,
    ScannerStatistics,
    judge,
)
from metfa.runtime.files import write_text
from metfa.runtime.imaging.preprocess import preprocess
from metfa.runtime.imaging.sector import find_sector
from metfa.runtime.phantom import PLANES, Phantom, load_profile
from metfa.runtime.phantom.scan import FRAMES_PER_SECOND, sweep
from metfa.training.data.decoding import Preparation
from metfa.training.data.prepared import read_domain
from metfa.training.data.readers import list_domain
from metfa.training.evaluation.model import infer
from metfa.training.scanner_statistics import conformal_limit, describe_scanner, whiten
from metfa.training.weights import load_network

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from metfa.runtime.bundle.contract import Region
    from metfa.runtime.phantom import ScannerProfile
    from metfa.training.data.listing import Split

Images: TypeAlias = list[NDArray[np.uint8]]
Measure: TypeAlias = Callable[[Images], NDArray[np.float64]]
"""Images to distances, [N, 2]: to source and target, in units of their limits."""

HEIGHT, WIDTH = 224, 288
STILLS = {"train": range(50), "held out": range(50, 70), "test": range(5000, 5015)}
"""Seeds of the phantom's stills of each plane."""

PARTS: dict[str, Split] = {"train": "train", "held out": "val", "test": "test"}
SCAN_SECONDS = 60
EVERY = 6
"""Frames of a scan or a clip from one that is looked at to the next."""

DRAWS = 200


@dataclass(frozen=True, slots=True)
class Row:
    """Pictures of one scanner against a pair of known ones.

    Attributes:
        source: one of the pair.
        target: the other.
        by: what describes a picture.
        pictures: what was looked at.
        known: whether its scanner is one of the pair.
        number: of pictures.
        beyond: the share of them beyond both limits.
        unknown: the share of windows whose verdict is that the scanner is unknown: draws of 30 stills, or the last 30
            seconds of a scan or a clip at each picture from the 30th; None where there are fewer.
    """

    source: str
    target: str
    by: str
    pictures: str
    known: bool
    number: int
    beyond: float
    unknown: float | None


@click.command(cls=Command)
@click.option("--bundle", "directory", type=click.Path(path_type=Path), help="For the embedding.")
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("benchmarks/results/scanners.json"), show_default=True
)
def main(directory: Path | None, output: Path) -> None:
    """Measure all pairs, and print a table."""
    rows = phantom_rows(directory)
    data = os.environ.get("METFA_DATA")
    if data:
        rows += real_rows(Path(data) / "ultrasound")
    report = {"benchmark": "scanners", "host": host(), "input": [HEIGHT, WIDTH], "rows": [asdict(row) for row in rows]}
    write_text(output, json.dumps(report, indent=2) + "\n")
    click.echo("| known | by | pictures | | beyond both limits | windows: unknown |\n|---|---|---|---|---|---|")
    for row in rows:
        unknown = "" if row.unknown is None else f"{row.unknown:.0%}"
        click.echo(
            f"| {row.source}, {row.target} | {row.by} | {row.pictures} ({row.number}) | "
            f"{'known' if row.known else 'new'} | {row.beyond:.0%} | {unknown} |"
        )


def phantom_rows(directory: Path | None) -> list[Row]:
    """Return what the check says of the phantom's scanners, and of others."""
    profiles = {name: load_profile(name) for name in "AB"}
    known = {name: {part: stills(profiles[name], STILLS[part]) for part in STILLS} for name in profiles}
    measures = {"appearance": by_appearance(known["A"], known["B"])}
    if directory is not None:
        measures["embedding"] = by_embedding(Bundle.open(directory), known["A"], known["B"])
    profiles |= other_profiles(profiles["A"], profiles["B"])
    rows = []
    for name, profile in profiles.items():
        images = known[name]["test"] if name in known else stills(profile, STILLS["test"])
        pictures = list(islice(SparsePhantom(profile).looks(seed=7), SCAN_SECONDS * FRAMES_PER_SECOND // EVERY))
        for by, measure in measures.items():
            about = ("phantom:A", "phantom:B", by)
            rows += [
                still_row(*about, f"stills of {name}", name in known, measure(images)),
                scan_row(*about, f"scan of {name}", name in known, measure(pictures), EVERY / FRAMES_PER_SECOND),
            ]
        click.echo(f"phantom: {name}", err=True)
    return rows


class SparsePhantom(Phantom):
    """A phantom that draws only the frames of a scan that are looked at."""

    def looks(self, seed: int) -> Iterator[NDArray[np.uint8]]:
        """Yield every sixth frame of an endless scan, which goes the way of ``scan(seed)``; the noise is other."""
        generator = np.random.Generator(np.random.PCG64([seed, zlib.crc32(b"scan")]))
        for view in islice(sweep(self.profile.sector.depth_mm, generator), 0, None, EVERY):
            yield self._render(*view.slice(), view.probe, generator)


def other_profiles(a: ScannerProfile, b: ScannerProfile) -> dict[str, ScannerProfile]:
    """Return scanners that are neither: two with other probes, one between A and B, and A with another grey map."""
    return {
        "C, 7 MHz, wide": replace(
            a,
            sector=replace(a.sector, angle_deg=85.0, probe_radius_mm=30.0, depth_mm=75.0),
            beam=replace(a.beam, centre_frequency_mhz=7.0, fractional_bandwidth=0.8),
            display=replace(a.display, contrast=6.0, speckle_reduction=1, dynamic_range_db=60.0),
        ),
        "D, 2.5 MHz, deep": replace(
            b,
            sector=replace(b.sector, angle_deg=60.0, probe_radius_mm=55.0, depth_mm=120.0),
            beam=replace(b.beam, centre_frequency_mhz=2.5),
            display=replace(b.display, gamma=0.8, contrast=0.0, speckle_reduction=7),
        ),
        "E, between A and B": replace(
            a,
            beam=replace(a.beam, centre_frequency_mhz=4.0, fractional_bandwidth=0.5, aperture_mm=13.0),
            receiver=replace(a.receiver, tgc_db_per_cm=3.8, noise_db=-77.0),
            display=replace(a.display, dynamic_range_db=55.0, contrast=3.2),
        ),
        "A, another grey map": replace(a, display=replace(a.display, dynamic_range_db=70.0, gamma=0.9, contrast=1.0)),
        "A, 3 dB more gain": replace(a, receiver=replace(a.receiver, gain_db=a.receiver.gain_db + 3.0)),
    }


def real_rows(data: Path) -> list[Row]:
    """Return what the check says of fetal heads of five machines, and of clips against all organs."""
    table = data / "organs" / "manifest.csv"
    rows = []
    e8, e6 = (split_pictures(f"{table}?{query}") for query in ("label=fetal_head&domain=A", "scanner=Voluson E6"))
    names = ("GE Voluson E8/730", "Voluson E6", "appearance")
    measure = by_appearance(e8, e6)
    for name, images in (("E8/730", e8["test"]), ("E6", e6["test"])):
        rows.append(still_row(*names, f"fetal heads, {name}", True, measure(images)))
    for name in ("Aloka", "Voluson S10", "Other"):
        images = [image for part in split_pictures(f"{table}?scanner={name}").values() for image in part]
        rows.append(still_row(*names, f"fetal heads, {name}", False, measure(images)))
    a, b = (split_pictures(f"{table}?domain={domain}") for domain in "AB")
    names = ("organs A", "organs B", "appearance")
    measure = by_appearance(a, b)
    for name, images in (("A", a["test"]), ("B", b["test"])):
        rows.append(still_row(*names, f"organs, {name}", True, measure(images)))
    for path in sorted((data / "clips").iterdir()):
        with open_source(str(path)) as source:
            images, seconds = [frame.grey for frame in source], EVERY / source.rate
        shown = images[::EVERY]
        for crop, region in (("", None), (", cropped", find_sector(images[:32]))):
            rows.append(scan_row(*names, f"clip {path.name}{crop}", False, measure(cropped(shown, region)), seconds))
    return rows


def stills(profile: ScannerProfile, seeds: Iterable[int]) -> Images:
    """Return stills of all planes."""
    phantom = Phantom(profile)
    return [phantom.image(plane, seed) for seed in seeds for plane in PLANES]


def split_pictures(specification: str) -> dict[str, Images]:
    """Return the pictures of a domain, as a model sees them: to train on, held out for the limit, and for testing."""
    domain = read_domain(list_domain(specification), Preparation(HEIGHT, WIDTH, None)).divide(0, by_class=False)
    return {name: [picture for (picture,) in domain.pictures.frames[domain.rows(part)]] for name, part in PARTS.items()}


def cropped(images: Images, region: Region | None) -> Images:
    """Return what a region keeps of images."""
    if region is None:
        return images
    return [image[region.y : region.y + region.height, region.x : region.x + region.width] for image in images]


def prepared(images: Sequence[NDArray[np.uint8]], height: int, width: int) -> NDArray[np.uint8]:
    """Return images as a model sees them, uint8 [N, 1, height, width]."""
    return np.stack([preprocess(image, height=height, width=width) for image in images])


def by_appearance(source: dict[str, Images], target: dict[str, Images]) -> Measure:
    """Return the measure that ``metfa-stream`` uses."""
    references = [
        describe_scanner("", prepared(images["train"], HEIGHT, WIDTH), prepared(images["held out"], HEIGHT, WIDTH))
        for images in (source, target)
    ]
    check = ScannerCheck(ScannerStatistics(SCHEMA, *references))
    return lambda images: np.array([check.distances(picture) for (picture,) in prepared(images, HEIGHT, WIDTH)])


def by_embedding(bundle: Bundle, source: dict[str, Images], target: dict[str, Images]) -> Measure:
    """Return the same measure with the embedding of a bundle's network in the place of the appearance."""
    network, size = load_network(bundle), bundle.contract.input

    def embed(images: Images) -> NDArray[np.float32]:
        return infer(network, prepared(images, size.height, size.width)).embedding

    def fit(images: dict[str, Images]) -> tuple[ScannerSpace, float]:
        features = embed(images["train"])
        centre, whitening = whiten(features)
        space = ScannerSpace(centre, whitening, (features - centre) @ whitening)
        return space, conformal_limit([space.distance(vector) for vector in embed(images["held out"])], FALSE_ALARMS)

    spaces = [fit(source), fit(target)]
    return lambda images: np.array(
        [[space.distance(vector) / limit for space, limit in spaces] for vector in embed(images)]
    )


def still_row(source: str, target: str, by: str, pictures: str, known: bool, distances: NDArray[np.float64]) -> Row:
    """Return the row of pictures that have nothing to do with each other."""
    generator = np.random.default_rng(0)
    few = len(distances) < MIN_LOOKS
    draws = [distances[generator.choice(len(distances), MIN_LOOKS, replace=few)] for _ in range(DRAWS)]
    return Row(source, target, by, pictures, known, len(distances), *_shares(distances, draws))


def scan_row(
    source: str, target: str, by: str, pictures: str, known: bool, distances: NDArray[np.float64], interval: float
) -> Row:
    """Return the row of pictures that follow each other, every ``interval`` seconds."""
    longest = round(WINDOW_SECONDS / interval)
    ends = range(MIN_LOOKS, len(distances) + 1)
    windows = [distances[max(0, end - longest) : end] for end in ends]
    return Row(source, target, by, pictures, known, len(distances), *_shares(distances, windows))


def _shares(distances: NDArray[np.float64], windows: Sequence[NDArray[np.float64]]) -> tuple[float, float | None]:
    """Return the share of pictures beyond both limits, and of windows that are judged unknown."""
    beyond = float(np.mean(distances.min(axis=1) > 1))
    return beyond, float(np.mean([judge(window) == "unknown" for window in windows])) if windows else None


if __name__ == "__main__":
    main()
