"""HydraOpt's properties: optimality, exact recovery, monotonicity, invariances."""

import pytest
import torch
from conftest import BASE_ID, delta, random_set, squared_error

from hydraopt.adapters import AdapterSet, LoraAdapter
from hydraopt.errors import MergeError, UsageError
from hydraopt.factors import Factors
from hydraopt.merging import merge_with
from hydraopt.merging.hydraopt import average, hydraopt

TASKS = 6


def energy(adapters):
    return sum(delta(f).pow(2).sum().item() for x in adapters.adapters for f in x.factors.values())


def dense_optimum(adapters, rank):
    """Least error of one A of ``rank`` and a B per task: the tail of the dense stacked SVD."""
    total = 0.0
    for module in adapters.shapes:
        stack = torch.cat([delta(x.factors[module]) for x in adapters.adapters])
        total += torch.linalg.svdvals(stack)[rank:].pow(2).sum().item()
    return total


@pytest.mark.parametrize("rank", [1, 3, 8])
@pytest.mark.parametrize("columns", [12, 40])  # fewer and more than the 18 stacked rows
def test_with_a_b_per_task_it_is_the_optimum_of_the_dense_stacked_svd(rank, columns):
    adapters = random_set(TASKS, shapes=((20, columns),))
    error = squared_error(adapters, hydraopt(adapters, clusters=TASKS, rank=rank))
    assert error == pytest.approx(dense_optimum(adapters, rank), rel=1e-6)


def test_at_full_rank_every_adapter_is_recovered_exactly():
    adapters = random_set(TASKS)
    merged = hydraopt(adapters, rank=TASKS * 3)
    assert squared_error(adapters, merged) < 1e-10 * energy(adapters)


def test_tasks_that_are_equal_share_a_b_without_loss():
    adapters = random_set(3)
    twice = AdapterSet(
        LoraAdapter(f"{x.name}-{copy}", x.base_model, x.factors)
        for copy in range(2)
        for x in adapters.adapters
    )
    merged = hydraopt(twice, clusters=3, rank=9)
    assert squared_error(twice, merged) < 1e-10 * energy(twice)
    for _, b in merged.modules.values():
        assert b.assignment[:3].equal(b.assignment[3:])


@pytest.mark.parametrize("soft", [False, True])
def test_more_clusters_than_different_tasks_leave_fewer(soft):
    adapter = random_set(1).adapters[0]
    blank = {m: Factors(f.a, torch.zeros_like(f.b)) for m, f in adapter.factors.items()}
    for factors, distinct in ((adapter.factors, 3), (blank, 1)):
        others = [x.factors for x in random_set(3).adapters[1:]] if distinct == 3 else [blank] * 2
        adapters = AdapterSet(
            LoraAdapter(f"t{i}", BASE_ID, f) for i, f in enumerate([factors, factors, *others])
        )
        merged = hydraopt(adapters, clusters=4 - (distinct == 1), rank=12, soft=soft)
        assert squared_error(adapters, merged) < 1e-10 * max(energy(adapters), 1)
    merged = hydraopt(adapters, clusters=3)
    assert merged.settings["clusters"] == 1


@pytest.mark.parametrize("soft", [False, True])
def test_error_falls_with_clusters_and_with_rank(soft):
    adapters = random_set(TASKS)

    def error(clusters, rank):
        return squared_error(adapters, hydraopt(adapters, clusters=clusters, rank=rank, soft=soft))

    by_clusters = [error(clusters, 6) for clusters in range(1, TASKS + 1)]
    by_rank = [error(3, rank) for rank in (1, 2, 4, 8, 12)]
    assert by_clusters == sorted(by_clusters, reverse=True)
    assert by_rank == sorted(by_rank, reverse=True)
    assert by_clusters[0] > 2 * by_clusters[-1]


@pytest.mark.parametrize("clusters", [2, 3, 4])
def test_the_soft_dictionary_is_never_worse(clusters):
    adapters = random_set(TASKS)
    hard = squared_error(adapters, hydraopt(adapters, clusters=clusters))
    soft = squared_error(adapters, hydraopt(adapters, clusters=clusters, soft=True))
    assert soft < hard


@pytest.mark.parametrize("clusters", [2, 3, 5])
def test_no_assignment_of_one_task_to_another_cluster_helps(clusters):
    """Lloyd steps end in a local optimum."""
    adapters = random_set(TASKS, shapes=((20, 12),))
    merged = hydraopt(adapters, clusters=clusters)
    _, b = merged.modules["layer0"]
    for index, adapter in enumerate(adapters.adapters):
        a = merged.factors(adapter.name, "layer0").a.double()
        errors = [
            (delta(adapter.factors["layer0"]) - candidate.double() @ a).pow(2).sum()
            for candidate in b.stack
        ]
        assert torch.stack(errors).argmin() == b.assignment[index]


@pytest.mark.parametrize("clusters", [2, 3, TASKS])
def test_the_order_of_the_tasks_does_not_matter(clusters):
    adapters = random_set(TASKS)
    shuffled = AdapterSet(adapters.adapters[i] for i in (4, 1, 5, 0, 2, 3))
    first, second = (hydraopt(x, clusters=clusters) for x in (adapters, shuffled))
    assert second.tasks == shuffled.tasks
    for task in adapters.tasks:
        for module in adapters.shapes:
            torch.testing.assert_close(
                delta(first.factors(task, module)), delta(second.factors(task, module))
            )


@pytest.mark.parametrize("clusters", [2, 3, TASKS])
def test_the_gauge_of_a_and_b_does_not_matter(clusters):
    """``(B G)(G⁻¹ A)`` is the same adapter for every invertible G."""
    adapters = random_set(TASKS)
    generator = torch.Generator().manual_seed(7)

    def regauge(factors):
        gauge = torch.randn(3, 3, generator=generator) + 3 * torch.eye(3)
        return Factors(torch.linalg.solve(gauge, factors.a), factors.b @ gauge)

    other = AdapterSet(
        LoraAdapter(x.name, x.base_model, {m: regauge(f) for m, f in x.factors.items()})
        for x in adapters.adapters
    )
    first, second = (hydraopt(x, clusters=clusters) for x in (adapters, other))
    for task in adapters.tasks:
        for module in adapters.shapes:
            torch.testing.assert_close(
                delta(first.factors(task, module)),
                delta(second.factors(task, module)),
                atol=1e-4,
                rtol=1e-4,
            )


def test_the_same_seed_gives_the_same_result():
    adapters = random_set(12, spread=1.0)
    first, second = (hydraopt(adapters, clusters=4, seed=3) for _ in range(2))
    for name, tensor in first.stored_tensors().items():
        assert tensor.equal(second.stored_tensors()[name])


def test_unequal_ranks_and_a_task_without_a_module():
    full = random_set(3)
    partial = LoraAdapter(
        "partial", BASE_ID, {"layer0": random_set(1, rank=5).adapters[0].factors["layer0"]}
    )
    adapters = AdapterSet([*full.adapters, partial])
    merged = hydraopt(adapters, rank=14)
    assert squared_error(adapters, merged) < 1e-10 * energy(adapters)
    assert delta(merged.factors("partial", "layer1")).abs().max() < 1e-6


def test_average_is_the_mean_delta_at_full_rank():
    adapters = random_set(TASKS)
    merged = average(adapters, rank=TASKS * 3)
    for module in adapters.shapes:
        mean = torch.stack([delta(x.factors[module]) for x in adapters.adapters]).mean(0)
        for task in adapters.tasks:
            torch.testing.assert_close(
                delta(merged.factors(task, module)), mean, atol=1e-5, rtol=1e-5
            )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clusters": 0}, "expected 1 to 6"),
        ({"clusters": 7}, "expected 1 to 6, the number of adapters"),
        ({"rank": 0}, "expected at least 1"),
    ],
)
def test_refuses_settings_it_cannot_take(settings, message):
    with pytest.raises(MergeError, match=message):
        hydraopt(random_set(TASKS), **settings)


def test_a_method_is_found_by_name_and_takes_its_own_options_only():
    adapters = random_set(TASKS)
    assert merge_with("average", adapters, rank=2).method == "average"
    with pytest.raises(
        UsageError, match="no merging method 'mean'; expected one of hydraopt, average"
    ):
        merge_with("mean", adapters)
    with pytest.raises(UsageError, match="average has no option clusters"):
        merge_with("average", adapters, clusters=2)
