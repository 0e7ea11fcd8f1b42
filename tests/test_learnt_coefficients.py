"""SuperMerge and AdaMerging, against direct evaluations of their formulas on dense weights."""

import math

import pytest
import torch
from conftest import BASE_ID, delta, tiny_llama
from llama_data import SHAPES, assert_same, data_of, dense, descend, llama_set, tokens
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from hydraopt.adapters import AdapterSet, LoraAdapter
from hydraopt.adapters.applied import applied, stacks_of
from hydraopt.errors import TrainingError
from hydraopt.merging import merge_with
from hydraopt.merging.adamerging import adamerging, entropy
from hydraopt.merging.supermerge import supermerge
from hydraopt.merging.task_arithmetic import task_arithmetic
from hydraopt.merging.weighted import learn_coefficients, weighted
from hydraopt.training import answer_loss, batch


def run_dense(model, adapters, coefficients, ids):
    """Logits with ``W + sum_t c[t, l] D_t``, dense, by module in order of name."""
    weights = {
        f"{module}.weight": model.get_submodule(module).weight
        + torch.tensordot(coefficients[:, index], dense(adapters, module), dims=1)
        for index, module in enumerate(sorted(SHAPES))
    }
    return functional_call(model, weights, (ids,), {"use_cache": False}).logits


def agree(merged, adapters, coefficients, tolerance=2e-3):
    for index, module in enumerate(sorted(SHAPES)):
        wanted = torch.tensordot(coefficients[:, index], dense(adapters, module), dims=1)
        found = delta(merged.factors("task1", module)).float()
        assert (found - wanted).norm() < tolerance * wanted.norm(), module


def test_supermerge_descends_on_the_dense_loss_of_all_tasks():
    adapters = llama_set()
    data = data_of(adapters)

    def loss(coefficients):
        parts = []
        for prompt, answer in tokens(data, answers=True):
            ids = torch.tensor([prompt + answer])
            logits = run_dense(data.model, adapters, coefficients, ids)[0]
            parts.append(
                cross_entropy(logits[len(prompt) - 1 : -1], ids[0, len(prompt) :], reduction="none")
            )
        return torch.cat(parts).mean()

    start = torch.full((4, 4), math.atanh(0.3))
    wanted = descend(start, torch.tanh, loss, steps=5, rate=0.2)
    merged = supermerge(adapters, data, steps=5, rate=0.2, batch=99)
    agree(merged, adapters, wanted)
    assert (wanted - 0.3).abs().mean() > 0.1  # it moved
    assert loss(wanted) < loss(torch.full((4, 4), 0.3))


@pytest.mark.parametrize("coefficients", ["layer", "task"])
def test_adamerging_descends_on_the_entropy_after_the_prompts(coefficients):
    adapters = llama_set()
    data = data_of(adapters)

    def loss(coefficients):
        parts = []
        for prompt, _ in tokens(data, answers=False):
            logits = run_dense(data.model, adapters, coefficients, torch.tensor([prompt]))[0, -1]
            parts.append(torch.distributions.Categorical(logits=logits).entropy())
        return torch.stack(parts).mean()

    def bounded(w):
        return w.clamp(0, 1).expand(4, 4)

    start = torch.full((4, 4 if coefficients == "layer" else 1), 0.3)
    wanted = descend(start, bounded, loss, steps=5, rate=0.1)
    merged = adamerging(adapters, data, coefficients=coefficients, steps=5, rate=0.1, batch=99)
    agree(merged, adapters, wanted)
    assert loss(wanted) < loss(torch.full((4, 4), 0.3))
    assert wanted.min() >= 0 and wanted.max() <= 1


def test_adamerging_clamps_the_coefficients():
    adapters = llama_set(2)
    merged = adamerging(adapters, data_of(adapters), steps=5, rate=9.0)
    for module in SHAPES:
        found = delta(merged.factors("task0", module)).float().flatten()
        sides = dense(adapters, module).flatten(1).T
        coefficients = torch.linalg.lstsq(sides, found[:, None]).solution
        assert torch.minimum(coefficients.abs(), (coefficients - 1).abs()).max() < 1e-3


def test_the_stacked_hook_runs_the_model_with_the_weighted_deltas():
    adapters, model = llama_set(), tiny_llama()
    coefficients = torch.linspace(-1, 1, 16).reshape(4, 4)
    ids = torch.arange(10)[None]
    before = model(ids).logits
    stacks = stacks_of(adapters, model.device)
    with applied(model, stacks, coefficients):
        found = model(ids).logits
    torch.testing.assert_close(
        found, run_dense(model, adapters, coefficients, ids), atol=1e-4, rtol=1e-4
    )
    assert model(ids).logits.equal(before)
    for index, (module, stack) in enumerate(stacks.items()):
        wanted = torch.tensordot(coefficients[:, index], dense(adapters, module), dims=1)
        torch.testing.assert_close(delta(weighted(stack, coefficients[:, index])).float(), wanted)


def test_weights_of_one_are_the_sum():
    adapters = llama_set()
    whole = task_arithmetic(adapters, scale=1.0)
    for module, stack in stacks_of(adapters, torch.device("cpu")).items():
        found = delta(weighted(stack, torch.ones(4)))
        torch.testing.assert_close(
            found, delta(whole.factors("task0", module)), atol=1e-5, rtol=1e-4
        )


@pytest.mark.parametrize("method", ["supermerge", "adamerging"])
def test_untrained_coefficients_are_task_arithmetic(method):
    adapters = llama_set()
    merged = merge_with(method, adapters, data_of(adapters), steps=1, rate=1e-9)
    assert_same(merged, task_arithmetic(adapters, scale=0.3))


def test_a_group_of_all_tasks_is_the_flat_merge():
    adapters = llama_set()
    flat, grouped = (
        supermerge(adapters, data_of(adapters), steps=3, group=group) for group in (None, 4)
    )
    assert_same(flat, grouped, tolerance=1e-6)


@pytest.mark.parametrize(("rank", "tasks"), [(3, 5), (20, 5)])
def test_groups_are_merged_without_loss_and_then_merged_again(rank, tasks):
    """Untrained, every level weighs by 0.3; 2 x 20 directions exceed the 32 rows of one module."""
    adapters = llama_set(tasks, rank)
    merged = supermerge(adapters, data_of(adapters), steps=1, rate=1e-9, group=2, sweeps=0)
    powers = [3, 3, 3, 3, 1]  # ((01)(23))4: the last one is alone twice
    for module in SHAPES:
        weights = torch.tensor([0.3**p for p in powers])
        wanted = torch.tensordot(weights, dense(adapters, module), dims=1)
        found = delta(merged.factors("task0", module)).float()
        assert (found - wanted).norm() < 1e-4 * wanted.norm()


def test_with_a_rank_merged_groups_are_cut_too(monkeypatch):
    adapters, ranks = llama_set(6), []

    def seen(stacks, *rest):
        ranks.append(max(len(x.owner) for x in stacks.values()))
        return learn_coefficients(stacks, *rest)

    monkeypatch.setattr("hydraopt.merging.supermerge.learn_coefficients", seen)
    for rank, wanted in ((None, [9, 9, 18]), (4, [9, 9, 8])):
        ranks.clear()
        supermerge(adapters, data_of(adapters), steps=1, group=3, sweeps=0, rank=rank)
        assert ranks == wanted


@pytest.mark.slow
def test_sweeps_bring_groups_to_the_flat_merge():
    adapters, losses = llama_set(), {}
    data = data_of(adapters)
    rows = data.answered(adapters.tasks)
    for group, sweeps in ((None, 0), (2, 0), (2, 3)):
        merged = supermerge(adapters, data, steps=60, batch=99, group=group, sweeps=sweeps)
        losses[group, sweeps] = mean_loss(answer_loss, merged, data, rows)
    flat, grouped, swept = losses.values()
    assert flat < grouped
    assert swept - flat < 0.2 * (grouped - flat)


def mean_loss(loss, merged, data, rows):
    single = AdapterSet([LoraAdapter("merged", BASE_ID, merged.task_factors("task0"))])
    with (
        torch.no_grad(),
        applied(data.model, stacks_of(single, data.model.device), torch.ones(1, 4)),
    ):
        return float(loss(data.model, batch(rows)))


def test_training_lowers_loss_and_entropy():
    adapters = llama_set()
    data = data_of(adapters)
    start = task_arithmetic(adapters, scale=0.3)
    for method, loss, rows in (
        ("supermerge", answer_loss, data.answered(adapters.tasks)),
        ("adamerging", entropy, data.prompts(adapters.tasks)),
    ):
        merged = merge_with(method, adapters, data, steps=20, rate=0.05)
        assert mean_loss(loss, merged, data, rows) < mean_loss(loss, start, data, rows)


@pytest.mark.parametrize("method", ["supermerge", "adamerging"])
def test_a_loss_that_is_not_finite_stops_with_the_step(method):
    adapters = llama_set()
    next(iter(adapters.adapters[0].factors.values())).b.fill_(math.inf)
    with pytest.raises(TrainingError, match="step 1: loss nan"):
        merge_with(method, adapters, data_of(adapters), steps=3)
