"""Calibration brings the model's answers nearer to the unmerged adapters', in the same bytes."""

import json

import pytest
import torch
from conftest import tiny_llama
from torch.nn.functional import kl_div, log_softmax
from transformers import AutoTokenizer

from hydraopt.adapters import read_adapters
from hydraopt.calibration import calibrate, read_prompts, steps
from hydraopt.errors import DataError
from hydraopt.evaluation import adapted
from hydraopt.packing import Coder

TASKS = ("alpha", "beta", "gamma")


def distance(model, factors, texts) -> float:
    with adapted(model, factors), torch.no_grad():
        found = log_softmax(model(texts.ids).logits[texts.mask], -1)
    return float(kl_div(found, texts.target, log_target=True, reduction="batchmean"))


def test_calibrated_packs_answer_more_like_the_unmerged_adapters(adapter_dirs, base):
    adapters = read_adapters(adapter_dirs)
    coded = Coder.of(adapters).code(adapters.fp16_bytes // 5)
    model, tokenizer = tiny_llama(), AutoTokenizer.from_pretrained(base)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    prompts = {task: ["hello", "good day", "a b c"] for task in TASKS}
    tuned = calibrate(coded, adapters, model, tokenizer, prompts)
    assert all(before[name].equal(p) for name, p in model.named_parameters())
    assert tuned.stored_bytes == coded.stored_bytes
    assert torch.equal(tuned.shared, coded.shared)
    for adapter in adapters.adapters:
        with adapted(model, adapter.factors):
            texts = steps._texts(model, tokenizer, prompts[adapter.name])
        before, after = (
            distance(model, x.task_factors(adapter.name), texts) for x in (coded, tuned)
        )
        assert after < before


def test_prompts_are_for_one_task_or_for_all(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "a"}\n{"prompt": "b", "task": "beta"}\n')
    assert read_prompts(path, TASKS) == {"alpha": ["a"], "beta": ["a", "b"], "gamma": ["a"]}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([{"answer": "a"}], "line 1 has no text 'prompt'"),
        ([{"prompt": "a", "task": "x"}], "line 1: no adapter is named 'x'"),
        ([{"prompt": "a", "task": "beta"}], "no prompt for task 'alpha'"),
        ([], "is empty"),
    ],
)
def test_a_calibration_file_of_the_wrong_form_is_refused(tmp_path, lines, message):
    path = tmp_path / "prompts.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(DataError, match=message):
        read_prompts(path, TASKS)
