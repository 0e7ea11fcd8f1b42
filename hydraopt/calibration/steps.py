"""Calibration: tune the steps of a task's columns so that the model answers as unmerged.

For every task, the base model with the unmerged adapter continues the prompts greedily; its
distributions along these texts are the target. The columns' steps, one number per rank-one
direction, are tuned by Adam for the least Kullback-Leibler divergence from them. Codes, rows and
bytes stay as they are, so a calibrated pack has the size of the one it replaces.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch.nn.functional import kl_div, log_softmax
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..adapters import AdapterSet, Factors
from ..evaluation import adapted
from ..merging import relative_errors
from ..packing import CodedAdapters
from ..training import batch, continuations
from ..training.batches import IGNORE

STEPS, RATE = 30, 0.05
LARGEST_CHANGE = 1.0  # of the logarithm of a step


@dataclass(frozen=True)
class Texts:
    """Prompts with the unmerged adapter's continuations.

    Attributes:
        ids: int64 ``[n, longest]``, padded on the right.
        mask: bool ``[n, longest]``: positions whose prediction is compared.
        target: log-probabilities at these positions, ``[sum(mask), vocabulary]``.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    target: torch.Tensor


def calibrate(
    coded: CodedAdapters,
    adapters: AdapterSet,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Mapping[str, Sequence[str]],
) -> CodedAdapters:
    """Tune all tasks' steps.

    Args:
        coded: the adapters' codes.
        adapters: the adapters as they were trained.
        model: the base model in float32; as before when this returns.
        tokenizer: its tokenizer.
        prompts: some for every task.
    """
    model.requires_grad_(False)
    payloads = {}
    for adapter in tqdm(adapters.adapters, desc="calibrate", disable=None, leave=False):
        with adapted(model, adapter.factors):
            texts = _texts(model, tokenizer, prompts[adapter.name])
        gains = _tune(model, coded.task_factors(adapter.name), texts)
        payloads[adapter.name] = coded.rescaled(adapter.name, gains)
    tuned = replace(
        coded, payloads=payloads, settings={**coded.settings, "calibrated": True}, errors={}
    )
    return replace(tuned, errors=relative_errors(adapters, tuned))


@torch.no_grad()
def _texts(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]
) -> Texts:
    texts = batch(continuations(model, [tokenizer(prompt).input_ids for prompt in prompts]))
    mask = (texts.labels != IGNORE).roll(-1, 1)  # the predictions; column 0 is never an answer's
    return Texts(texts.ids, mask, log_softmax(model(texts.ids, use_cache=False).logits[mask], -1))


def _tune(
    model: PreTrainedModel, factors: Mapping[str, Factors], texts: Texts
) -> dict[str, torch.Tensor]:
    """Factors for the steps of every module's columns, ``[R]``."""
    changes = {name: torch.zeros(len(f.a), requires_grad=True) for name, f in factors.items()}
    optimizer = torch.optim.Adam(changes.values(), lr=RATE)
    with _scaled(model, factors, changes):
        for _ in range(STEPS):
            found = log_softmax(model(texts.ids, use_cache=False).logits[texts.mask], -1)
            loss = kl_div(found, texts.target, log_target=True, reduction="batchmean")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            for change in changes.values():
                change.data.clamp_(-LARGEST_CHANGE, LARGEST_CHANGE)
    return {name: change.detach().exp() for name, change in changes.items()}


@contextmanager
def _scaled(
    model: PreTrainedModel,
    factors: Mapping[str, Factors],
    changes: Mapping[str, torch.Tensor],
) -> Iterator[None]:
    """Add ``B diag(exp(change)) A x`` to every adapted layer's output."""

    def hook(name: str):
        a, b = factors[name]
        return lambda _, inputs, output: output + (inputs[0] @ a.T * changes[name].exp()) @ b.T

    handles = [model.get_submodule(name).register_forward_hook(hook(name)) for name in factors]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
