"""All methods that need data: what they have in common, ZipIt, and what they refuse."""

import json

import pytest
import torch
from conftest import BASE_ID, delta
from llama_data import NEEDING, PAIRS, QUICK, SHAPES, assert_same, data_of, llama_set, tokens

from hydraopt.adapters import AdapterSet, LoraAdapter
from hydraopt.errors import DataError, MergeError, TrainingError, UsageError
from hydraopt.factors import Factors
from hydraopt.merging import METHODS, merge_with
from hydraopt.merging.task_arithmetic import task_arithmetic
from hydraopt.merging.zipit import singular_directions, zipit, zipped
from hydraopt.training import CalibrationData, read_examples, read_unanswered, use_bfloat16


@pytest.mark.parametrize("method", NEEDING)
def test_neither_the_order_of_the_tasks_nor_the_gauge_matters(method):
    adapters = llama_set()
    shuffled = AdapterSet(adapters.adapters[i] for i in (2, 0, 3, 1))
    gauge = torch.tensor([[0.0, 2.0, 0.0], [0.0, 0.0, -1.0], [0.5, 0.0, 1.0]])
    regauged = AdapterSet(
        LoraAdapter(
            x.name,
            BASE_ID,
            {
                m: Factors(gauge @ a, torch.linalg.solve(gauge, b, left=False))
                for m, (a, b) in x.factors.items()
            },
        )
        for x in adapters.adapters
    )
    options = QUICK.get(method, {}) | ({"batch": 99} if method in QUICK else {})
    first = merge_with(method, adapters, data_of(adapters), **options)
    for other in (shuffled, regauged):
        second = merge_with(method, other, data_of(other), **options)
        assert second.tasks == other.tasks
        assert_same(first, second, tolerance=2e-3)


@pytest.mark.parametrize("method", NEEDING)
def test_the_base_model_stays_as_it_is_and_the_result_is_one_model(method):
    adapters = llama_set()
    data = data_of(adapters)
    before = {name: x.clone() for name, x in data.model.state_dict().items()}
    merged = merge_with(method, adapters, data, **QUICK.get(method, {}))
    assert all(before[name].equal(x) for name, x in data.model.state_dict().items())
    assert not data.model._forward_hooks
    shared = [side.is_shared for module in SHAPES for side in merged.modules[module]]
    assert all(shared)
    assert merged.errors["task3"].keys() == SHAPES.keys()


@pytest.mark.parametrize("method", NEEDING)
def test_a_base_in_bfloat16_gives_nearly_the_same(method):
    adapters = llama_set()
    options = QUICK.get(method, {})
    data = data_of(adapters)
    wanted = merge_with(method, adapters, data, **options)
    use_bfloat16(data.model)
    assert data.model.get_submodule(next(iter(SHAPES))).weight.dtype == torch.bfloat16
    assert data.model.get_input_embeddings().weight.dtype == torch.float32
    found = merge_with(method, adapters, data, **options)
    # surgery learns from what the model writes, which for a random one is soon something else
    assert_same(wanted, found, tolerance=0.7 if method == "surgery" else 0.1)


def activations(model, module, prompts):
    """What the layer is given, token by token."""
    found = []
    handle = model.get_submodule(module).register_forward_pre_hook(
        lambda _, inputs: found.append(inputs[0][0])
    )
    with torch.no_grad():
        for prompt in prompts:
            model(torch.tensor([prompt]))
    handle.remove()
    return torch.cat(found).double()


@pytest.mark.parametrize("module", SHAPES)
def test_zipit_merges_the_most_correlated_features_first(module):
    """Directly: features are formed token by token, and correlated anew after every merge."""
    adapters = llama_set(3, rank=2)
    data = data_of(adapters)
    x = activations(data.model, module, [prompt for prompt, _ in tokens(data, answers=False)])
    a, b = (y.double() for y in singular_directions(adapters, module))
    scales = (x @ a.T).pow(2).mean(0).sqrt()
    groups = [[(i, 1)] for i in range(6)]

    def feature(group):
        return sum(sign * (x @ a[i]) / scales[i] for i, sign in group) / len(group)

    while len(groups) > 4:
        best = max(
            (abs(cosine(feature(g), feature(h))), i, j)
            for i, g in enumerate(groups)
            for j, h in enumerate(groups[:i])
        )
        other, kept = groups[best[1]], groups[best[2]]
        sign = -1 if cosine(feature(other), feature(kept)) < 0 else 1
        groups.remove(other)
        kept.extend((i, sign * own) for i, own in other)
    wanted = sum(
        torch.outer(
            sum(sign * scales[i] * b[:, i] for i, sign in group),
            sum(sign * a[i] / scales[i] for i, sign in group) / len(group),
        )
        for group in groups
    )
    found = delta(zipit(adapters, data, rank=4).factors("task0", module))
    assert (found - wanted / 3).norm() < 1e-3 * found.norm()


def cosine(x, y):
    return (x @ y / (x.norm() * y.norm())).item()


def test_zipit_without_zipping_is_the_mean():
    adapters = llama_set()
    merged = zipit(adapters, data_of(adapters), rank=12)
    assert_same(merged, task_arithmetic(adapters, scale=0.25))
    assert_same(zipit(adapters, data_of(adapters), rank=12, scale=0.3), task_arithmetic(adapters))


def test_zipit_of_copies_is_their_original():
    adapter = llama_set(1).adapters[0]
    flipped = {m: Factors(-3 * a, b / -3) for m, (a, b) in adapter.factors.items()}
    copies = AdapterSet(
        [LoraAdapter("task0", BASE_ID, adapter.factors), LoraAdapter("other", BASE_ID, flipped)]
    )
    merged = zipit(copies, data_of(copies))
    for module, factors in adapter.factors.items():
        torch.testing.assert_close(
            delta(merged.factors("task0", module)), delta(factors), atol=1e-4, rtol=1e-3
        )


def test_zipping_means_features_with_their_signs():
    correlations = torch.tensor([[1.0, -0.9, 0.1], [-0.9, 1.0, 0.2], [0.1, 0.2, 1.0]]).double()
    merge_matrix = zipped(correlations, 2)
    assert merge_matrix.tolist() == [[0.5, -0.5, 0.0], [0.0, 0.0, 1.0]]
    assert zipped(correlations, 3).equal(torch.eye(3).double())


def test_unequal_targets_merge():
    first, second = llama_set(2, rank=2).adapters
    name = next(iter(SHAPES))
    adapters = AdapterSet([first, LoraAdapter("task1", BASE_ID, {name: second.factors[name]})])
    for method in NEEDING:
        options = QUICK.get(method, {"rank": 3})
        merged = merge_with(method, adapters, data_of(adapters), **options)
        assert {*merged.modules} - {"lm_head.surgery"} == {*SHAPES}


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("supermerge", {"group": 5}, "group is 5, expected 2 to 4, the number of adapters"),
        ("supermerge", {"group": 1}, "group is 1, expected 2 to 4"),
        ("supermerge", {"sweeps": -1}, "sweeps is -1, expected 0 to 100"),
        ("supermerge", {"sweeps": 10**8}, "sweeps is 100000000, expected 0 to 100"),
        ("supermerge", {"steps": 0}, "steps is 0, expected at least 1"),
        ("supermerge", {"batch": 0}, "batch is 0, expected at least 1"),
        ("supermerge", {"rank": 0}, "rank is 0, expected at least 1"),
        ("adamerging", {"rate": -1.0}, r"rate is -1.0, expected above 0"),
        ("adamerging", {"seed": -1}, "seed is -1, expected at least 0"),
        ("adamerging", {"coefficients": 3}, "coefficients is 3, expected 'layer' or 'task'"),
        ("surgery", {"after": "zipit"}, "after is 'zipit', expected one of hydraopt, average"),
        ("surgery", {"width": 0}, "width is 0, expected at least 1"),
        ("zipit", {"rank": 13}, "rank is 13, expected at most 12, the directions"),
        ("zipit", {"rank": 0}, "rank is 0, expected at least 1"),
    ],
)
def test_refuses_settings_it_cannot_take(method, settings, message):
    adapters = llama_set()
    with pytest.raises(MergeError, match=message):
        merge_with(method, adapters, data_of(adapters), **settings)


@pytest.mark.parametrize("method", ["adamerging", "surgery", "supermerge"])
def test_refuses_more_steps_than_anyone_waits_for(method):
    adapters = llama_set()
    with pytest.raises(TrainingError, match="steps is 100,000,000, expected at most 1,000,000"):
        merge_with(method, adapters, data_of(adapters), steps=10**8)


def test_refuses_texts_that_are_no_option():
    with pytest.raises(UsageError, match="is 'all', expected 'layer' or 'task'"):
        merge_with("adamerging", llama_set(), coefficients="all")
    with pytest.raises(UsageError, match="is 'all', expected an integer or none"):
        merge_with("supermerge", llama_set(), group="all")


def test_data_goes_to_the_methods_that_need_it():
    adapters = llama_set()
    data = data_of(adapters)
    with pytest.raises(
        UsageError, match="supermerge needs the base model and prompts with answers"
    ):
        merge_with("supermerge", adapters)
    with pytest.raises(
        UsageError, match="zipit needs the base model and prompts; pass them as data"
    ):
        merge_with("zipit", adapters)
    with pytest.raises(UsageError, match="method ties takes no data"):
        merge_with("ties", adapters, data)
    assert METHODS["supermerge"].describe()["needs_labels"]
    assert METHODS["adamerging"].describe()["needs_data"]


def test_data_must_fit_the_adapters():
    adapters = llama_set()
    data = data_of(adapters)
    unlabelled = {task: [(p, None) for p, _ in pairs] for task, pairs in data.examples.items()}
    without = CalibrationData(data.model, data.tokenizer, unlabelled)
    merge_with("zipit", adapters, without)
    with pytest.raises(DataError, match="example 1 of task 'task0' has no answer"):
        merge_with("supermerge", adapters, without)
    less = CalibrationData(data.model, data.tokenizer, {"task0": PAIRS})
    with pytest.raises(DataError, match="task 'task1' has no examples"):
        merge_with("zipit", adapters, less)
    long = CalibrationData(data.model, data.tokenizer, data.examples | {"task2": [("a" * 32, "")]})
    with pytest.raises(
        DataError, match="example 1 of task 'task2' has 33 tokens, expected at most 32"
    ):
        merge_with("zipit", adapters, long)
    foreign = AdapterSet(
        [LoraAdapter("task0", BASE_ID, {"layer": Factors(torch.ones(1, 4), torch.ones(4, 1))})]
    )
    with pytest.raises(DataError, match="no module layer, which the adapters change"):
        merge_with("zipit", foreign, data)


def test_lines_need_answers_only_for_labels(tmp_path):
    path = tmp_path / "data.jsonl"
    lines = [{"task": "a", "prompt": "p", "answer": "x"}, {"task": "a", "prompt": "q"}]
    path.write_text("\n".join(map(json.dumps, lines)))
    assert read_unanswered(path, ["a"]) == {"a": [("p", None), ("q", None)]}
    with pytest.raises(DataError, match=r"data.jsonl, line 2 has no text 'answer'"):
        read_examples(path, ["a"])
    path.write_text('{"task": "a", "prompt": "p"}\n{"task": "a", prompt}\n')
    with pytest.raises(DataError, match=r"data.jsonl, line 2 is not JSON"):
        read_unanswered(path, ["a"])
