"""Sparse adapters: the formula, the choice of masks, directories, merging, the command line."""

import json
import math

import pytest
import torch
from conftest import BASE_ID, tiny_llama
from safetensors.torch import load_file, save_file
from test_cli import fails, hydraopt, names, succeeds

from hydraopt.adapters import read_adapter
from hydraopt.errors import AdapterError, BundleError, LoweringError, MergeError, TrainingError
from hydraopt.lowering.static import fixed_sparse
from hydraopt.merging.sparse import merge_sparse, project
from hydraopt.runtime import Session
from hydraopt.training import Schedule, answer_loss, batch, fit, loop
from hydraopt.training.sparse import (
    Masks,
    SparseConfig,
    SparseLinear,
    add_sparse,
    as_blocks,
    from_blocks,
    top_mask,
)
from hydraopt.training.sparse_directory import SparseAdapter, SparseDelta, sparse_adapter

TARGETS = ("q_proj", "up_proj")
ROWS = [([5, 17, i], [30 + i, 257]) for i in range(12)]


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


TENTH = SparseConfig(0.1)


def trained(config=TENTH, steps=40, every=3, batch_size=4):
    """A tiny model, its layers, and their masks before every step."""
    torch.manual_seed(0)
    model = tiny_llama()
    layers = add_sparse(model, TARGETS, config)
    schedule = Schedule(steps, 1e-2, batch_size)

    def loss(rows):
        return answer_loss(model, batch(rows))

    masks = Masks(layers, config, loss, schedule, len(ROWS) // batch_size, every)
    seen = []

    def before_step(step, rows):
        masks.before_step(step, rows)
        seen.append({name: layer.mask.clone() for name, layer in layers.items()})

    state = {f"{name}.delta": layer.delta for name, layer in layers.items()}
    state |= {f"{name}.mask": layer.mask for name, layer in layers.items()}
    fit(state, loss, ROWS, schedule, before_step=before_step)
    return model, layers, seen


def test_a_layer_computes_the_formula():
    torch.manual_seed(0)
    linear = torch.nn.Linear(10, 7)
    layer = SparseLinear(linear)
    x = torch.randn(3, 10)
    assert torch.equal(layer(x), linear(x))
    torch.nn.init.normal_(layer.delta)
    layer.mask.copy_(randn(7, 10) > 1)
    wanted = torch.zeros(3, 7)
    for n in range(3):
        for i in range(7):
            wanted[n, i] = linear.bias[i]
            for j in range(10):
                change = layer.delta[i, j] if layer.mask[i, j] else 0.0
                wanted[n, i] += x[n, j] * (linear.weight[i, j] + change)
    torch.testing.assert_close(layer(x), wanted)


@pytest.mark.parametrize("keep", [0.001, 0.05, 0.1, 1.0])
def test_a_mask_has_exactly_the_top_entries(keep):
    scores = randn(32, 48).abs()
    mask = top_mask(scores, SparseConfig(keep))
    assert mask.sum() == max(1, round(keep * 32 * 48))
    assert keep == 1 or scores[mask].min() >= scores[~mask].max()
    assert top_mask(torch.zeros(32, 48), SparseConfig(keep)).sum() == mask.sum()


def test_a_block_mask_has_exactly_the_top_blocks():
    scores = randn(32, 48).abs()
    mask = top_mask(scores, SparseConfig(0.34, block=True))
    sums = {
        (i, j): scores[16 * i : 16 * i + 16, 16 * j : 16 * j + 16].sum().item()
        for i in range(2)
        for j in range(3)
    }
    wanted = torch.zeros_like(mask)
    for i, j in sorted(sums, key=sums.get)[-2:]:
        wanted[16 * i : 16 * i + 16, 16 * j : 16 * j + 16] = True
    assert torch.equal(mask, wanted)
    assert torch.equal(from_blocks(as_blocks(scores)), scores)


def test_masks_are_the_top_of_the_sensitivity():
    """At first of the gradient alone; later of |D * dL/dD|, with M = 1."""
    torch.manual_seed(0)
    model, config = tiny_llama(), SparseConfig(0.05)
    layers = add_sparse(model, TARGETS, config)
    weights = {name: layer.linear.weight for name, layer in layers.items()}

    def loss(rows):
        return answer_loss(model, batch(rows))

    masks = Masks(layers, config, loss, Schedule(1, 1e-3), epoch=9)
    for scale in (0.0, 1.0):
        for layer in layers.values():
            layer.delta.data.copy_(scale * (0.01 + randn(*layer.delta.shape).abs()))
        masks.before_step(0, ROWS)
        plain = tiny_llama()  # dL/dD at M = 1 is the gradient of the weight W + D
        for name, layer in layers.items():
            plain.get_submodule(name).weight.data.copy_(weights[name] + layer.delta)
        answer_loss(plain, batch(ROWS)).backward()
        for name, layer in layers.items():
            gradient = plain.get_submodule(name).weight.grad.abs()
            scores = gradient * layer.delta.detach().abs() if scale else gradient
            count = round(0.05 * scores.numel())
            assert set(layer.mask.flatten().nonzero()[:, 0].tolist()) == set(
                scores.flatten().topk(count).indices.tolist()
            )


def test_masks_change_in_the_first_epoch_only_and_have_the_exact_size():
    _, layers, seen = trained(SparseConfig(0.1), every=2)  # an epoch has 3 steps
    for name, layer in layers.items():
        masks = [step[name] for step in seen]
        assert all(mask.sum() == round(0.1 * mask.numel()) for mask in masks)
        assert torch.equal(masks[0], masks[1])
        assert not torch.equal(masks[1], masks[2])
        assert all(torch.equal(masks[2], later) for later in masks[3:])
        assert torch.equal(masks[2], layer.mask)


@pytest.mark.parametrize("block", [False, True])
def test_only_what_the_masks_keep_is_trained(block):
    config = SparseConfig(0.1, block)
    model, layers, _ = trained(config, every=100)
    plain = tiny_llama()
    for name, parameter in plain.named_parameters():
        module = name.removesuffix(".weight")
        own = layers[module].linear.weight if module in layers else model.get_parameter(name)
        assert torch.equal(own, parameter)
        assert own.requires_grad is False
    for layer in layers.values():
        assert not layer.delta[~layer.mask].any()
        assert layer.delta[layer.mask].count_nonzero() > 0.9 * layer.mask.sum()
    assert answer_loss(model, batch(ROWS)) < 0.98 * answer_loss(plain, batch(ROWS))


@pytest.mark.parametrize("block", [False, True])
def test_a_directory_reads_back_what_was_trained(tmp_path, block):
    model, layers, _ = trained(SparseConfig(0.1, block))
    adapter = sparse_adapter(layers, BASE_ID, "one", {"keep": 0.1}, block=block)
    adapter.save(tmp_path / "one")
    loaded = SparseAdapter.load(tmp_path / "one")
    assert (loaded.base_model, loaded.tasks, loaded.settings) == (BASE_ID, ("one",), {"keep": 0.1})
    for name, layer in layers.items():
        wanted = (layer.delta * layer.mask).half().float()
        assert torch.equal(loaded.modules[name].dense(), wanted)
    bare = tiny_llama()
    fixed_sparse(loaded).apply(bare)
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
    with pytest.raises(BundleError, match="is missing or damaged or does not fit"):
        SparseAdapter.load(saved)


def test_a_truncated_file_and_a_wrong_description_are_refused(saved):
    path, about = saved / "sparse.safetensors", saved / "sparse.json"
    whole, text = path.read_bytes(), about.read_text()
    for change in ({"shapes": {}}, {"tasks": ["../x"]}, {"shapes": {"m": [2, 2]}}, {"tasks": 3}):
        about.write_text(json.dumps(json.loads(text) | change))
        with pytest.raises(BundleError, match="does not fit"):
            SparseAdapter.load(saved)
    about.write_text(text)
    path.write_bytes(whole[:-3])
    with pytest.raises(BundleError, match="is missing or damaged"):
        SparseAdapter.load(saved)
    about.write_text(json.dumps(json.loads(text) | {"format_version": 2}))
    with pytest.raises(BundleError, match="format version 2, expected 1"):
        SparseAdapter.load(saved)


def sparse_set(*names, block=False, shape=(32, 48)):
    adapters = []
    for seed, name in enumerate(names):
        dense = randn(*shape, seed=seed)
        mask = top_mask(dense.abs(), SparseConfig(0.4, block))
        adapters.append(
            SparseAdapter(BASE_ID, (name,), {"m": SparseDelta.of(dense, mask, block=block)})
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


@pytest.mark.parametrize("keep", [0, -0.1, 1.5, float("nan")])
def test_a_share_that_cannot_be_meant_is_refused(keep):
    with pytest.raises(TrainingError, match=f"keep is {keep}, expected above 0 and at most 1"):
        SparseConfig(keep)


def test_blocks_must_fill_a_layer():
    model = torch.nn.ModuleDict({"odd": torch.nn.Linear(20, 32)})
    with pytest.raises(TrainingError, match=r"odd is \(32, 20\) .* expected multiples of 16"):
        add_sparse(model, ["odd"], SparseConfig(0.1, block=True))
    add_sparse(model, ["odd"], SparseConfig(0.1))


def test_another_base_is_refused():
    (adapter,) = sparse_set("a")
    wrong = SparseAdapter(BASE_ID, ("a",), {"model.layers.0.mlp.up_proj": adapter.modules["m"]})
    with pytest.raises(LoweringError, match=r"expected \(32, 48\) as in the adapters"):
        fixed_sparse(wrong).apply(tiny_llama())


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text(
        "\n".join(json.dumps({"prompt": f"p{i}", "answer": f"{i}"}) for i in range(200))
    )
    return path


def command(base, data, out, *more):
    train = ("train", "sparse", "--base", base, "--data", data, "-o", out)
    return (*train, "--steps", 60, "--batch", 4, "--rate", 0.01, *more, "--json")


def test_a_resumed_training_ends_with_the_same_masks_and_values(base, data, tmp_path, monkeypatch):
    record = json.loads(succeeds(*command(base, data, tmp_path / "a" / "t")))
    assert (record["tasks"], record["modules"]) == (["t"], 3)
    assert record["values"] == round(0.05 * 64 * 64) + 2 * round(0.05 * 32 * 64)
    look = loop._Run.look

    def interrupting(run, judged):
        if run.step == 60:
            raise KeyboardInterrupt
        look(run, judged)

    monkeypatch.setattr(loop._Run, "look", interrupting)
    assert hydraopt(*command(base, data, tmp_path / "b" / "t")).code == 130
    monkeypatch.undo()
    resumed = json.loads(succeeds(*command(base, data, tmp_path / "b" / "t", "--resume")))
    assert resumed == record
    assert names(tmp_path / "b") == {"t"}
    files = [tmp_path / part / "t" / "sparse.safetensors" for part in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_adapters_are_merged_and_projected(base, data, tmp_path):
    for name in ("one", "two"):
        seed = ("--seed", 1) if name == "two" else ()
        succeeds(*command(base, data, tmp_path / name, "--block", "--keep", 0.2, *seed))
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
    assert "it is a sparse adapter" in fails("merge", tmp_path / "one", "-o", tmp_path / "x")


def test_mistakes_are_one_line(base, data, tmp_path):
    for more, message in [
        (("--keep", 0), "keep is 0.0, expected above 0 and at most 1"),
        (("--targets", "query"), "'query' is no layer of the base model; there are: down_proj"),
        (("--resume",), "there is no checkpoint"),
        (("--base", tmp_path), "cannot load base model"),
    ]:
        error = fails(*command(base, data, tmp_path / "out", *more))
        assert message in error
        assert error.count("\n") == 1
    assert names(tmp_path) == {"data.jsonl"}
    assert "names the task" in fails(*command(base, data, tmp_path / "a b"))


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_weights(base, data, tmp_path):
    error = fails(*command(base, data, tmp_path / "out", "--rate", "1e30"))
    assert "error: step " in error
    assert "they are in " in error
    SparseAdapter.load(tmp_path / "out")


@pytest.mark.slow
def test_a_sparse_adapter_is_baked_into_the_program(base, tmp_path):
    model, layers, _ = trained()
    adapter = sparse_adapter(layers, BASE_ID, "one", {}, block=False)
    adapter.save(tmp_path / "one")
    record = json.loads(
        succeeds("export", tmp_path / "one", "--base", base, "-o", tmp_path / "b", "--json")
    )
    assert (record["swap"], record["tasks"], record["constant_factor_bytes"]) == (
        *("static", ["one"], 0),
    )
    session = Session.open(tmp_path / "b")
    session.switch("one")
    bare = tiny_llama()
    fixed_sparse(SparseAdapter.load(tmp_path / "one")).apply(bare)
    with torch.no_grad():
        wanted = bare(torch.tensor([[5, 17, 99]])).logits[0, -1]
        trained_logits = model(torch.tensor([[5, 17, 99]])).logits[0, -1]
    found = session.forward([5, 17, 99])
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)
    torch.testing.assert_close(found, trained_logits, atol=1e-3, rtol=0)
