"""Media that hold what a test needs, and some that misbehave: what other processes are given.

These import this module by its whole name, so tests must do so, too; what it imports, each of them imports anew.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from metfa.runtime.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """A medium that holds pictures."""

    name: str
    pictures: tuple[NDArray[np.uint8], ...]

    def identity(self) -> str:
        return f"{self.name} {[picture.tobytes().hex() for picture in self.pictures]}"

    def read(self) -> Iterator[NDArray[np.uint8]]:
        yield from self.pictures


@dataclass(frozen=True, slots=True)
class Bad:
    """A medium that shows one picture, and then that it is no good."""

    name: str

    def identity(self) -> str:
        if self.name == "gone":
            raise SourceError(expected="it", received="No such file or directory", remedy="bring it back")
        return self.name

    def read(self) -> Iterator[NDArray[np.uint8]]:
        yield picture(12345)
        if self.name == "damaged":
            raise SourceError(expected="its end", received="a truncated file", remedy="record it again")
        if self.name == "crash":
            os._exit(3)
        if self.name == "hang":
            time.sleep(600)
        raise MemoryError


def picture(seed: int, height: int = 40, width: int = 50) -> NDArray[np.uint8]:
    """Coarse noise, which no other seed's resembles."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 9)).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def varied(image: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """The same picture, a little darker and with noise of its own."""
    noise = np.random.default_rng((99, seed)).normal(0, 3, image.shape)
    return np.clip(0.9 * image + noise, 0, 255).astype(np.uint8)


def count_up(number: int) -> Iterator[int]:
    """So many numbers; at some, not to the end."""
    yield from range(number % 5)
    if number == 7:
        raise SourceError(expected="a picture", received="an empty file", remedy="remove it")
    if number == 11:
        os._exit(1)
    if number == 12:
        os.kill(os.getpid(), signal.SIGSEGV)
    if number == 13:
        time.sleep(600)
    if number == 17:
        raise ZeroDivisionError
