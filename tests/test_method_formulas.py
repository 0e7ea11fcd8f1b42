"""Every data-free method against a direct evaluation of its formula on dense deltas."""

import math

import pytest
import torch
from conftest import delta, random_set

from hydraopt.merging.byom import byom
from hydraopt.merging.core_space import core_space
from hydraopt.merging.ctm import ctm
from hydraopt.merging.dare import dare, dare_ties
from hydraopt.merging.doge import doge
from hydraopt.merging.emr import emr
from hydraopt.merging.iso_c import iso_c
from hydraopt.merging.iso_cts import iso_cts
from hydraopt.merging.jd_diag import jd_diag
from hydraopt.merging.jd_full import jd_full
from hydraopt.merging.kmerge import kmerge
from hydraopt.merging.knots import knots
from hydraopt.merging.onebit import onebit
from hydraopt.merging.task_arithmetic import task_arithmetic
from hydraopt.merging.ties import ties
from hydraopt.merging.tsv_merge import tsv_merge

TASKS, RANK = 6, 3  # the sum of the ranks exceeds out and in: nothing is cut by default
MODULES = ("layer0", "layer1")


def dense(adapters, module):
    """All deltas of one module, ``[T, out, in]`` float64."""
    return torch.stack([delta(x.factors[module]) for x in adapters.adapters])


def found(merged, module):
    """What the method gives every task, ``[T, out, in]`` float64."""
    return torch.stack([delta(merged.factors(task, module)) for task in merged.tasks])


def agree(merged, module, wanted, tolerance=1e-5):
    """``wanted`` is ``[T, out, in]``, or one ``[out, in]`` for all tasks."""
    difference = (found(merged, module) - wanted).norm() / wanted.expand(TASKS, -1, -1).norm()
    assert difference < tolerance


def kept(x, density):
    """``x`` with all but its largest entries set to 0, by sorting."""
    order = x.abs().flatten().argsort(descending=True)
    result = torch.zeros_like(x).flatten()
    largest = order[: math.ceil(density * x.numel())]
    result[largest] = x.flatten()[largest]
    return result.reshape(x.shape)


def elected_mean(parts):
    """TIES's election and disjoint mean of ``[T, …]``, entry by entry."""
    sign = parts.sum(0).sign()
    agreeing = (parts.sign() == sign) & (parts != 0)
    return (parts * agreeing).sum(0) / agreeing.sum(0).clamp_min(1)


@pytest.fixture(scope="module")
def adapters():
    return random_set(TASKS, RANK)


@pytest.mark.parametrize("module", MODULES)
def test_task_arithmetic_is_the_scaled_sum(adapters, module):
    agree(task_arithmetic(adapters, scale=0.4), module, 0.4 * dense(adapters, module).sum(0))


@pytest.mark.parametrize("density", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("module", MODULES)
def test_ties_is_trim_elect_and_disjoint_mean(adapters, module, density):
    parts = torch.stack([kept(x, density) for x in dense(adapters, module)])
    agree(ties(adapters, density=density, scale=0.7), module, 0.7 * elected_mean(parts))


@pytest.mark.parametrize("module", MODULES)
def test_dare_drops_at_random_and_rescales(adapters, module):
    """A task's mask shows when it is merged alone."""
    alone = [
        found(dare(type(adapters)([x]), density=0.3, scale=1.0, rank=99), module)[0]
        for x in adapters.adapters
    ]
    dropped = torch.stack(alone)
    left = dropped.abs() > 1e-5
    assert 0.25 < left.double().mean() < 0.35
    torch.testing.assert_close(dropped, left * dense(adapters, module) / 0.3, atol=1e-4, rtol=1e-4)
    agree(dare(adapters, density=0.3, scale=0.4, rank=99), module, 0.4 * dropped.sum(0))
    dropped *= left
    agree(dare_ties(adapters, density=0.3, scale=0.5, rank=99), module, 0.5 * elected_mean(dropped))


def test_dare_is_task_arithmetic_on_average():
    adapters = random_set(2, shapes=((8, 6),))
    seeds = 400
    mean = sum(
        found(dare(adapters, density=0.5, scale=1.0, seed=seed), "layer0")[0]
        for seed in range(seeds)
    )
    wanted = dense(adapters, "layer0").sum(0)
    assert (mean / seeds - wanted).norm() < 3 / math.sqrt(seeds) * wanted.norm()


@pytest.mark.parametrize("density", [0.3, 1.0])
@pytest.mark.parametrize("module", MODULES)
def test_knots_is_ties_in_the_basis_of_the_deltas_side_by_side(adapters, module, density):
    deltas = dense(adapters, module)
    u, s, vh = torch.linalg.svd(torch.cat(list(deltas), dim=1), full_matrices=False)
    used = s > 1e-5  # there are 18 directions at most
    parts = [kept((s[:, None] * v)[used], density) for v in vh.split(deltas.shape[2], dim=1)]
    wanted = 0.8 * u[:, used] @ elected_mean(torch.stack(parts))
    agree(knots(adapters, density=density, scale=0.8), module, wanted)


@pytest.mark.parametrize("keep", [None, 1, 2])
@pytest.mark.parametrize("module", MODULES)
def test_tsv_merge_decorrelates_the_top_singular_directions(adapters, module, keep):
    deltas = dense(adapters, module)
    share = keep or max(1, min(deltas.shape[1:]) // TASKS)
    u, s, vh = torch.linalg.svd(deltas, full_matrices=False)
    u, s, v = u[:, :, :share], s[:, :share], vh[:, :share].mT

    def nearest_orthonormal(parts):
        left, _, right = torch.linalg.svd(torch.cat(list(parts), dim=1), full_matrices=False)
        return left @ right

    wanted = nearest_orthonormal(u) @ s.flatten().diag() @ nearest_orthonormal(v).T
    agree(tsv_merge(adapters, keep=keep, scale=0.9), module, 0.9 * wanted)


@pytest.mark.parametrize("shapes", [((20, 12), (8, 16)), ((30, 40), (40, 30))])
@pytest.mark.parametrize("module", MODULES)
def test_iso_c_makes_the_singular_values_of_the_sum_equal(module, shapes):
    adapters = random_set(TASKS, RANK, shapes)
    total = dense(adapters, module).sum(0)
    u, s, vh = torch.linalg.svd(total, full_matrices=False)
    size = torch.linalg.matrix_rank(total)  # 18 where the shape allows more
    wanted = s[:size].mean() * u[:, :size] @ vh[:size]
    agree(iso_c(adapters), module, wanted, tolerance=1e-4)
    cut = s[:size].mean() * u[:, :5] @ vh[:5]
    agree(iso_c(adapters, rank=5), module, cut, tolerance=1e-4)


@pytest.mark.parametrize("shapes", [((20, 12), (8, 16)), ((30, 40), (40, 30))])
@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("common", [0.0, 0.6, 1.0])
def test_iso_cts_replaces_the_weakest_directions_by_those_of_tasks(module, shapes, common):
    adapters = random_set(TASKS, RANK, shapes)
    deltas = dense(adapters, module)
    u, s, vh = torch.linalg.svd(deltas.sum(0), full_matrices=False)
    size = int(torch.linalg.matrix_rank(deltas.sum(0)))
    own = (size - int(common * size)) // TASKS
    first = size - own * TASKS
    u, s, vh = u[:, :first], s[:first], vh[:first]
    parts = [torch.linalg.svd(x - u @ u.T @ x, full_matrices=False) for x in deltas]
    left = torch.cat([u, *(x.U[:, :own] for x in parts)], 1)
    right = torch.cat([vh.T, *(x.Vh[:own].T for x in parts)], 1)
    mean = torch.cat([s, *(x.S[:own] for x in parts)]).mean()
    (a, _, b), (c, _, d) = (torch.linalg.svd(x, full_matrices=False) for x in (left, right))
    wanted = 0.9 * mean * (a @ b) @ (c @ d).T
    agree(iso_cts(adapters, common=common, scale=0.9), module, wanted, tolerance=1e-4)


@pytest.mark.parametrize("shapes", [((20, 12), (8, 16)), ((30, 40), (40, 30))])
@pytest.mark.parametrize("module", MODULES)
def test_core_space_is_ties_in_the_bases_of_all_factors(module, shapes):
    adapters = random_set(TASKS, RANK, shapes)
    deltas = dense(adapters, module)
    parts = [torch.linalg.svd(x, full_matrices=False) for x in deltas]
    b = torch.cat([x.U[:, :RANK] * x.S[:RANK].sqrt() for x in parts], 1)
    a = torch.cat([x.Vh[:RANK].T * x.S[:RANK].sqrt() for x in parts], 1)
    left, right = (torch.linalg.svd(x, full_matrices=False).U for x in (b, a))
    cores = left.T @ deltas @ right
    merged = elected_mean(torch.stack([kept(x, 0.3) for x in cores]))
    wanted = 0.9 * left @ merged @ right.T
    agree(core_space(adapters, density=0.3, scale=0.9), module, wanted, tolerance=1e-4)


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("rank", [2, 4])
def test_compress_then_merge_is_ties_of_the_cores_of_jd_full(adapters, module, rank):
    merged = jd_full(adapters, rank=rank)
    a, b = merged.modules[module]
    left, right = b.stack[0].double(), a.stack[0].double()
    cores = torch.stack([kept(x, 0.5) for x in b.assignment.double()])
    wanted = left @ elected_mean(cores) @ right
    agree(ctm(adapters, density=0.5, rank=rank), module, wanted, tolerance=1e-4)


@pytest.mark.parametrize("module", MODULES)
def test_doge_descends_by_adam_on_the_dense_objective(module):
    adapters = random_set(TASKS, RANK)
    for adapter in adapters.adapters:
        adapter.factors[module].b.mul_(0.01)  # deltas as small as a trained adapter's
    deltas = dense(adapters, module)
    rows, columns = deltas.shape[1:]
    weights = 0.07 / deltas.flatten(1).norm(dim=1)
    share, size = max(1, min(rows, columns) // TASKS), max(1, min(rows, columns) // 6)
    tops = torch.cat([torch.linalg.svd(x).U[:, :share] for x in deltas], dim=1)
    basis = torch.linalg.svd(tops, full_matrices=False).U[:, :size]
    change = torch.zeros(rows, columns, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([change], lr=1e-4)
    for _ in range(50):
        merged = (weights[:, None, None] * (deltas + change)).sum(0)
        loss = (deltas * (deltas - merged)).sum(2).pow(2).sum()
        (gradient,) = torch.autograd.grad(loss, change)
        change.grad = gradient - basis @ basis.T @ gradient
        adam.step()
    change = change.detach()
    masks = torch.stack([kept(x, 0.3) != 0 for x in deltas])
    wanted = (weights[:, None, None] * masks * (deltas + change)).sum(0)
    agree(doge(adapters, steps=50), module, wanted, tolerance=1e-4)
    unmoved = (weights[:, None, None] * masks * deltas).sum(0)
    agree(doge(adapters, steps=0), module, unmoved)
    assert (wanted - unmoved).norm() > 1e-2 * unmoved.norm()


def test_emr_elects_masks_and_rescales(adapters):
    kept_parts = {}
    for module in MODULES:
        deltas = dense(adapters, module)
        sign = deltas.sum(0).sign()
        agreeing = deltas.sign() == sign
        unified = sign * (deltas.abs() * agreeing).amax(0)
        kept_parts[module] = agreeing * unified
    before = sum(dense(adapters, m).abs().sum((1, 2)) for m in MODULES)
    after = sum(kept_parts[m].abs().sum((1, 2)) for m in MODULES)
    merged = emr(adapters, rank=99)
    for module in MODULES:
        agree(merged, module, (before / after)[:, None, None] * kept_parts[module])


def test_onebit_keeps_signs_in_some_modules_and_merges_the_others(adapters):
    merged = onebit(adapters, modules="layer1$", density=0.4, scale=0.6, rank=99)
    deltas = dense(adapters, "layer1")
    agree(merged, "layer1", deltas.sign() * deltas.abs().mean((1, 2), keepdim=True))
    parts = torch.stack([kept(x, 0.4) for x in dense(adapters, "layer0")])
    agree(merged, "layer0", 0.6 * elected_mean(parts))


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("module", MODULES)
def test_byom_is_the_best_approximation_of_every_delta(adapters, module, rank):
    u, s, vh = torch.linalg.svd(dense(adapters, module), full_matrices=False)
    wanted = (u[:, :, :rank] * s[:, None, :rank]) @ vh[:, :rank]
    agree(byom(adapters, rank=rank), module, wanted)


def error(adapters, merged, module):
    return (found(merged, module) - dense(adapters, module)).pow(2).sum().item()


@pytest.mark.parametrize("rank", [2, 4, 7])
@pytest.mark.parametrize("module", MODULES)
def test_jd_full_ends_where_alternating_eigendecompositions_end(adapters, module, rank):
    """No change of U or V alone helps, and random starts find nothing better."""
    deltas = dense(adapters, module)
    errors = []
    for seed in range(5):
        start = torch.randn(deltas.shape[2], rank, generator=torch.Generator().manual_seed(seed))
        v = torch.linalg.qr(start.double()).Q
        kept, before = 0.0, -1.0
        while kept - before > 1e-9 * kept:
            left = deltas @ v
            u = torch.linalg.eigh((left @ left.mT).sum(0)).eigenvectors[:, -rank:]
            right = deltas.mT @ u
            values, vectors = torch.linalg.eigh((right @ right.mT).sum(0))
            v, before, kept = vectors[:, -rank:], kept, values[-rank:].sum().item()
        errors.append((deltas - u @ u.T @ deltas @ v @ v.T).pow(2).sum().item())
    ours = error(adapters, jd_full(adapters, rank=rank), module)
    assert ours == pytest.approx(min(errors), rel=2e-3)


@pytest.mark.parametrize("rank", [2, 4, 7])
@pytest.mark.parametrize("module", MODULES)
def test_jd_diag_ends_where_no_least_squares_step_helps(adapters, module, rank):
    deltas = dense(adapters, module)
    merged = jd_diag(adapters, rank=rank)
    a, b = merged.modules[module]
    v, u, scales = a.factor(0).double().T, b.stack[0].double(), b.assignment[:, 0].double()
    before = error(adapters, merged, module)
    steps = {
        "trc": (scales, torch.einsum("rk,ck->rck", u, v)),
        "rtc": (u, torch.einsum("tk,ck->tck", scales, v)),
        "crt": (v, torch.einsum("rk,tk->rtk", u, scales)),
    }
    for order, (current, design) in steps.items():
        values = torch.einsum(f"trc->{order}", deltas).flatten(1).T
        matrix = design.flatten(0, 1)
        best = torch.linalg.lstsq(matrix, values).solution
        torch.testing.assert_close((matrix @ current.T - values).pow(2).sum().item(), before)
        assert (matrix @ best - values).pow(2).sum() > before * (1 - 1e-3)


def test_jd_diag_recovers_what_it_can_represent():
    generator = torch.Generator().manual_seed(1)
    adapters = random_set(TASKS, RANK, ((20, 12),))
    u, v = (torch.randn(n, RANK, generator=generator) for n in (20, 12))
    for adapter in adapters.adapters:
        a, b = adapter.factors["layer0"]
        a.copy_(torch.randn(RANK, 1, generator=generator) * v.T)
        b.copy_(u)
    assert (
        error(adapters, jd_diag(adapters), "layer0") < 1e-3 * dense(adapters, "layer0").pow(2).sum()
    )


@pytest.mark.parametrize("threshold", [None, 0.0])
def test_kmerge_joins_the_most_similar_slot_as_adapters_arrive(threshold):
    adapters = random_set(9, spread=1.0)
    cosine = torch.nn.CosineSimilarity(dim=0)
    order = [{m: delta(x.factors[m]) for m in MODULES} for x in adapters.adapters]
    slots, members, labels = [], [], []
    for new in order:
        alike = [sum(cosine(new[m].flatten(), s[m].flatten()) for m in MODULES) / 2 for s in slots]
        if len(slots) < 4 and (threshold is None or not slots or max(alike) < threshold):
            slots.append(new)
            members.append(1)
            labels.append(len(slots) - 1)
            continue
        best = alike.index(max(alike))
        members[best] += 1
        share = 1 / members[best]
        slots[best] = {m: (1 - share) * slots[best][m] + share * new[m] for m in MODULES}
        labels.append(best)
    merged = kmerge(adapters, clusters=4, threshold=threshold, rank=99)
    for module in MODULES:
        wanted = torch.stack([slots[label][module] for label in labels])
        torch.testing.assert_close(found(merged, module), wanted, atol=1e-5, rtol=1e-5)
        assert merged.modules[module][0].assignment.tolist() == labels
    assert (sorted(labels[:4]) == [0, 1, 2, 3]) == (threshold is None)
    assert max(members) > 2
