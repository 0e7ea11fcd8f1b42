"""Exact match, JSON lines, plain integers and the bisection of a budget."""

import json

import pytest
import torch
from conftest import random_set, tiny_llama

from hydraopt.adapters import read_adapters
from hydraopt.errors import DataError, MergeError, UsageError
from hydraopt.evaluation import adapted, exact_match
from hydraopt.evaluation.evaluator import score
from hydraopt.evaluation.plain import plain
from hydraopt.evaluation.smallest import smallest_budget
from hydraopt.merge_command import parse_budget
from hydraopt.merging import relative_errors
from hydraopt.packing import Coder
from hydraopt.training import batch, read_examples

TASKS = ("alpha", "beta", "gamma")


@pytest.fixture(scope="module")
def adapters(adapter_dirs):
    return read_adapters(adapter_dirs)


def test_exact_match_counts_answers_that_greedy_decoding_gives(adapters):
    model, prompt = tiny_llama(), [10, 20, 30]
    with adapted(model, adapters.adapters[0].factors):
        with torch.no_grad():
            right = int(model(torch.tensor([prompt])).logits[0, -1].argmax())
        wrong = (right + 1) % 256
        assert exact_match(model, [batch([(prompt, [right])])]) == 1
        assert exact_match(model, [batch([(prompt, [wrong])])]) == 0
        rows = [(prompt, [right]), (prompt + prompt, [wrong, wrong]), (prompt, [wrong])]
        assert exact_match(model, [batch(rows)]) == pytest.approx(1 / 3)


def test_tokens_count_one_by_one(adapters):
    model, prompt = tiny_llama(), [10, 20, 30]
    with torch.no_grad():
        right = int(model(torch.tensor([prompt])).logits[0, -1].argmax())
        after = int(model(torch.tensor([[*prompt, right]])).logits[0, -1].argmax())
    rows = [(prompt, [right, (after + 1) % 256]), (prompt, [right])]
    assert score(model, [batch(rows)]) == pytest.approx((1 / 2, 2 / 3))


def test_lines_are_read_per_task(tmp_path):
    path = tmp_path / "data.jsonl"
    lines = [{"task": task, "prompt": "p", "answer": task} for task in (*TASKS, "alpha")]
    path.write_text("\n\n".join(map(json.dumps, lines)))
    assert read_examples(path, TASKS)["alpha"] == [("p", "alpha")] * 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2 is no JSON"),
        ("[]", "line 2 has no text 'task'"),
        ('{"task": "alpha", "prompt": "p"}', "line 2 has no text 'answer'"),
        ('{"task": "alpha", "prompt": 3, "answer": "a"}', "line 2 has no text 'prompt'"),
        ('{"task": "delta", "prompt": "p", "answer": "a"}', "no adapter is named 'delta'"),
        ('{"task": "alpha", "prompt": "p", "answer": "a"}', "no line for task 'beta'"),
    ],
)
def test_broken_lines_are_named(tmp_path, line, message):
    path = tmp_path / "data.jsonl"
    path.write_text(f'{{"task": "alpha", "prompt": "p", "answer": "a"}}\n{line}\n')
    with pytest.raises(DataError, match=message):
        read_examples(path, TASKS)
    with pytest.raises(DataError, match="cannot read"):
        read_examples(tmp_path / "none", TASKS)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_plain_integers_err_less_with_more_bits(bits):
    adapters = random_set(2, rank=4, shapes=((64, 96),))
    (error,) = relative_errors(adapters, plain(adapters, bits=bits))["task0"].values()
    assert error < {2: 0.6, 4: 0.15, 8: 0.01}[bits]
    assert plain(adapters, bits=bits).share == pytest.approx((bits + 0.5) / 16)


class Scores:
    """Stands for an evaluator whose exact match falls below a known number of bytes."""

    def __init__(self, needed: int):
        self.needed = needed

    def unmerged(self, adapters):
        return {"a": 1.0, "b": 0.9}

    def merged(self, coded):
        lost = 0 if coded.stored_bytes >= self.needed else 0.1
        return {"a": 1.0 - lost, "b": 0.9}


def test_the_smallest_budget_is_found_by_bisection():
    adapters = random_set(4, shapes=((64, 96), (96, 64)))
    coder = Coder.of(adapters)
    needed = (coder.smallest + adapters.fp16_bytes) // 3
    found = smallest_budget(coder, adapters, Scores(needed), max_drop=1)
    assert needed <= found.coded.stored_bytes <= 1.1 * needed
    assert found.drop == pytest.approx(0)
    assert 4 < found.evaluations < 12
    with pytest.raises(MergeError, match="allow a larger --max-drop"):
        smallest_budget(coder, adapters, Scores(10**9), max_drop=1)


def test_a_budget_is_a_share_or_bytes():
    assert parse_budget("10%", 5000) == 500
    assert parse_budget("12MB", 1) == 12_000_000
    assert parse_budget("1.5 KiB", 1) == 1536
    for wrong in ("10", "x", "0%", "-3%", "5 percent"):
        with pytest.raises(UsageError, match="expected a share like 10% or bytes like 12MB"):
            parse_budget(wrong, 5000)
