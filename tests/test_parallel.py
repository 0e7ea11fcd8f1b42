"""Units of work on all cores: the same results as on one, in order."""

import pytest
import torch
from conftest import random_set
from threadpoolctl import threadpool_info

from hydraopt import parallel
from hydraopt.errors import UsageError
from hydraopt.merging import METHODS, merge_with
from hydraopt.packing import Coder


def test_results_come_in_the_items_order():
    assert parallel.each(lambda x: x * x, range(50), "square") == [x * x for x in range(50)]


def test_an_error_in_a_unit_is_raised_and_threads_come_back():
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError):
        parallel.each(lambda x: 1 / x, [2, 1, 0], "divide")
    assert torch.get_num_threads() == before


def test_codes_are_the_same_bits_on_any_number_of_cores():
    adapters = random_set(5, rank=8, shapes=((96, 64), (64, 160)) * 3)
    found = []
    for cores in (1, 3):
        with parallel.jobs(cores):
            found.append(Coder.from_adapters(adapters).code(adapters.fp16_bytes // 8))
    one, three = found
    assert one.layout == three.layout
    assert one.shared.equal(three.shared)
    assert one.errors == three.errors
    for task in adapters.tasks:
        assert one.payloads[task].equal(three.payloads[task])


@pytest.mark.parametrize("name", [m.name for m in METHODS.values() if m.needs == "nothing"])
def test_every_method_merges_to_the_same_bits_on_any_number_of_cores(name):
    adapters = random_set(3, rank=4, shapes=((48, 32), (32, 80)) * 3)
    found = []
    for cores in (1, 4):
        with parallel.jobs(cores):
            found.append(merge_with(name, adapters).stored_tensors())
    one, four = found
    assert one.keys() == four.keys()
    assert all(one[key].equal(four[key]) for key in one)


def test_less_than_one_job_is_refused():
    with pytest.raises(UsageError, match="jobs is 0, expected at least 1"), parallel.jobs(0):
        pass


def test_numpy_runs_on_one_thread_inside_of_units():
    found = parallel.each(lambda _: [x["num_threads"] for x in threadpool_info()], [1, 2], "look")
    assert {threads for unit in found for threads in unit} == {1}
