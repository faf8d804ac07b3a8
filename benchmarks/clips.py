"""Clips for measurements, made where they are needed."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from pathlib import Path


def make_clip(path: Path, frames: int = 200) -> Path:
    """Write a 1280×720 clip of a speckled sector that moves, about as hard to decode as ultrasound."""
    height, width = 720, 1280
    random = np.random.default_rng(0)
    speckle = cv2.GaussianBlur(random.rayleigh(60, (height, width + 2 * frames)).astype(np.float32), (0, 0), 2.5)
    sector = np.zeros((height, width), np.float32)
    cv2.ellipse(sector, (width // 2, -60), (740, 740), 90, -38, 38, 1.0, -1)
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), 30, (width, height))
    for index in range(frames):
        grey = (speckle[:, 2 * index : 2 * index + width] * sector).astype(np.uint8)
        writer.write(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR))
    writer.release()
    return path


def encode(clip: Path) -> Path:
    """Return the clip as a camera's encoder would send it: H.264, a key frame each second, nothing reordered."""
    encoded = clip.with_suffix(".ts")
    codec = ["-c:v", "libx264", "-preset", "veryfast", "-tune", "zerolatency", "-g", "30", "-pix_fmt", "yuv420p"]
    subprocess.run(["ffmpeg", "-v", "error", "-i", clip, *codec, encoded], check=True)
    return encoded
