"""Scores, JSON lines, plain integers and the bisection of a budget."""

import json
from unittest import mock

import pytest
import torch
from conftest import random_set, tiny_llama

from hydraopt.adapters import read_adapters
from hydraopt.errors import DataError, MergeError, UsageError
from hydraopt.evaluation import adapted, exact_match
from hydraopt.evaluation.evaluator import AllScores, score
from hydraopt.evaluation.evaluator import Scores as EvaluatedScores
from hydraopt.evaluation.frontier import Point
from hydraopt.evaluation.generated import GeneratedScores, chrf, generated_scores
from hydraopt.evaluation.plain import plain
from hydraopt.evaluation.smallest import smallest_budget
from hydraopt.packing import Coder
from hydraopt.sizes import parse_size
from hydraopt.stored import relative_errors
from hydraopt.training import (
    answer_loss,
    batch,
    batches,
    continuations,
    encode,
    load_model,
    read_examples,
)

TASKS = ("alpha", "beta", "gamma")
SHARED = batches.LEAST_SAVED // 2  # tokens with which three texts begin


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
    assert score(model, [batch(rows)])[:2] == pytest.approx((1 / 2, 2 / 3))


def test_lines_are_read_per_task(tmp_path):
    path = tmp_path / "data.jsonl"
    lines = [{"task": task, "prompt": "p", "answer": task} for task in (*TASKS, "alpha")]
    path.write_text("\n\n".join(map(json.dumps, lines)))
    assert read_examples(path, TASKS)["alpha"] == [("p", "alpha")] * 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2 is not JSON"),
        ("[]", "line 2 has no text 'task'"),
        ('{"task": "alpha", "prompt": "p"}', "line 2 has no text 'answer'"),
        ('{"task": "alpha", "prompt": 3, "answer": "a"}', "line 2 has no text 'prompt'"),
        ('{"task": "delta", "prompt": "p", "answer": "a"}', "no task is named 'delta'"),
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
    coder = Coder.from_adapters(adapters)
    needed = (coder.smallest + adapters.fp16_bytes) // 3
    found = smallest_budget(coder, adapters, Scores(needed), max_drop=1)
    assert needed <= found.coded.stored_bytes <= 1.1 * needed
    assert found.drop == pytest.approx(0)
    assert 4 < found.evaluations < 12
    with pytest.raises(MergeError, match="allow a larger drop"):
        smallest_budget(coder, adapters, Scores(10**9), max_drop=1)


def test_a_budget_is_a_share_or_bytes():
    assert parse_size("10%", 5000) == 500
    assert parse_size("12MB", 1) == 12_000_000
    assert parse_size("1.5 KiB", 1) == 1536
    for wrong in ("10", "x", "0%", "-3%", "5 percent"):
        with pytest.raises(UsageError, match="expected a share like 10% or bytes like 12MB"):
            parse_size(wrong, 5000)


def test_chrf_is_between_0_and_1_and_counts_n_grams_of_all_texts_together():
    # letters: 2 + 1 of 5 found and of 5 wanted; pairs: 1 of 3; triples: 0 of 1
    assert chrf(["abc", "xy"], ["abd", "xz"]) == pytest.approx((3 / 5 + 1 / 3 + 0) / 3)
    # of single letters 1 of 1 found, 1 of 2 wanted; F2 = 5 P R / (4 P + R)
    assert chrf(["a"], ["ab"]) == pytest.approx(5 * 1 * 0.5 / (4 + 0.5))
    assert chrf(["größer", "x y"], ["größer", "xy"]) == 1
    assert chrf(["ab", ""], ["cd", "e"]) == chrf([""], ["a"]) == 0


def test_likelihood_is_that_of_the_answers_tokens():
    model = tiny_llama()
    with torch.no_grad():
        logits = model(torch.tensor([[10, 20, 30, 40]])).logits[0].log_softmax(-1)
        other = model(torch.tensor([[5, 6]])).logits[0].log_softmax(-1)
    expected = -(logits[1, 30] + logits[2, 40] + other[0, 6]).item() / 3
    rows = [([10, 20], [30, 40]), ([5], [6])]
    found = score(model, [batch(rows)])
    assert found.nats == pytest.approx(expected, rel=1e-5)
    assert answer_loss(model, batch(rows)).item() == pytest.approx(expected, rel=1e-5)


def test_loss_and_gradients_are_those_of_texts_that_share_no_prefix(monkeypatch):
    model, prefix = tiny_llama(max_position_embeddings=128), [*range(3, 3 + SHARED)]
    texts = batch([([*prefix, 10, 20], [30, 40]), ([*prefix, 5], [6]), ([*prefix, 7, 8], [9])])

    def loss_and_gradients() -> list[torch.Tensor]:
        model.zero_grad()
        loss = answer_loss(model, texts)
        loss.backward()
        return [loss.detach(), *(p.grad.clone() for p in model.parameters())]

    found = loss_and_gradients()
    monkeypatch.setattr(batches, "LEAST_SAVED", 1000)
    torch.testing.assert_close(found, loss_and_gradients())


def test_generated_texts_are_compared_with_the_answers(base):
    model, tokenizer = load_model(str(base))
    prompts = ["hello", "good day", "a"]
    rows = encode(tokenizer, [(prompt, "xyz") for prompt in prompts])
    written = []
    for prompt, _ in rows:  # one by one, without cache or padding
        ids = list(prompt)
        while len(ids) < len(prompt) + 4 and ids[-1] != tokenizer.eos_token_id:
            with torch.no_grad():
                ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        written.append(tokenizer.decode(ids[len(prompt) :], skip_special_tokens=True))
    found = generated_scores(model, tokenizer, rows, written)
    assert found == (1, 1)
    answers = [written[0], "none", written[2]]
    assert generated_scores(model, tokenizer, rows, answers).exact == pytest.approx(2 / 3)
    assert generated_scores(model, tokenizer, rows, answers).chrf == chrf(written, answers)


def test_the_s_score_is_the_mean_of_ratios_to_the_unmerged_adapters():
    def point(*chrf_of_tasks: float) -> Point:
        found = {
            str(task): AllScores(EvaluatedScores(0, 0, 0), GeneratedScores(0, value))
            for task, value in enumerate(chrf_of_tasks)
        }
        return Point.from_scores("budget", "3 %", 0.03, found)

    assert point(0.4, 0.1, 0.7).s_score(point(0.8, 0.2, 0.7)) == pytest.approx(2 / 3)
    assert point(0.4, 0.1).s_score(point(0.8, 0)) == pytest.approx(1 / 2)  # 0: no ratio
    assert point(0.4).s_score(point(0)) == 0


def test_what_prompts_begin_with_is_computed_once_and_changes_no_score(adapters):
    """As of a chat's system message."""
    model, begin = tiny_llama(max_position_embeddings=128), [*range(7, 7 + SHARED)]
    rows = [([*begin, 20, 30], [40, 50]), ([*begin, 21], [41]), ([*begin, 22, 23, 24], [42])]
    apart = [batch([row]) for row in rows]
    with (
        adapted(model, adapters.adapters[0].factors),
        mock.patch.object(model.model, "forward", wraps=model.model.forward) as forward,
    ):
        together = score(model, [batch(rows)])
        lengths = [call.kwargs["input_ids"].shape for call in forward.call_args_list]
        assert lengths == [(1, SHARED), (3, 4)]
        assert together[:2] == score(model, apart)[:2]
        assert together.nats == pytest.approx(score(model, apart).nats, abs=1e-5)
        prompts = [prompt for prompt, _ in rows]
        each = [continuations(model, [prompt], 6)[0] for prompt in prompts]
        assert continuations(model, prompts, 6) == each
