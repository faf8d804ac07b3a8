"""How long it takes to prepare images, to find them prepared, and to take a batch of them.

::

    python -m benchmarks.store
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import click
import cv2
import numpy as np

from metfa.runtime.benchmark.machine import host
from metfa.runtime.command import Command
from metfa.runtime.files import write_text
from metfa.training.data.decoding import THUMBNAIL, Preparation
from metfa.training.data.near_duplicates import near_duplicates
from metfa.training.data.prepared import PreparedDomain, read_domain
from metfa.training.data.readers import list_domain
from metfa.training.data.sampling import BalancedSampler

PREPARATION = Preparation(224, 288, None)
CLASSES = ("4CH", "Abdominal", "Femur", "LVOT", "Lips", "RVOT")
PER_CLASS = 5
BATCHES = 200

_WARM_START = """
import time
began = time.perf_counter()
from benchmarks.store import read
domain = read({folder!r})
print(time.perf_counter() - began, time.process_time())
"""


@click.command(cls=Command)
@click.option("--images", type=click.IntRange(min=60), default=10_000, show_default=True)
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("benchmarks/results/store.json"), show_default=True
)
def main(images: int, output: Path) -> None:
    """Make 640×480 PNGs, prepare them in an empty cache, and start again with a full one."""
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["XDG_CACHE_HOME"] = str(Path(temporary, "cache"))
        folder = make_images(Path(temporary, "images"), images)
        size = sum(path.stat().st_size for path in folder.rglob("*.png"))
        began = time.perf_counter()
        domain = read(str(folder))
        cold = time.perf_counter() - began
        command = [sys.executable, "-c", _WARM_START.format(folder=str(folder))]
        outputs = [subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(3)]
        warm, warm_cpu = zip(*(map(float, each.split()) for each in outputs), strict=True)
        before = anonymous_memory()
        batches = time_batches(domain)
        memory = anonymous_memory() - before
    thumbnails = np.random.default_rng(0).integers(0, 256, (2 * images, THUMBNAIL**2)).astype(np.uint8)
    began = time.perf_counter()
    near_duplicates(thumbnails)
    grouping = time.perf_counter() - began
    report = {
        "benchmark": "store",
        "host": host(),
        "load": os.getloadavg()[0],
        "images": images,
        "mean_bytes_per_png": size / images,
        "cold_seconds": cold,
        "cold_images_per_minute": 60 * images / cold,
        "warm_start_seconds": warm,
        "warm_start_cpu_seconds": warm_cpu,
        "batch": len(CLASSES) * PER_CLASS,
        "median_ms_per_batch": 1000 * median(batches),
        "anonymous_bytes_of_sampling": memory,
        "grouping": {"thumbnails": 2 * images, "seconds": grouping},
    }
    write_text(output, json.dumps(report, indent=2) + "\n")
    click.echo(json.dumps(report, indent=2))


def read(folder: str) -> PreparedDomain:
    """Return the domain, as a training run begins."""
    return read_domain(list_domain(folder), PREPARATION).divide(0, by_class=True)


def make_images(folder: Path, count: int) -> Path:
    """Write class folders of speckled sectors of 640×480 pixels, each another cut of one field of speckle."""
    height, width = 480, 640
    random = np.random.default_rng(0)
    speckle = cv2.GaussianBlur(random.rayleigh(60, (3 * height, 3 * width)).astype(np.float32), (0, 0), 1.5)
    sector = np.zeros((height, width), np.float32)
    cv2.ellipse(sector, (width // 2, -40), (500, 500), 90, -38, 38, 1.0, -1)
    for label in CLASSES:
        (folder / label).mkdir(parents=True)
    for number in range(count):
        y, x = random.integers(0, 2 * height), random.integers(0, 2 * width)
        frame = np.clip(speckle[y : y + height, x : x + width] * sector, 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / CLASSES[number % len(CLASSES)] / f"{number}.png"), frame)
    return folder


def time_batches(domain: PreparedDomain) -> list[float]:
    """Return the seconds that each of some batches takes, in random order over the training split."""
    store = domain.store(domain.rows("train"), CLASSES)
    sampler = BalancedSampler(store.labels, PER_CLASS, seed=0)
    times = []
    for step in range(BATCHES):
        began = time.perf_counter()
        store.frames[sampler.batch(step)].sum()
        times.append(time.perf_counter() - began)
    return times


def anonymous_memory() -> int:
    """Return the bytes of memory that this process needs beside what is mapped from files."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    main()
