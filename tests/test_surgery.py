"""Representation Surgery against its formula, in PyTorch and lowered."""

import pytest
import torch
from conftest import FLOAT32, delta
from llama_data import SHAPES, data_of, descend, llama_set
from unlowered import Unlowered

from hydraopt.errors import MergeError
from hydraopt.evaluation import adapted
from hydraopt.lowering.bundle import export_bundle
from hydraopt.merging import merge_with
from hydraopt.merging.surgery import surgery
from hydraopt.runtime import Session
from hydraopt.stored import MergedAdapters


def head_inputs(model, factors, ids):
    """The final hidden states ``[positions, d]`` of one text."""
    with adapted(model, factors), torch.no_grad():
        return model(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0]


def surgery_features(data, adapter, merged):
    """Merged and own features where the own adapter's greedy continuations are predicted."""
    pairs, prompts = [], [list(prompt.encode()) for prompt, _ in data.examples[adapter.name]]
    length = {"max_new_tokens": 32 - max(map(len, prompts))}  # all positions of the tiny Llama
    for ids in prompts:
        with adapted(data.model, adapter.factors):
            whole = data.model.generate(torch.tensor([ids]), do_sample=False, **length)[0].tolist()
        chosen = slice(len(ids) - 1, len(whole) - 1)
        pairs.append(
            [
                head_inputs(data.model, factors, whole)[chosen]
                for factors in (merged.task_factors(adapter.name), adapter.factors)
            ]
        )
    return [torch.cat(x) for x in zip(*pairs, strict=True)]


@pytest.mark.parametrize("after", ["task-arithmetic", "emr"])
def test_surgery_descends_on_the_distance_to_the_features_of_the_adapters(after):
    adapters = llama_set(2)
    data = data_of(adapters)
    plain = merge_with(after, adapters)
    merged = surgery(adapters, data, after=after, steps=4, rate=0.01, batch=99, width=5)
    start, _ = surgery(adapters, data, after=after, steps=1, rate=1e-9, width=5).factors(
        "task0", "lm_head.surgery"
    )
    for adapter in adapters.adapters:
        found, wanted = surgery_features(data, adapter, plain)

        def loss(w, found=found, wanted=wanted):
            down, up = w.split(5)
            return (found - (found @ down.T).relu() @ up - wanted).abs().mean()

        w = descend(torch.cat([start, torch.zeros(5, 64)]), lambda w: w, loss, steps=4, rate=0.01)
        a, b = merged.factors(adapter.name, "lm_head.surgery")
        torch.testing.assert_close(-b @ a, w[5:].T @ w[:5], atol=1e-4, rtol=2e-2)
        assert loss(torch.cat([a, -b.T])) < loss(torch.zeros(10, 64))
        for module in SHAPES:
            before, after_ = (delta(x.factors(adapter.name, module)) for x in (plain, merged))
            assert before.equal(after_)


def test_surgery_corrects_what_goes_into_the_head():
    adapters = llama_set(2)
    data = data_of(adapters)
    merged = surgery(adapters, data, steps=20, rate=0.01)
    factors = merged.task_factors("task1")
    a, b = factors["lm_head.surgery"]
    ids = list(b"text")
    plain = {name: x for name, x in factors.items() if name in SHAPES}
    y = head_inputs(data.model, plain, ids)
    with adapted(data.model, factors), torch.no_grad():
        found = data.model(torch.tensor([ids])).logits[0]
    wanted = data.model.lm_head(y + (y @ a.T).relu() @ b.T)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    assert (found - data.model.lm_head(y)).abs().max() > 1e-2


def test_surgery_is_saved_and_loaded_but_is_no_peft_adapter(tmp_path):
    adapters = llama_set(2)
    merged = merge_with("surgery", adapters, data_of(adapters), steps=3, after="ties", rank=4)
    assert merged.settings["after"] == "ties" and merged.settings["rank"] == 4
    merged.save(tmp_path / "m")
    loaded = MergedAdapters.load(tmp_path / "m")
    for task in merged.tasks:
        first, second = (x.factors(task, "lm_head.surgery") for x in (merged, loaded))
        torch.testing.assert_close(first, second, atol=1e-3, rtol=1e-2)
    with pytest.raises(MergeError, match="also corrects features of task 'task1', which PEFT"):
        loaded.to_peft("task1", tmp_path / "p")
    assert not (tmp_path / "p").exists()


def assert_computes(data, merged, session):
    ids, found = list(b"hello"), {}
    for task in merged.tasks:
        session.switch(task)
        found[task] = session.forward(ids)
        with adapted(data.model, merged.task_factors(task)), torch.no_grad():
            wanted = data.model(torch.tensor([ids])).logits[0, -1]
        torch.testing.assert_close(found[task], wanted, atol=2e-2, rtol=1e-2)
    assert (found["task0"] - found["task1"]).abs().max() > 0.05


@pytest.fixture(scope="module")
def corrected():
    """Data and adapters of two tasks with surgery."""
    adapters = llama_set(2)
    data = data_of(adapters)
    return data, merge_with("surgery", adapters, data, steps=20, rate=0.01)


@pytest.mark.slow
def test_surgery_runs_on_the_phone(corrected, base, tmp_path):
    export_bundle(corrected[1], str(base), tmp_path / "b", FLOAT32)
    assert_computes(*corrected, Session.open(tmp_path / "b"))


def test_surgery_is_part_of_every_tasks_method(corrected, base):
    assert_computes(*corrected, Unlowered(corrected[1], base, swap="methods"))
