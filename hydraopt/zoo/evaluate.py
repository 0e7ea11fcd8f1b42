"""Exact match on the zoo's test inputs: of a PyTorch model, of merged adapters, of a bundle."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from tqdm import tqdm
from transformers import LlamaForCausalLM
from transformers.utils import logging as transformers_logging

from ..adapters import AdapterSet, Factors
from ..merging import MergedAdapters
from ..runtime import Session
from . import BASE
from .batches import IGNORE, collate
from .tasks import test_examples

TEST_INPUTS = 200
MAX_ANSWER = 96  # bytes; the longest answer has 70


def load_base() -> LlamaForCausalLM:
    """The zoo's base model in float32."""
    transformers_logging.disable_progress_bar()
    return LlamaForCausalLM.from_pretrained(BASE, dtype=torch.float32).eval()


@torch.inference_mode()
def exact_match(model: torch.nn.Module, pairs: list[tuple[str, str]]) -> float:
    """Share of ``pairs`` whose answer greedy decoding reproduces exactly, in [0, 1].

    Computed in one teacher-forced pass: the arg max is right at every answer position exactly
    when greedy decoding emits that answer.
    """
    ids, labels = collate(pairs)
    predicted = model(input_ids=ids, use_cache=False).logits[:, :-1].argmax(-1)
    wanted = labels[:, 1:]
    hits = ((predicted == wanted) | (wanted == IGNORE)).all(1)
    return int(hits.sum()) / len(pairs)


def unmerged_exact_match(
    adapters: AdapterSet, model: torch.nn.Module, count: int = TEST_INPUTS
) -> dict[str, float]:
    """Exact match of every adapter as it was trained."""
    scores = {}
    for adapter in adapters.adapters:
        with adapted(model, adapter.factors):
            scores[adapter.name] = exact_match(model, test_examples(adapter.name, count))
    return scores


def merged_exact_match(
    merged: MergedAdapters, model: torch.nn.Module, count: int = TEST_INPUTS
) -> dict[str, float]:
    """Exact match of every task of ``merged`` on top of the base ``model``."""
    scores = {}
    for task in tqdm(merged.tasks, desc="evaluate", disable=None, leave=False):
        factors = {module: merged.factors(task, module) for module in merged.modules}
        with adapted(model, factors):
            scores[task] = exact_match(model, test_examples(task, count))
    return scores


@contextmanager
def adapted(model: torch.nn.Module, factors: Mapping[str, Factors]) -> Iterator[None]:
    """Add ``B @ A`` to the weights of ``model`` for the duration of the block."""
    before = {}
    with torch.no_grad():
        for module, (a, b) in factors.items():
            weight = model.get_submodule(module).weight
            before[module] = weight.clone()
            weight.addmm_(b, a)
    try:
        yield
    finally:
        with torch.no_grad():
            for module, weight in before.items():
                model.get_submodule(module).weight.copy_(weight)


def bundle_exact_match(session: Session, count: int = TEST_INPUTS) -> dict[str, float]:
    """Exact match of every task of an open bundle, by greedy decoding through its program."""
    scores = {}
    for task in tqdm(session.tasks, desc="run .pte", disable=None, leave=False):
        session.switch(task)
        pairs = test_examples(task, count)
        hits = sum(session.generate(prompt, MAX_ANSWER) == answer for prompt, answer in pairs)
        scores[task] = hits / len(pairs)
    return scores
