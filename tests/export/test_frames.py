from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from safetensors.torch import save_file

from metfa.export.frames import LIMIT, default_frames, read_frames
from metfa.runtime.bundle.contract import Region
from metfa.runtime.bundle.directory import REFERENCE, Bundle, updating
from metfa.runtime.errors import BundleError, DataError, SourceError

from .networks import HEIGHT, WIDTH, make_contract, make_frames, make_network, make_reference

if TYPE_CHECKING:
    from pathlib import Path

SIZE = make_contract(make_network()).input


def test_images_are_cropped_and_resized_as_on_the_edge(tmp_path: Path) -> None:
    for index, frame in enumerate(make_frames(3)):
        cv2.imwrite(str(tmp_path / f"{index}.png"), frame[0].numpy())
    whole = read_frames(str(tmp_path), SIZE, None)
    np.testing.assert_array_equal(whole.frames, make_frames(3).numpy())
    assert read_frames(str(tmp_path), SIZE, Region(2, 3, 30, 20)).frames.shape == (3, 1, HEIGHT, WIDTH)
    with pytest.raises(SourceError, match="a region inside the frame"):
        read_frames(str(tmp_path), SIZE, Region(2, 3, 30, 300))


def test_no_more_than_so_many_frames_are_read(tmp_path: Path) -> None:
    for index in range(LIMIT + 1):
        cv2.imwrite(str(tmp_path / f"{index:03}.png"), make_frames(1)[0, 0].numpy())
    assert len(read_frames(str(tmp_path), SIZE, None).frames) == LIMIT


def test_frames_are_spread_over_what_is_named_and_bad_files_left_out(tmp_path: Path) -> None:
    for label, level in (("a", 0), ("b", 100), ("c", 200)):
        (tmp_path / label).mkdir()
        for index in range(LIMIT):
            cv2.imwrite(str(tmp_path / label / f"{index:03}.png"), np.full((30, 40), level, np.uint8))
    (tmp_path / "a" / "000.png").write_bytes(b"no image")
    frames = read_frames(str(tmp_path), SIZE, None).frames
    levels, counts = np.unique(frames, return_counts=True)
    assert levels.tolist() == [0, 100, 200]
    assert LIMIT - 1 <= len(frames) <= LIMIT
    assert np.ptp(counts // (HEIGHT * WIDTH)) <= 1


def test_what_has_no_frames_is_refused(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"no image")
    with pytest.raises(SourceError, match="received none that can be decoded"):
        read_frames(str(tmp_path), SIZE, None)
    with pytest.raises(DataError, match="which is not there"):
        read_frames(str(tmp_path / "nowhere"), SIZE, None)


def test_a_bundle_is_compared_on_its_reference_frames_of_both_domains(trained: Path) -> None:
    target, source = default_frames(Bundle.open(trained), SIZE)
    reference = make_reference()
    np.testing.assert_array_equal(target.frames, reference.target.numpy())
    np.testing.assert_array_equal(source.frames, reference.source.numpy())
    assert target.labels is None
    assert source.labels is not None
    np.testing.assert_array_equal(source.labels, reference.source_labels.numpy())


def test_reference_frames_of_an_earlier_version_are_refused(trained: Path) -> None:
    with updating(trained, keep=lambda _: True) as stage:
        save_file({"frames": make_frames(2)}, stage / REFERENCE)
    with pytest.raises(BundleError, match=r"the tensors target, source, .* received frames; make the bundle again"):
        default_frames(Bundle.open(trained), SIZE)


def test_stills_of_the_phantom_stand_in_for_missing_frames() -> None:
    (frames,) = default_frames(None, SIZE)
    assert frames.name == "phantom:B"
    assert frames.frames.shape == (24, 1, HEIGHT, WIDTH)
    assert len(np.unique(frames.frames, axis=0)) == 24
    assert "for want of frames of the scanner" in frames.description
