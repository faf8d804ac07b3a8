from __future__ import annotations

import hashlib
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metfa.runtime.errors import SourceError
from metfa.runtime.phantom import BACKGROUND, PLANES, Phantom, load_profile

PHANTOMS = {scanner: Phantom(load_profile(scanner)) for scanner in "AB"}


@settings(max_examples=10, deadline=None)
@given(st.sampled_from("AB"), st.sampled_from((*PLANES, BACKGROUND)), st.integers(0, 2**64))
def test_a_still_is_a_pure_function(scanner: str, plane: str, seed: int) -> None:
    image = PHANTOMS[scanner].image(plane, seed)
    assert image.shape == (480, 640)
    assert image.dtype == np.uint8
    assert np.array_equal(image, Phantom(load_profile(scanner)).image(plane, seed))
    assert not np.array_equal(image, PHANTOMS[scanner].image(plane, seed + 1))


def test_an_unknown_plane_is_refused_with_the_list() -> None:
    with pytest.raises(SourceError, match=r"expected one of the planes 4CH, .*received 'Kidney'"):
        PHANTOMS["A"].image("Kidney", 0)


@pytest.mark.parametrize(
    ("scanner", "digest"),
    [
        ("A", "a9e273ce57a7e0aa9942c4114e88ccedbcc178f1c052ff0007a400be36d3ac21"),
        ("B", "a83bcf7fdd2238f91e0149c2a13e20284d9c5b3b50ba0137ef78ba66e1478d0c"),
    ],
)
def test_frames_are_the_same_on_every_machine(scanner: str, digest: str) -> None:
    # Benchmarks, notebooks and bug reports name a frame by its seed, so its bits may not change from host to host.
    # A deliberate change of the phantom changes these digests; nothing else may.
    frames = [PHANTOMS[scanner].image(plane, 1) for plane in (*PLANES, BACKGROUND)]
    frames += [frame for frame, _ in islice(PHANTOMS[scanner].scan(1), 3)]
    assert hashlib.sha256(b"".join(frame.tobytes() for frame in frames)).hexdigest() == digest
