"""The codes: sizes, distortion, absence of bias, steps; the trellis search against brute force."""

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from hydraopt.errors import BundleError
from hydraopt.formats.codes import BITS, GROUPED, packed_bytes
from hydraopt.packing import codec
from hydraopt.packing.allocate import DISTORTION
from hydraopt.packing.codec import TRELLIS_BITS
from hydraopt.packing.groups import read_groups
from hydraopt.packing.trellis import TABLES, Tables, read_tables, search, tables, trellis_values

TOP = 4.0
SCALAR = {1: 0.363, 2: 0.119, 4: 0.0115}  # uniform levels with the best step


def noise(count, length, seed=0):
    return torch.randn(count, length, generator=torch.Generator().manual_seed(seed))


def coded(x, bits):
    found = codec.encode(x, bits, TOP)
    return found, codec.decode(found, bits, x.shape[-1], TOP)


def unlike(x, y):
    """Share of x's energy that no multiple of y explains."""
    return 1 - float((x * y).sum() ** 2 / (x.square().sum() * y.square().sum()))


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 33, 64])
def test_a_vector_takes_its_bits_rounded_up_to_bytes(bits, length):
    found, decoded = coded(noise(3, length), bits)
    assert found.codes.dtype == found.step.dtype == torch.uint8
    assert found.codes.shape == (3, packed_bytes(length, bits))
    whole = -(-length // 32) * 32 if bits == GROUPED else length
    assert found.codes.shape[-1] == -(-whole * bits // 8)
    assert decoded.shape == (3, length)


def test_groups_decode_as_a_quantised_layer_reads_them():
    x = noise(20, 96, seed=3) * torch.logspace(-3, 0, 20)[:, None]
    found, decoded = coded(x, GROUPED)
    integers, scales = read_groups(found.codes, 96)
    assert integers.min() == -8 and integers.max() == 7
    steps = codec.decode_steps(found.step, TOP)[:, None]
    scales = scales.float() * steps
    assert torch.equal(scales, scales.to(torch.bfloat16).float())
    layer = integers.unflatten(1, (3, 32)) * scales[..., None]
    assert torch.equal(layer.flatten(1), decoded)


def test_groups_may_start_at_any_byte_of_a_pack():
    codes = codec.encode(noise(1, 96), GROUPED, TOP).codes
    pack = torch.cat([torch.zeros(1, dtype=torch.uint8), codes[0]])
    for found, wanted in zip(read_groups(pack[1:][None], 96), read_groups(codes, 96), strict=True):
        assert torch.equal(found, wanted)


@pytest.mark.parametrize("bits", DISTORTION)
def test_gaussian_vectors_keep_what_the_allocation_counts_on(bits):
    x = noise(60, 128)
    error = unlike(x, coded(x, bits)[1])
    assert DISTORTION[bits] / 1.2 < error < 1.2 * DISTORTION[bits]


@pytest.mark.parametrize("bits", TRELLIS_BITS)
def test_a_trellis_beats_scalar_levels(bits):
    x = noise(60, 128)
    assert unlike(x, coded(x, bits)[1]) < 0.82 * SCALAR[bits]


@pytest.mark.parametrize("bits", TRELLIS_BITS)
def test_trellis_codes_are_unbiased(bits):
    x = noise(60, 128)
    gains = (x * coded(x, bits)[1]).sum(1) / x.square().sum(1)
    assert (gains - 1).abs().max() < 2 ** (1 / codec.STEPS_PER_OCTAVE) - 1
    assert float(gains.mean()) == pytest.approx(1, abs=0.01)


def test_more_bits_leave_less_error():
    x = noise(20, 96) / 64  # 16-bit steps of larger vectors would fall below the grid
    errors = [float((coded(64 * x, b)[1] - 64 * x).square().mean()) for b in (1, 2, 4, 8)]
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("largest", [65504, 2, 1e-3, 1e-6])
def test_16_bits_keep_every_fp16(largest):
    every = torch.arange(1 << 16).to(torch.int16).view(torch.float16).float()
    x = every[every.abs() <= largest][None]
    found = codec.encode(x, 16, 1.0)
    assert torch.equal(codec.decode(found, 16, x.shape[1], 1.0), x)


def test_16_bits_round_small_values_as_well_as_large_ones():
    x = noise(20, 96) * torch.logspace(-6, 4, 20)[:, None]
    decoded = codec.decode(codec.encode(x, 16, 1.0), 16, 96, 1.0)
    assert ((decoded - x).norm(dim=1) <= 2**-11 * x.norm(dim=1)).all()


def test_8_bits_are_the_int8_of_a_layer():
    x = noise(20, 96) * torch.logspace(-2, 0, 20)[:, None]
    found, decoded = coded(x, 8)
    integers = found.codes.int() - 128
    assert integers.abs().amax(1).min() >= 121 and integers.min() >= -127
    assert torch.equal(integers * codec.decode_steps(found.step, TOP)[:, None], decoded)


@pytest.mark.parametrize("bits", TRELLIS_BITS)
def test_codes_do_not_depend_on_the_scale_or_on_other_vectors(bits):
    x = noise(9, 40)
    found = codec.encode(x, bits, TOP)
    assert codec.encode(0.01 * x, bits, TOP).codes.equal(found.codes)
    order = torch.randperm(9)
    assert codec.encode(x[order], bits, TOP).codes.equal(found.codes[order])


@pytest.mark.parametrize("bits", BITS)
def test_zeros_decode_as_zeros(bits):
    assert coded(torch.zeros(2, 10), bits)[1].count_nonzero() == 0


def test_steps_are_rounded_to_within_half_a_grid_point():
    steps = torch.logspace(-3, 0, 50)
    decoded = codec.decode_steps(codec.encode_steps(steps, 1.0), 1.0)
    assert (torch.log2(decoded / steps).abs() <= 0.5 / codec.STEPS_PER_OCTAVE + 1e-4).all()


@pytest.mark.parametrize("width", [2, 3])
def test_the_search_is_exact_on_short_rings(width):
    # of 256 bytes only 12 are worth a thought, so that all rings can be tried
    table = Tables(*(noise(256, 2, seed) for seed in (1, 2)))
    table.current[12:] += 1e3
    x = noise(5, 2 * width, seed=3)
    rings = torch.tensor(list(itertools.product(range(12), repeat=width)), dtype=torch.uint8)
    errors = (trellis_values(rings, table) - x[:, None]).square().sum(-1)
    found = (trellis_values(search(x, table), table) - x).square().sum(-1)
    # the seam's byte is settled first: nearly always the best one
    assert found.sum() < 1.15 * errors.amin(1).sum()
    assert (found >= errors.amin(1) - 1e-4).all()


def test_codes_of_long_vectors_cannot_be_improved_byte_by_byte():
    table = tables(2)
    x = noise(1, 64)
    packed = search(x, table)
    least = (trellis_values(packed, table) - x).square().sum()
    for place in range(packed.shape[1] - 1):  # the last byte is the seam
        others = packed.repeat(256, 1)
        others[:, place] = torch.arange(256)
        errors = (trellis_values(others, table) - x).square().sum(1)
        assert errors.min() >= least - 1e-3


def test_the_bytes_form_a_ring():
    packed = torch.randint(0, 256, (4, 12), dtype=torch.uint8)
    table = tables(1)
    turned = trellis_values(packed.roll(1, -1), table)
    assert turned.equal(trellis_values(packed, table).roll(8, -1))


def test_other_tables_than_the_codecs_are_refused(tmp_path):
    assert read_tables(TABLES).keys() == {
        f"{place}.{bits}" for place in ("current", "previous") for bits in TRELLIS_BITS
    }
    changed = tmp_path / "trellis.safetensors"
    content = bytearray(TABLES.read_bytes())
    content[-1] ^= 1  # still a safetensors file, of other values
    changed.write_bytes(content)
    with pytest.raises(BundleError, match=r"trellis\.safetensors is damaged: SHA-256 .* expected "):
        read_tables(changed)
    with pytest.raises(BundleError, match=r"missing\.safetensors cannot be read"):
        read_tables(tmp_path / "missing.safetensors")


@pytest.mark.parametrize("threads", [2, 3, 9])
def test_threads_find_the_same_codes(threads):
    from hydraopt.packing.viterbi import best_bytes

    random = np.random.default_rng(0)
    current, previous = (random.random((5, 7, 256), np.float32) for _ in range(2))
    both, seam = random.random((256, 256), np.float32), np.array([-1, 3, -1, 255, 0])
    arrays = current, previous, both, seam
    assert (best_bytes(*arrays, threads) == best_bytes(*arrays, 1)).all()


def test_a_search_runs_where_nothing_can_be_cached():
    """In a process of its own, which compiles."""
    code = """
import torch
from hydraopt.packing.trellis import search, tables
print(*search(torch.ones(2, 16), tables(2)).shape)
"""
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={key: value for key, value in os.environ.items() if key != "NUMBA_CACHE_DIR"}
        | {"NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout.strip() == "2 4", found.stderr
