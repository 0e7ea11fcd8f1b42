"""An adapter fits a bundle that was made without it, or has nothing in common with its tasks."""

from dataclasses import replace

import pytest
from conftest import random_set

from hydraopt.adapters import AdapterSet
from hydraopt.bundles.kept import check_kept
from hydraopt.errors import AdapterError
from hydraopt.factors import Factors
from hydraopt.packing import CodedAdapters, Coder, encode_adapter

SHAPES = ((96, 128), (64, 192))


@pytest.fixture(scope="module")
def adapters():
    """Seven whose A's are near a common one."""
    return random_set(7, rank=4, shapes=SHAPES, spread=0.1)


@pytest.fixture(scope="module")
def coded(adapters):
    """All but the last, in codes that hold little more than the rows that they share."""
    first = AdapterSet(adapters.adapters[:-1])
    return Coder.from_adapters(first).code(int(0.1 * first.fp16_bytes))


def later(coded, adapter):
    """The adapter in the layout of the others."""
    payload = encode_adapter(coded.layout, coded.shared, adapter)
    return CodedAdapters(
        "", {}, coded.layout, coded.shared, {adapter.name: payload}, adapter_bytes=1
    )


def test_one_like_the_others_fits(adapters, coded):
    adapter = adapters.adapters[-1]
    check_kept(adapter, later(coded, adapter))


def scaled(adapter, scale):
    factors = {name: Factors(a, scale * b) for name, (a, b) in adapter.factors.items()}
    return replace(adapter, factors=factors)


@pytest.mark.parametrize("seed", range(1, 9))
@pytest.mark.parametrize("scale", [1e-3, 1, 1e3])
def test_an_unrelated_one_is_refused(coded, seed, scale):
    (adapter,) = random_set(1, rank=4, shapes=SHAPES, seed=seed).adapters
    adapter = scaled(adapter, scale)
    with pytest.raises(AdapterError, match=r"keeps \d\.\d% of adapter .* of an unrelated one"):
        check_kept(adapter, later(coded, adapter))


def test_one_that_is_too_large_for_the_steps_is_refused(adapters, coded):
    adapter = scaled(adapters.adapters[-1], 1e3)
    with pytest.raises(AdapterError, match=r"at 0\.\d\d of its size: its relative error is 0\.9\d"):
        check_kept(adapter, later(coded, adapter))


def test_one_that_changes_nothing_fits(adapters, coded):
    adapter = scaled(adapters.adapters[-1], 0)
    check_kept(adapter, later(coded, adapter))
