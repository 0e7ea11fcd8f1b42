"""Data-free methods in subspaces of all tasks against their formulas on dense deltas."""

import pytest
import torch
from conftest import random_set
from formulas import MODULES, RANK, TASKS, agree, dense, elected_mean, kept

from hydraopt.merging.core_space import core_space
from hydraopt.merging.ctm import ctm
from hydraopt.merging.iso_c import iso_c
from hydraopt.merging.iso_cts import iso_cts
from hydraopt.merging.jd_full import jd_full
from hydraopt.merging.knots import knots
from hydraopt.merging.tsv_merge import tsv_merge


@pytest.fixture(scope="module")
def adapters():
    return random_set(TASKS, RANK)


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
