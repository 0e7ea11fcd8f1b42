"""Files of packs: read back as they were written, and refused if they are damaged."""

import os

import numpy as np
import pytest
from test_packs import random_layout, random_payload

from hydraopt.errors import BundleError
from hydraopt.formats.pack import ALIGNMENT, Pack, pack, read_shared_pack, write_single


def test_damaged_packs_are_refused(tmp_path):
    payload, binding = random_payload(random_layout(1).task).numpy(), b"b" * 16
    path = tmp_path / "x.pack"
    path.write_bytes(pack(payload, binding))
    good, place = path.read_bytes(), Pack.of(tmp_path, "x.pack")
    size = len(payload)
    assert (place.payload(tmp_path, size, binding) == payload).all()
    flipped = bytearray(good)
    flipped[100] ^= 4
    for content, recorded, shared in [
        (good[:-1], "ends after", "expected"),
        (good + b"x", None, "expected"),
        (good[:30], "ends after", "is not a pack"),
        (b"nonsense" * 200, "its SHA-256 differs", "is not a pack"),
        (bytes(flipped), "its SHA-256 differs", "is damaged: its SHA-256 differs"),
    ]:
        path.write_bytes(content)
        if recorded:
            with pytest.raises(BundleError, match=recorded):
                place.payload(tmp_path, size, binding)
        with pytest.raises(BundleError, match=shared):
            read_shared_pack(path, size)
    path.write_bytes(good)
    with pytest.raises(BundleError, match="belongs to another layout"):
        place.payload(tmp_path, size, b"c" * 16)
    with pytest.raises(BundleError, match="cannot be read"):
        read_shared_pack(tmp_path / "none.pack", size)


def test_one_file_may_hold_several_packs(tmp_path):
    payloads, binding = {n: np.arange(n, dtype=np.uint8) for n in (30, 200)}, b"b" * 16
    packs = {str(n): pack(payload, binding) for n, payload in payloads.items()}
    places = write_single(tmp_path, packs)
    assert {place.file for place in places.values()} == {"tasks.pack"}
    assert all(place.offset % ALIGNMENT == 0 for place in places.values())
    for n, payload in payloads.items():
        assert (places[str(n)].payload(tmp_path, n, binding) == payload).all()


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.pack")
    with pytest.raises(BundleError, match="is not a regular file"):
        Pack("x.pack", 0, 100, "0" * 64).read(tmp_path)
