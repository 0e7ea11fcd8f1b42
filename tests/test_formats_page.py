"""docs/formats.md is enough: a reader of packs made from it alone, in numpy, decodes what we do."""

import hashlib
import json
import struct
from itertools import groupby

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from test_packs import random_layout

from hydraopt.packing import Coded, CodedAdapters, Unpack
from hydraopt.packing.codec import encode
from hydraopt.packing.coded import join_vectors
from hydraopt.packing.trellis import TABLES

TRELLIS = load_file(TABLES)


def payload_of(content: bytes, binding: bytes) -> bytes:
    """A pack's payload, its header checked."""
    assert content[:8] == b"HYDRAPK1" and content[16:32] == binding
    payload = content[64:]
    assert struct.unpack("<Q", content[8:16]) == (len(payload),)
    assert hashlib.sha256(payload).digest() == content[32:64]
    return payload


def vectors_of(modules: dict, shared: int) -> list[tuple]:
    """``(bits, length, largest_step, place)`` of one payload's vectors, in its order."""
    found = []
    for name, module in modules.items():
        for side, length in enumerate(module["shape"][::-1]):
            codes = [run[1 + side] for run in module["directions"] for _ in range(run[0])]
            for index, (bits, is_shared) in enumerate(codes):
                if is_shared == shared:
                    found.append(
                        (bits, length, module["largest_steps"][side], (name, "AB"[side], index))
                    )
    return sorted(found, key=lambda vector: vector[:2])


def levels(codes: np.ndarray, bits: float, length: int) -> np.ndarray:
    """What the bytes of one vector stand for."""
    if bits in (1, 2, 4):
        current, previous = (TRELLIS[f"{x}.{bits}"].astype("f4") for x in ("current", "previous"))
        return (current[codes] + previous[np.roll(codes, 1)]).flatten()[:length]
    if bits == 4.5:
        nibbles, scales = np.split(codes, [len(codes) // 18 * 16])
        values = np.stack([nibbles >> 4, nibbles & 15], 1).reshape(-1, 32).astype("f4") - 8
        sizes = (scales.view("<u2").astype("u4") << 16).view("f4")
        return (values * sizes[:, None]).flatten()[:length]
    if bits == 8:
        return codes - np.float32(128)
    high, low = np.split(codes.astype("u2"), 2)
    return (high << 8 | low).view("f2").astype("f4")


def decoded(payload: bytes, modules: dict, shared: int) -> dict[tuple, np.ndarray]:
    """The vectors of one payload by module, side and direction."""
    content, found, start = np.frombuffer(payload, np.uint8), {}, 0
    for (bits, length), vectors in groupby(vectors_of(modules, shared), lambda x: x[:2]):
        section = list(vectors)
        width = 18 * -(-length // 32) if bits == 4.5 else -(-length * bits // 8)
        end = start + len(section) * width
        codes, steps = content[start:end].reshape(-1, width), content[end : end + len(section)]
        for (*_, largest_step, place), code, step in zip(section, codes, steps, strict=True):
            size = largest_step * 2 ** ((float(step) - 255) / 16) if step else 0
            found[place] = levels(code, bits, length) * size
        start = end + len(section)
    assert start == len(content)
    return found


def random_payload(sections) -> torch.Tensor:
    """Codes of random vectors, a zero one among them."""
    vectors = {}
    for section in sections:
        for vector in section.vectors:
            x = torch.randn(1, section.length) * (len(vectors) != 1)
            vectors[vector[:3]] = Coded(
                *(part[0] for part in encode(x, section.bits, vector.largest_step))
            )
    return join_vectors(sections, vectors)


@pytest.mark.parametrize("seed", range(10))
def test_packs_decode_by_the_page_to_what_we_decode(seed, tmp_path):
    layout = random_layout(seed)
    shared, own = random_payload(layout.shared), random_payload(layout.task)
    CodedAdapters("random", {}, layout, shared, {"one": own}, adapter_bytes=1).save(
        tmp_path / "coded"
    )
    files = {x: (tmp_path / "coded" / x).read_bytes() for x in ("layout.json", "shared.pack")}
    modules = json.loads(files["layout.json"])["modules"]
    binding = hashlib.sha256(files["layout.json"] + files["shared.pack"][64:]).digest()[:16]
    vectors = decoded(payload_of(files["shared.pack"], binding), modules, shared=1)
    pack = (tmp_path / "coded" / "packs" / "one.pack").read_bytes()
    vectors |= decoded(payload_of(pack, binding), modules, shared=0)
    factors = iter(Unpack(layout)(shared, own))
    for name, module in layout.modules.items():
        for side in "AB":
            factor = next(factors)[0].numpy()
            wanted = np.stack([vectors[name, side, i] for i in range(len(module.directions))])
            np.testing.assert_allclose(factor.T if side == "A" else factor, wanted, rtol=1e-5)
