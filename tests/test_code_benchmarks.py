"""The parts of the comparisons of codes that figures rest on."""

import numpy as np
import pytest
import torch
from code_rates import distortion, learnt_bytes, more_rates
from coded_baselines import FAMILIES, FEW, INTEGERS, TRELLIS, mixed_precision, unbiased
from conftest import random_set

from hydraopt.factors import relative_error
from hydraopt.packing import Coder, codec

SHAPES = ((64, 32), (32, 96))


@pytest.mark.parametrize("numbers", [*INTEGERS, *FEW, *TRELLIS], ids=lambda x: x.name)
def test_vectors_are_rounded_to_what_their_bytes_can_hold(numbers):
    x = torch.randn(40, 96, generator=torch.Generator().manual_seed(0))
    assert numbers.bytes(40, 96, shared=False) >= 40 * 96 * numbers.bits / 8
    decoded = numbers.rounded(x, shared=False)
    error = float((unbiased(x, decoded) - x).square().mean())
    assert 4.0**-numbers.bits < error < 2.2 * 4.0**-numbers.bits * (1 + numbers.bits / 4)
    if not numbers.trellis:
        levels = {len(group.unique()) for row in decoded for group in row.split(32)}
        assert max(levels) <= 2**numbers.bits


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_every_format_has_the_largest_rank_that_fits(family):
    adapters = random_set(4, rank=6, shapes=SHAPES)
    limit = int(0.3 * adapters.fp16_bytes)
    found = dict(family.within(adapters, limit))
    assert found
    for setting, coded in found.items():
        assert 0 < coded.bytes <= limit
        rank = int(setting.split()[2].rstrip(","))
        factors = coded.factors(adapters.tasks[0])
        assert all(len(factors[name].a) >= min(rank, 6) for name in adapters.shapes)


def test_enough_bytes_leave_hardly_any_error():
    adapters = random_set(3, rank=4, shapes=SHAPES)
    for family in FAMILIES.values():
        _, coded = next(iter(family.within(adapters, 2 * adapters.fp16_bytes)))  # int8
        for adapter in adapters.adapters:
            found = coded.factors(adapter.name)
            assert all(relative_error(x, found[n]) < 0.02 for n, x in adapter.factors.items())


def test_mixed_precision_spends_more_bits_on_more_directions():
    adapters = random_set(3, rank=8, shapes=SHAPES)
    errors = []
    for share in (0.12, 0.15, 0.19):
        limit = int(share * adapters.fp16_bytes)
        coded = [x for setting, x in mixed_precision(adapters, limit) if "3 bits" in setting]
        assert all(0.9 * limit < x.bytes <= limit for x in coded)
        found = coded[0].factors(adapters.tasks[0])
        own = adapters.adapters[0].factors
        errors.append(sum(relative_error(x, found[name]) for name, x in own.items()))
    assert errors == sorted(errors, reverse=True)


def test_an_ideal_coder_learns_what_repeats():
    random = np.random.default_rng(0).integers(256, size=(40, 500)).astype(np.uint8)
    assert 1 < learnt_bytes([*random], order=0) / random.size < 1.02
    assert learnt_bytes([*random % 4], order=0) / random.size == pytest.approx(0.25, abs=0.01)
    turns = np.tile(np.array([1, 2, 3], np.uint8), (40, 100))
    assert learnt_bytes([*turns], order=0) / turns.size > 0.19
    assert learnt_bytes([*turns], order=1) / turns.size < 0.02


@pytest.mark.slow
def test_a_byte_of_the_trellis_can_stand_for_three_values():
    assert codec.TRELLIS_BITS == (1, 2, 4)
    adapters = random_set(12, rank=4, shapes=((96, 96),))
    limit = int(0.19 * adapters.fp16_bytes)
    with more_rates([3]):
        coded = Coder.from_adapters(adapters).code(limit)
        bits = {x.column.bits for m in coded.layout.modules.values() for x in m.directions}
        assert coded.stored_bytes <= limit and 8 / 3 in bits
        coded.task_factors(adapters.tasks[0])
    assert 0.0248 < distortion(3) < 0.035  # Shannon's bound, and what was found once
    assert 2**-4 < codec_error(2) < codec_error(1)


def codec_error(bits: int) -> float:
    x = torch.randn(30, 96, generator=torch.Generator().manual_seed(0))
    decoded = codec.decode(codec.encode(x, bits, 4.0), bits, 96, 4.0)
    return float((decoded - x).square().mean())
