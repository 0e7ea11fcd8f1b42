"""The other data-free methods against a direct evaluation of their formulas on dense deltas."""

import math

import pytest
import torch
from conftest import delta, random_set
from formulas import MODULES, RANK, TASKS, agree, dense, elected_mean, found, kept

from hydraopt.merging.byom import byom
from hydraopt.merging.dare import dare, dare_ties
from hydraopt.merging.doge import doge
from hydraopt.merging.emr import emr
from hydraopt.merging.jd_diag import jd_diag
from hydraopt.merging.jd_full import jd_full
from hydraopt.merging.kmerge import kmerge
from hydraopt.merging.onebit import onebit
from hydraopt.merging.task_arithmetic import task_arithmetic
from hydraopt.merging.ties import ties


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
