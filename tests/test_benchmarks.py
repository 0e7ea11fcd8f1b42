"""The parts of the benchmarks that figures rest on."""

from types import SimpleNamespace

import pytest
import torch
from conftest import tiny_llama
from conversation import Answer, compared

pytest.importorskip("executorch.examples.models.llama")
from executorch.examples.models.llama.llama_transformer import construct_transformer
from executorch.examples.models.llama.model_args import ModelArgs
from export_llm_program import checkpoint_of, model_args
from in_turns import WARM_UP, in_turns, joined
from slot_cost import differences
from turn_results import Results


@pytest.mark.parametrize("tied", [False, True])
def test_weights_for_export_llm_give_the_logits_of_the_base(tmp_path, tied):
    model = tiny_llama()
    model.config.tie_word_embeddings = tied
    model.tie_weights()
    model.save_pretrained(tmp_path)
    theirs = construct_transformer(ModelArgs(**model_args(model.config), generate_full_logits=True))
    missing, unexpected = theirs.load_state_dict(
        checkpoint_of(tmp_path, model.config), strict=False
    )
    assert unexpected == []
    assert not any(name.endswith("weight") for name in missing)
    ids = torch.tensor([[5, 17, 99, 200, 3]])
    with torch.no_grad():
        found = theirs(ids)
        found = found[0] if isinstance(found, tuple) else found
        torch.testing.assert_close(found, model(ids).logits, atol=1e-4, rtol=0)


def test_calls_take_turns_and_none_always_goes_first():
    order = []
    calls = {name: lambda name=name: order.append(name) for name in "abc"}
    times = in_turns(calls, 3)
    assert {name: len(found) for name, found in times.items()} == dict.fromkeys("abc", 3)
    rounds = ["".join(order[at : at + 3]) for at in range(0, len(order), 3)]
    assert rounds == (["abc", "bca", "cab"] * 2)[: WARM_UP + 3]


def test_times_are_milliseconds_of_the_calls(monkeypatch):
    clock = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr("time.perf_counter", lambda: clock.seconds)

    def slow():
        clock.seconds += 0.25

    times = in_turns({"slow": slow, "fast": lambda: None}, 3, before=slow)
    assert times == {"slow": [250.0] * 3, "fast": [0.0] * 3}
    assert clock.seconds == 0.25 * 3 * (WARM_UP + 3)  # one of "slow", and one before each call


def test_rounds_of_several_processes_stay_pairs():
    shares = [
        {"decode": {"base": [1.0, 2.0], "other": [3.0, 4.0]}},
        {"decode": {"base": [5.0], "other": [6.0]}},
    ]
    assert joined(shares) == {"decode": {"base": [1.0, 2.0, 5.0], "other": [3.0, 4.0, 6.0]}}


def test_parts_of_a_slot_are_differences_of_the_programs():
    times = {"rows": [0.03] * 3, "constant columns": [0.05] * 3, "columns as inputs": [0.09] * 3}
    assert differences(times, 10) == pytest.approx((3, 2, 4))


def test_a_ratio_is_that_of_the_same_round():
    # the machine became three times slower in between
    rounds = {"base": [1.0, 1.0, 3.0, 3.0, 3.0], "other": [2.0, 2.0, 6.0, 6.0, 6.0]}
    results = Results("base", "cpu", {"base": 1, "other": 2}, {1: {"decode": rounds}})
    assert results.ratio(1, "decode", "other") == 2
    assert results.ratio(1, "decode", "base") == 1


@pytest.mark.parametrize(
    ("ids", "equal", "margin"),
    [([7, 8, 9], 3, None), ([7, 5, 9], 1, 0.2), ([7, 8], 2, 0.3), ([7, 8, 9, 6], 3, 0.1)],
)
def test_an_answer_differs_by_the_margin_of_the_first_other_token(ids, equal, margin):
    wanted = Answer([1, 2], [7, 8, 9], 2, margins=[0.4, 0.2, 0.3, 0.1])  # the last one ends it
    record = compared(Answer([1, 2], ids, 1), wanted)
    assert record["prompt_equal"] and record["answer"] == 3 and record["computed"] == 1
    assert (record["equal"], record["margin_at_difference"]) == (equal, margin)
    assert record["smallest_margin"] == 0.1
