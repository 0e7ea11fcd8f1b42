"""Encoding: recovery, error against budget, no bias, tasks that do not affect each other."""

import pytest
import torch
from conftest import delta, random_set
from test_allocate import SHAPES, allocated, spectra_of

from hydraopt.adapters import AdapterSet
from hydraopt.factors import Factors
from hydraopt.formats.layout import Code, Direction, ModuleLayout
from hydraopt.packing.encode import decode_vectors, encode_module, encode_shared
from hydraopt.zoo import load_adapters


def coded(layout, rows, factors):
    """Each task's decoded factors."""
    shared = encode_shared(layout, rows)
    private, columns = encode_module(layout, shared, factors)
    first = decode_vectors(layout, "A", shared)
    own = decode_vectors(layout, "A", private, len(shared))
    columns = decode_vectors(layout, "B", columns)
    return [
        Factors(
            torch.stack([*first, *(row[task] for row in own)]),
            torch.stack([column[task] for column in columns], 1),
        )
        for task in range(len(factors))
    ]


def coded_set(adapters, limit):
    """(delta, decoded delta) of all tasks and modules."""
    layout, spectra = allocated(adapters, limit), spectra_of(adapters)
    for module in adapters.shapes:
        factors = [x.factors[module] for x in adapters.adapters]
        for before, after in zip(
            factors, coded(layout[module], spectra[module].rows, factors), strict=True
        ):
            yield delta(before), delta(after)


def relative_error(pairs):
    pairs = list(pairs)
    return sum(float((x - y).square().sum()) for x, y in pairs) / sum(
        float(x.square().sum()) for x, _ in pairs
    )


def test_more_bytes_leave_less_error():
    adapters = random_set(6, shapes=((64, 48), (48, 64)))
    budgets = [share * adapters.fp16_bytes for share in (0.06, 0.1, 0.2, 0.4, 0.8)]
    errors = [relative_error(coded_set(adapters, limit)) for limit in budgets]
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("spread", [0.01, 0.3, 10.0])
def test_with_all_the_bytes_of_int8_the_deltas_come_back(spread):
    adapters = random_set(4, shapes=SHAPES, spread=spread)
    assert relative_error(coded_set(adapters, 2 * adapters.fp16_bytes)) < 3e-4


def test_few_bits_do_not_shrink_a_delta():
    adapters = AdapterSet(load_adapters().adapters[::10])
    module = "model.layers.1.self_attn.q_proj"
    layout = ModuleLayout(
        adapters.shapes[module], (Direction(Code(4, True), Code(1)),) * 6, (4.0, 1.0)
    )
    factors = [x.factors[module] for x in adapters.adapters]
    for before, after in zip(
        factors, coded(layout, spectra_of(adapters)[module].rows, factors), strict=True
    ):
        x, y = delta(before), delta(after)
        assert float((x * y).sum() / x.square().sum()) == pytest.approx(1, abs=0.03)


def test_a_task_is_coded_alike_alone_and_among_others():
    adapters = random_set(5, shapes=((40, 24),))
    (module,) = adapters.shapes
    layout = allocated(adapters, 0.2 * adapters.fp16_bytes)[module]
    shared = encode_shared(layout, spectra_of(adapters)[module].rows)
    factors = [x.factors[module] for x in adapters.adapters]
    together = encode_module(layout, shared, factors)
    for task, x in enumerate(factors):
        for side, alone in zip(together, encode_module(layout, shared, [x]), strict=True):
            for many, one in zip(side, alone, strict=True):
                assert many.codes[task].equal(one.codes[0])
                assert many.step[task] == one.step[0]


def test_private_directions_hold_what_the_shared_rows_miss():
    adapters = random_set(4, rank=2, shapes=((40, 24),))
    (module,) = adapters.shapes
    factors = [x.factors[module] for x in adapters.adapters]
    foreign = torch.nn.functional.normalize(torch.randn(1, 24)) * 24**0.5
    directions = (Direction(Code(8, True), Code(8)), *[Direction(Code(8), Code(8))] * 2)
    layout = ModuleLayout((40, 24), directions, (4.0, 4.0))
    pairs = zip(factors, coded(layout, foreign, factors), strict=True)
    assert relative_error((delta(x), delta(y)) for x, y in pairs) < 3e-4


def test_a_task_without_the_module_decodes_as_zeros():
    adapters = random_set(3, shapes=((40, 24),))
    (module,) = adapters.shapes
    layout = allocated(adapters, 0.3 * adapters.fp16_bytes)[module]
    absent = Factors(torch.zeros(1, 24), torch.zeros(40, 1))
    (after,) = coded(layout, spectra_of(adapters)[module].rows, [absent])
    assert delta(after).count_nonzero() == 0


def test_an_adapter_of_smaller_rank_leaves_directions_unused():
    layout = ModuleLayout((40, 24), (Direction(Code(8), Code(8)),) * 4, (4.0, 4.0))
    factors = random_set(1, rank=2, shapes=((40, 24),)).adapters[0].factors["layer0"]
    (after,) = coded(layout, torch.zeros(0, 24), [factors])
    assert relative_error([(delta(factors), delta(after))]) < 3e-4
