"""What holds for all data-free methods: invariances, trivial merges, ranks."""

from unittest import TestCase

import pytest
import torch
from conftest import BASE_ID, delta, random_set
from llama_data import QUICK
from safetensors.torch import load_file, save_file
from sealed_files import reseal

from hydraopt.adapters import AdapterSet, LoraAdapter
from hydraopt.errors import BundleError, MergeError
from hydraopt.factors import Factors
from hydraopt.merging import METHODS, merge_with
from hydraopt.stored import MergedAdapters

TASKS = 6
DATA_FREE = [name for name, method in METHODS.items() if method.needs == "nothing"]
# settings under which a method gives back an adapter that is merged alone
IDENTITY = {
    "hydraopt": {},
    "average": {},
    "task-arithmetic": {"scale": 1.0},
    "ties": {"density": 1.0},
    "dare": {"density": 1.0, "scale": 1.0},
    "dare-ties": {"density": 1.0},
    "knots": {"density": 1.0},
    "tsv-merge": {"keep": 3},
    "core-space": {"density": 1.0},
    "ctm": {"density": 1.0},
    "emr": {},
    "byom": {"rank": 3},
    "jd-full": {},
    "jd-diag": {},
    "kmerge": {"clusters": 1},
}


def deltas(merged):
    """Every task's and module's delta by name, float64."""
    return {
        (task, module): delta(merged.factors(task, module))
        for task in merged.tasks
        for module in merged.modules
    }


def assert_same(first, second, tolerance=1e-4):
    first, second = deltas(first), deltas(second)
    assert first.keys() == second.keys()
    for key, wanted in first.items():
        assert (second[key] - wanted).norm() <= tolerance * wanted.norm(), key


def merge(method, adapters, **settings):
    """With few steps, if the method takes any."""
    return merge_with(method, adapters, **(QUICK.get(method, {}) | settings))


def renamed(adapters, change):
    """The same adapters with ``change(factors)`` in every module."""
    return AdapterSet(
        LoraAdapter(x.name, x.base_model, {m: change(f) for m, f in x.factors.items()})
        for x in adapters.adapters
    )


@pytest.mark.parametrize("method", DATA_FREE)
def test_the_gauge_of_a_and_b_does_not_matter(method):
    """``(B G)(G⁻¹ A)`` is the same adapter for every invertible G: deltas are merged."""
    generator = torch.Generator().manual_seed(7)

    def regauge(factors):
        gauge = torch.randn(3, 3, generator=generator) + 3 * torch.eye(3)
        return Factors(torch.linalg.solve(gauge, factors.a), factors.b @ gauge)

    adapters = random_set(TASKS)
    assert_same(merge(method, adapters), merge(method, renamed(adapters, regauge)))


@pytest.mark.parametrize("method", sorted({*DATA_FREE} - {"kmerge"}))
def test_the_order_of_the_tasks_does_not_matter(method):
    adapters = random_set(TASKS)
    shuffled = AdapterSet(adapters.adapters[i] for i in (4, 1, 5, 0, 2, 3))
    first, second = merge(method, adapters), merge(method, shuffled)
    assert second.tasks == shuffled.tasks
    assert_same(first, second)


@pytest.mark.parametrize("method", IDENTITY)
def test_an_adapter_that_is_merged_alone_comes_back(method):
    adapters = random_set(1)
    assert_same(METHODS["hydraopt"].function(adapters), merge(method, adapters, **IDENTITY[method]))


@pytest.mark.parametrize("method", IDENTITY)
def test_copies_of_an_adapter_merge_to_that_adapter(method):
    adapter = random_set(1).adapters[0]
    copies = AdapterSet(LoraAdapter(f"copy{i}", BASE_ID, adapter.factors) for i in range(4))
    settings = dict(IDENTITY[method])
    if method in ("task-arithmetic", "dare"):
        settings["scale"] = 0.25
    merged = merge(method, copies, **settings)
    for (_, module), found in deltas(merged).items():
        torch.testing.assert_close(found, delta(adapter.factors[module]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("method", sorted({*DATA_FREE} - {"kmerge"}))
def test_unequal_ranks_and_an_absent_module_is_a_zero_delta(method):
    """K-Merge alone tells them apart: it compares adapters in the modules that both have."""
    common = random_set(4).adapters
    small = random_set(1, rank=2, seed=5).adapters[0].factors
    blank = {"layer1": Factors(torch.ones(2, 16), torch.zeros(8, 2))}
    sets = [
        AdapterSet([*common, LoraAdapter("small", BASE_ID, {"layer0": small["layer0"], **other})])
        for other in ({}, blank)
    ]
    absent, zero = (merge(method, adapters) for adapters in sets)
    assert_same(absent, zero)


@pytest.mark.parametrize("method", DATA_FREE)
def test_unequal_targets_are_saved_and_loaded(method, tmp_path):
    adapters = AdapterSet(
        [
            LoraAdapter("both", BASE_ID, random_set(1).adapters[0].factors),
            LoraAdapter(
                "first", BASE_ID, {"layer0": random_set(1, rank=5).adapters[0].factors["layer0"]}
            ),
            LoraAdapter("zero", BASE_ID, {"layer1": Factors(torch.ones(1, 16), torch.zeros(8, 1))}),
        ]
    )
    merged = merge(method, adapters)
    merged.save(tmp_path / "m")
    assert merged.stored_bytes == (tmp_path / "m" / "merged.safetensors").stat().st_size
    loaded = MergedAdapters.load(tmp_path / "m")
    assert loaded.describe() == merged.describe()
    assert_same(merged, loaded, tolerance=5e-3)
    if METHODS[method].per_task:
        assert delta(loaded.factors("zero", "layer0")).abs().max() < 1e-3 or method == "kmerge"


@pytest.mark.parametrize("method", ["jd-full", "jd-diag"])
def test_cores_that_do_not_fit_the_tasks_or_the_basis_are_refused(method, tmp_path):
    merge(method, random_set(TASKS), rank=3).save(tmp_path / "m")
    stored = load_file(tmp_path / "m" / "merged.safetensors")
    assert stored["layer0.B.of"].shape == (TASKS, 3 if method == "jd-full" else 1, 3)
    for damaged in (stored["layer0.B.of"][1:], stored["layer0.B.of"][:, :, 1:]):
        tensors = stored | {"layer0.B.of": damaged.contiguous()}
        save_file(tensors, tmp_path / "m" / "merged.safetensors")
        reseal(tmp_path / "m" / "adapters.json")
        with pytest.raises(BundleError, match=r"layer0\.B does not fit 6 tasks"):
            MergedAdapters.load(tmp_path / "m")


@pytest.mark.parametrize("method", DATA_FREE)
def test_one_model_means_one_a_and_one_b(method):
    merged = merge(method, random_set(TASKS))
    shared = all(side.is_shared for sides in merged.modules.values() for side in sides)
    assert shared is not METHODS[method].per_task


@pytest.mark.parametrize("method", [m for m in DATA_FREE if "rank" in METHODS[m].options])
def test_a_rank_is_kept_and_below_1_refused(method):
    adapters = random_set(TASKS)
    merged = merge(method, adapters, rank=2)
    for a, b in merged.modules.values():
        assert a.stack.shape[1] == b.stack.shape[2] == 2
    with pytest.raises(MergeError, match="rank is 0, expected at least 1"):
        merge(method, adapters, rank=0)


@pytest.mark.parametrize(
    ("method", "rank"), [("ties", 4), ("ties", 5), ("emr", 2), ("task-arithmetic", 4), ("byom", 1)]
)
def test_the_projection_is_the_best_and_its_error_is_reported(method, rank):
    adapters = random_set(TASKS)
    with TestCase().assertLogs("hydraopt", "INFO") as log:
        merged = merge(method, adapters, rank=rank)
    whole = deltas(merge(method, adapters, rank=99))
    cut = deltas(merged)
    if not METHODS[method].per_task:
        whole, cut = ({k: v for k, v in x.items() if k[0] == "task0"} for x in (whole, cut))
    lost = sum(torch.linalg.svdvals(x)[rank:].pow(2).sum() for x in whole.values())
    assert sum((whole[k] - cut[k]).pow(2).sum() for k in cut).item() == pytest.approx(
        lost.item(), rel=1e-3
    )
    energy = sum(x.pow(2).sum() for x in whole.values())
    if method != "emr":  # it reports the error before it rescales the tasks
        wanted = (lost / energy).sqrt().item()
        assert merged.settings["projection_error"] == pytest.approx(wanted, abs=1e-3)
    error = f"{merged.settings['projection_error']:.4f}"
    assert any(error in line for line in log.output)


def test_a_large_dense_result_is_projected_at_random_but_near_the_best():
    adapters = random_set(TASKS, shapes=((90, 120),))
    whole = deltas(merge_with("ties", adapters, rank=90))["task0", "layer0"]
    first, second = (merge_with("ties", adapters, rank=12) for _ in range(2))
    error = (deltas(first)["task0", "layer0"] - whole).norm()
    best = torch.linalg.svdvals(whole)[12:].norm()
    assert best <= error < 1.02 * best
    assert first.settings["projection_error"] == pytest.approx(
        (error / whole.norm()).item(), abs=1e-3
    )
    assert_same(first, second, tolerance=0)
