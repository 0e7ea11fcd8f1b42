"""Sparse adapters: the formula, the choice of masks, what is trained, the command."""

import json

import pytest
import torch
from command_line import fails, hydraopt, names, succeeds
from conftest import tiny_llama
from trained_llama import (
    ROWS,
    SPARSE_TARGETS,
    randn,
    sparse_command,
    trained_sparse,
    write_examples,
)

from hydraopt.errors import TrainingError
from hydraopt.sparse import SparseAdapter, as_blocks, from_blocks
from hydraopt.training import Schedule, answer_loss, batch, loop
from hydraopt.training.sparse import Masks, SparseConfig, SparseLinear, add_sparse, top_mask


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
    layers = add_sparse(model, SPARSE_TARGETS, config)
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
    _, layers, seen = trained_sparse(SparseConfig(0.1), every=2)  # an epoch has 3 steps
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
    model, layers, _ = trained_sparse(config, every=100)
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


@pytest.mark.parametrize("keep", [0, -0.1, 1.5, float("nan")])
def test_a_share_that_cannot_be_meant_is_refused(keep):
    with pytest.raises(TrainingError, match=f"keep is {keep}, expected above 0 and at most 1"):
        SparseConfig(keep)


def test_blocks_must_fill_a_layer():
    model = torch.nn.ModuleDict({"odd": torch.nn.Linear(20, 32)})
    with pytest.raises(TrainingError, match=r"odd is \(32, 20\) .* expected multiples of 16"):
        add_sparse(model, ["odd"], SparseConfig(0.1, block=True))
    add_sparse(model, ["odd"], SparseConfig(0.1))


@pytest.fixture
def data(tmp_path):
    return write_examples(tmp_path)


def test_a_resumed_training_ends_with_the_same_masks_and_values(base, data, tmp_path, monkeypatch):
    record = json.loads(succeeds(*sparse_command(base, data, tmp_path / "a" / "t")))
    assert (record["tasks"], record["modules"]) == (["t"], 3)
    assert record["values"] == round(0.05 * 64 * 64) + 2 * round(0.05 * 32 * 64)
    evaluate = loop._TrainingState.evaluate

    def interrupting(run, held_out):
        if run.step == 60:
            raise KeyboardInterrupt
        evaluate(run, held_out)

    monkeypatch.setattr(loop._TrainingState, "evaluate", interrupting)
    assert hydraopt(*sparse_command(base, data, tmp_path / "b" / "t")).code == 130
    monkeypatch.undo()
    resumed = json.loads(succeeds(*sparse_command(base, data, tmp_path / "b" / "t", "--resume")))
    assert resumed == record
    assert names(tmp_path / "b") == {"t"}
    files = [tmp_path / part / "t" / "sparse.safetensors" for part in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_mistakes_are_one_line(base, data, tmp_path):
    for more, message in [
        (("--keep", 0), "keep is 0.0, expected above 0 and at most 1"),
        (
            ("--targets", "query"),
            "'query' matches no layer of the base; its linear layers: down_proj",
        ),
        (("--resume",), "there is no checkpoint"),
        (("--base", tmp_path), "cannot load base model"),
    ]:
        error = fails(*sparse_command(base, data, tmp_path / "out", *more))
        assert message in error
        assert error.count("\n") == 1
    assert names(tmp_path) == {"data.jsonl"}
    assert "names the task" in fails(*sparse_command(base, data, tmp_path / "a b"))


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_weights(base, data, tmp_path):
    error = fails(*sparse_command(base, data, tmp_path / "out", "--rate", "1e30"))
    assert "error: step " in error
    assert "the weights are in " in error
    SparseAdapter.load(tmp_path / "out")
