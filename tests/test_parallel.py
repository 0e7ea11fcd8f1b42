"""Units of work on all cores: the same results as on one, in order."""

import pytest
import torch
from conftest import random_set

from hydraopt import parallel
from hydraopt.packing import Coder


def test_results_come_in_the_items_order():
    assert parallel.each(lambda x: x * x, range(50), "square") == [x * x for x in range(50)]


def test_an_error_in_a_unit_is_raised_and_threads_come_back():
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError):
        parallel.each(lambda x: 1 / x, [2, 1, 0], "divide")
    assert torch.get_num_threads() == before


def test_codes_are_the_same_bits_on_any_number_of_cores(monkeypatch):
    adapters = random_set(5, rank=8, shapes=((96, 64), (64, 160)) * 3)
    found = []
    for cores in (1, 3):
        monkeypatch.setattr(parallel, "cpu_count", lambda cores=cores: cores)
        found.append(Coder.from_adapters(adapters).code(adapters.fp16_bytes // 8))
    one, three = found
    assert one.layout == three.layout
    assert one.shared.equal(three.shared)
    assert one.errors == three.errors
    for task in adapters.tasks:
        assert one.payloads[task].equal(three.payloads[task])
