"""Trained sparse adapters: directories, merging, projection to LoRA, in the program."""

import json
import math

import pytest
import torch
from command_line import fails, succeeds
from conftest import BASE_ID, tiny_llama
from safetensors.torch import load_file, save_file
from sealed_files import reseal
from trained_llama import randn, sparse_command, trained_sparse, write_examples

from hydraopt.adapters import read_adapter
from hydraopt.errors import AdapterError, BundleError, LoweringError, MergeError
from hydraopt.lowering.static import static_sparse
from hydraopt.merging.sparse import merge_sparse, project
from hydraopt.runtime import Session
from hydraopt.sparse import SparseAdapter, SparseDelta
from hydraopt.training.sparse import SparseConfig, sparse_adapter, top_mask


@pytest.mark.parametrize("block", [False, True])
def test_a_directory_reads_back_what_was_trained(tmp_path, block):
    model, layers, _ = trained_sparse(SparseConfig(0.1, block))
    adapter = sparse_adapter(layers, BASE_ID, "one", {"keep": 0.1}, block=block)
    adapter.save(tmp_path / "one")
    loaded = SparseAdapter.load(tmp_path / "one")
    assert (loaded.base_model, loaded.tasks, loaded.settings) == (BASE_ID, ("one",), {"keep": 0.1})
    for name, layer in layers.items():
        wanted = (layer.delta * layer.mask).half().float()
        assert torch.equal(loaded.modules[name].dense(), wanted)
    bare = tiny_llama()
    static_sparse(loaded).apply(bare)
    ids = torch.tensor([[5, 17, 99]])
    torch.testing.assert_close(bare(ids).logits, model(ids).logits, atol=1e-3, rtol=0)
    stored = load_file(tmp_path / "one" / "sparse.safetensors")
    count = sum(round(0.1 * x.mask.numel() / 256) for x in layers.values()) if block else None
    wanted = count * (2 + 512) if block else 4 * adapter.values
    assert sum(tensor.nbytes for tensor in stored.values()) == adapter.stored_bytes == wanted


def test_large_weights_have_long_indices(tmp_path):
    delta = SparseDelta((300, 200), torch.tensor([0, 59_999]), torch.tensor([1.0, 2.0]))
    SparseAdapter(BASE_ID, ("t",), {"m": delta}).save(tmp_path / "x")
    assert load_file(tmp_path / "x" / "sparse.safetensors")["m.index"].dtype == torch.int32
    assert SparseAdapter.load(tmp_path / "x").modules["m"].dense()[299, 199] == 2


@pytest.fixture
def saved(tmp_path):
    delta = SparseDelta((32, 16), torch.tensor([3, 9, 200]), torch.tensor([1.0, -2.0, 0.5]))
    SparseAdapter(BASE_ID, ("t",), {"m": delta}).save(tmp_path / "t")
    return tmp_path / "t"


@pytest.mark.parametrize(
    "change",
    [
        {"m.index": torch.tensor([9, 3, 200], dtype=torch.int16)},
        {"m.index": torch.tensor([3, 9, 512], dtype=torch.int16)},
        {"m.index": torch.tensor([-1, 9, 200], dtype=torch.int16)},
        {"m.values": torch.ones(2, dtype=torch.float16)},
        {"m.values": torch.tensor([1.0, float("nan"), 1.0]).half()},
    ],
)
def test_damaged_weights_are_refused(saved, change):
    path = saved / "sparse.safetensors"
    save_file(load_file(path) | change, path)
    with pytest.raises(BundleError, match="is damaged or from another directory"):
        SparseAdapter.load(saved)
    reseal(saved / "sparse.json")
    with pytest.raises(BundleError, match="is missing or damaged or does not fit"):
        SparseAdapter.load(saved)


def test_a_truncated_file_and_a_wrong_description_are_refused(saved):
    path, about = saved / "sparse.safetensors", saved / "sparse.json"
    whole, text = path.read_bytes(), about.read_text()
    for change, message in [
        ({"shapes": {}}, "shapes must"),
        ({"tasks": ["../x"]}, "must match pattern"),
        ({"tasks": 3}, "tasks must be array"),
        ({"shapes": {"m": [2, 2]}}, "does not fit"),
    ]:
        reseal(about, **change)
        with pytest.raises(BundleError, match=message):
            SparseAdapter.load(saved)
        about.write_text(text)
    path.write_bytes(whole[:-3])
    reseal(about)
    with pytest.raises(BundleError, match="is missing or damaged"):
        SparseAdapter.load(saved)
    about.write_text(json.dumps(json.loads(text) | {"format_version": 3}))
    with pytest.raises(BundleError, match="format version 3, expected 2"):
        SparseAdapter.load(saved)


def sparse_set(*names, block=False, shape=(32, 48)):
    adapters = []
    for seed, name in enumerate(names):
        dense = randn(*shape, seed=seed)
        mask = top_mask(dense.abs(), SparseConfig(0.4, block))
        adapters.append(
            SparseAdapter(BASE_ID, (name,), {"m": SparseDelta.from_dense(dense, mask, block=block)})
        )
    return adapters


@pytest.mark.parametrize("block", [False, True])
def test_merging_is_the_mean_over_those_that_change_an_entry(block):
    adapters = sparse_set("a", "b", "c", block=block)
    dense = [adapter.modules["m"].dense() for adapter in adapters]
    merged = merge_sparse(adapters, alpha=0.5)
    found = merged.modules["m"].dense()
    for i in range(32):
        for j in range(48):
            values = [x[i, j].item() for x in dense if x[i, j] != 0]
            wanted = 0.5 * sum(values) / max(1, len(values))
            assert math.isclose(found[i, j].item(), wanted, rel_tol=1e-5, abs_tol=1e-7)
    assert merged.tasks == ("a", "b", "c")
    assert merged.modules["m"].block == block


def test_merging_one_adapter_changes_nothing():
    (adapter,) = sparse_set("a")
    merged = merge_sparse([adapter])
    assert torch.equal(merged.modules["m"].dense(), adapter.modules["m"].dense())
    assert merged.values == adapter.values


def test_a_module_that_some_lack_counts_for_those_that_have_it():
    one, two = sparse_set("a", "b")
    two = SparseAdapter(BASE_ID, ("b",), {"other": two.modules["m"]})
    merged = merge_sparse([one, two])
    assert torch.equal(merged.modules["m"].dense(), one.modules["m"].dense())
    assert torch.equal(merged.modules["other"].dense(), two.modules["other"].dense())


def test_what_does_not_belong_together_is_not_merged():
    one, two = sparse_set("a", "b")
    (small,) = sparse_set("c", shape=(16, 16))
    foreign = SparseAdapter("other/base", ("d",), two.modules)
    for adapters, message in [
        ([], "no sparse adapters given"),
        ([one, one], "task 'a' occurs 2 times"),
        ([one, foreign], "base models other/base, tests/tiny-llama"),
        ([one, small], r"m has shapes \[\(16, 16\), \(32, 48\)\], expected one"),
    ]:
        with pytest.raises(AdapterError, match=message):
            merge_sparse(adapters)
    with pytest.raises(MergeError, match="alpha is nan"):
        merge_sparse([one, two], alpha=float("nan"))


@pytest.mark.parametrize("rank", [1, 8, 99])
def test_a_projection_is_the_best_of_its_rank_and_tells_its_error(rank):
    (adapter,) = sparse_set("a")
    dense = adapter.modules["m"].dense()
    factors, error = project(adapter, rank)
    a, b = factors["m"]
    values = torch.linalg.svdvals(dense.double())
    wanted = (values[rank:].pow(2).sum() / values.pow(2).sum()).sqrt().item()
    assert len(a) == min(rank, 32)
    assert error == pytest.approx(wanted, abs=1e-3)
    assert ((b @ a - dense).norm() / dense.norm()).item() == pytest.approx(wanted, abs=1e-3)
    with pytest.raises(MergeError, match="rank is 0, expected at least 1"):
        project(adapter, 0)


def test_adapters_are_merged_and_projected(base, tmp_path):
    data = write_examples(tmp_path)
    for name in ("one", "two"):
        seed = ("--seed", 1) if name == "two" else ()
        succeeds(*sparse_command(base, data, tmp_path / name, "--block", "--keep", 0.2, *seed))
    merge = ("sparse", "merge", tmp_path / "one", tmp_path / "two", "-o", tmp_path / "both")
    record = json.loads(succeeds(*merge, "--json"))
    assert record["tasks"] == ["one", "two"]
    assert "exists already" in fails(*merge)
    assert "share of weights" in succeeds("info", tmp_path / "both")
    project = ("sparse", "project", tmp_path / "one", "--rank", 4, "-o", tmp_path / "lora")
    record = json.loads(succeeds(*project, "--json"))
    assert 0 < record["projection_error"] < 1
    assert record["ranks"] == [4]
    assert read_adapter(tmp_path / "lora").base_model == str(base)
    assert "it is a sparse adapter" in fails("compress", tmp_path / "one", "-o", tmp_path / "x")


def test_another_base_is_refused():
    (adapter,) = sparse_set("a")
    wrong = SparseAdapter(BASE_ID, ("a",), {"model.layers.0.mlp.up_proj": adapter.modules["m"]})
    with pytest.raises(LoweringError, match=r"expected \(32, 48\) as in the adapters"):
        static_sparse(wrong).apply(tiny_llama())


@pytest.mark.slow
def test_a_sparse_adapter_is_baked_into_the_program(base, tmp_path):
    model, layers, _ = trained_sparse()
    adapter = sparse_adapter(layers, BASE_ID, "one", {}, block=False)
    adapter.save(tmp_path / "one")
    record = json.loads(
        succeeds(
            "export",
            tmp_path / "one",
            "--base",
            base,
            "-o",
            tmp_path / "b",
            "--json",
            "--quantize",
            "none",
        )
    )
    assert (record["swap"], record["tasks"], record["constant_factor_bytes"]) == (
        *("static", ["one"], 0),
    )
    session = Session.open(tmp_path / "b")
    session.switch("one")
    bare = tiny_llama()
    static_sparse(SparseAdapter.load(tmp_path / "one")).apply(bare)
    with torch.no_grad():
        wanted = bare(torch.tensor([[5, 17, 99]])).logits[0, -1]
        trained_logits = model(torch.tensor([[5, 17, 99]])).logits[0, -1]
    found = session.forward([5, 17, 99])
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)
    torch.testing.assert_close(found, trained_logits, atol=1e-3, rtol=0)
