"""Texts that a base's layers are rounded for: prompts of the tasks, or what the base writes itself.

Either way every text ends with tokens that the float base samples with the task's adapter, since a
program reads its own answers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.nn.functional import linear
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from ..confined import ConfinedError, catching_panics
from ..errors import LoweringError, UsageError, require
from ..factors import Factors, Role, Target, apply_surgery
from ..models import context_length, end_tokens
from ..progress import report_stage
from ..rounding import Texts
from .base_model import BaseModel

TOKENS = 16384  # of all texts, padding included
PER_TASK = 32  # texts
MOST_TASKS = 64  # whose texts are used
LONGEST = 256  # tokens of a prompt, the last ones
LEAST = 64  # tokens of all prompts
ANSWER, OWN = 16, 64  # tokens that the base samples after a prompt, and on its own

GENERATED, PROMPTS, NO_TEXTS = "generated", "prompts", "none"

TaskFactors = Mapping[str, Factors]
Calibration = Mapping[str, Sequence[str]] | str
"""Task -> prompts; or ``generated``, texts that the base writes, or ``none``."""


@dataclass(frozen=True)
class CalibrationTexts:
    """Texts and the adapters that are on for them.

    Attributes:
        tokens: the texts.
        tasks: task of each text.
        adapters: task -> module -> factors; empty if the base has its adapter in its weights.
        source: ``prompts`` or ``generated``.
    """

    tokens: Texts
    tasks: Sequence[str]
    adapters: Mapping[str, TaskFactors]
    source: str

    def run(self, model: PreTrainedModel, rows: slice = slice(None)) -> ModelOutput:
        """Run ``model`` once on all texts, or on some."""
        cache = {"use_cache": False} if model.can_generate() else {}
        ids, kept = self.tokens.ids[rows], self.tokens.kept[rows]
        return model(input_ids=ids, attention_mask=kept.long(), **cache)


def calibration_texts(
    base: BaseModel,
    calibration: Calibration,
    tasks: Sequence[str],
    factors: Callable[[str], TaskFactors],
) -> CalibrationTexts | None:
    """Make the texts for which a base is rounded.

    Args:
        base: the base model, not restructured yet.
        calibration: what to calibrate with.
        tasks: tasks of the adapters.
        factors: returns a task's factors by module, float32; empty if they are in the weights.

    Returns:
        The texts; None for ``none``.

    Raises:
        UsageError: ``calibration`` is neither prompts nor ``generated`` nor ``none``.
        LoweringError: the base writes no texts, takes none or has no tokenizer, or the prompts are
            too few, all alike or of another vocabulary.
    """
    if not isinstance(calibration, str):
        return _prompt_texts(base, calibration, factors)
    if calibration not in (GENERATED, NO_TEXTS):
        raise UsageError(
            f"unknown calibration {calibration!r}, expected prompts of each task, {GENERATED!r} or "
            f"{NO_TEXTS!r}",
            options=["calibration"],
        )
    if calibration == NO_TEXTS:
        return None
    if not base.kind.generates:
        raise LoweringError(
            f"the base model is of kind {base.kind.name} and generates no texts to calibrate with; "
            "pass prompts, or none",
            options=["calibration"],
        )
    return _generated_texts(base, tasks, factors)


def _generated_texts(
    base: BaseModel, tasks: Sequence[str], factors: Callable[[str], TaskFactors]
) -> CalibrationTexts:
    chosen = _spread(tasks, MOST_TASKS)
    count = max(1, min(PER_TASK, TOKENS // (OWN * len(chosen))))
    start = _first_tokens(base)
    return _texts(base, {task: [start] * count for task in chosen}, factors, OWN, GENERATED)


def _prompt_texts(
    base: BaseModel,
    prompts: Mapping[str, Sequence[str]],
    factors: Callable[[str], TaskFactors],
) -> CalibrationTexts:
    if base.tokenizer is None:
        raise LoweringError(
            f"prompts to calibrate with need a tokenizer, which this {base.kind.name} base lacks; "
            "calibrate without prompts",
            options=["calibration"],
        )
    chosen = {task: _spread(prompts[task], PER_TASK) for task in _spread([*prompts], MOST_TASKS)}
    encoded = {task: _encoded(base, texts) for task, texts in chosen.items()}
    _check(base, encoded)
    longest = max(len(ids) for texts in encoded.values() for ids in texts)
    count = max(1, TOKENS // ((longest + ANSWER) * len(encoded)))
    fewer = {task: _spread(texts, count) for task, texts in encoded.items()}
    more = ANSWER if base.kind.generates else 0
    return _texts(base, fewer, factors, more, PROMPTS)


def _encoded(base: BaseModel, prompts: Sequence[str]) -> list[list[int]]:
    tokenizer = require(base.tokenizer, "tokenizer")
    limit = max(1, min(LONGEST, int(context_length(base.model, LONGEST + ANSWER)) - ANSWER))
    try:
        with catching_panics():
            ids = [tokenizer(prompt).input_ids[-limit:] for prompt in prompts]
    except ConfinedError as error:
        raise LoweringError(
            f"the base's tokenizer fails on a prompt ({error}); correct the prompts",
            options=["calibration"],
        ) from None
    return [x for x in ids if x]


def _check(base: BaseModel, texts: Mapping[str, Sequence[Sequence[int]]]) -> None:
    if empty := [task for task, found in texts.items() if not found]:
        raise LoweringError(
            f"the prompts to calibrate with have no tokens for task {empty[0]!r}; pass some for "
            "each task",
            options=["calibration"],
        )
    everything = [tuple(ids) for found in texts.values() for ids in found]
    count, vocabulary = sum(map(len, everything)), require(base.vocabulary, "vocabulary")
    if len({*everything}) == 1 or count < LEAST:
        what = "are all alike" if count >= LEAST else f"have {count} tokens"
        raise LoweringError(
            f"the prompts to calibrate with {what}, expected different ones of at least {LEAST} "
            "tokens; pass more prompts as users write them",
            options=["calibration"],
        )
    if (largest := max(map(max, everything))) >= vocabulary:
        raise LoweringError(
            f"a prompt has token {largest}, but the base has {vocabulary}; its tokenizer belongs "
            "to another model",
            options=["base"],
        )


def _first_tokens(base: BaseModel) -> list[int]:
    """Return the chat template's prefix, or the token that begins a text."""
    chat, tokenizer = base.about.get("chat"), base.tokenizer
    if chat is not None and chat.prefix:
        return require(tokenizer, "tokenizer")(chat.prefix, add_special_tokens=False).input_ids
    begin = tokenizer and tokenizer.bos_token_id
    return [begin if begin is not None else next(iter(base.eos_ids), 0)]


def _texts(
    base: BaseModel,
    starts: Mapping[str, Sequence[list[int]]],
    factors: Callable[[str], TaskFactors],
    more: int,
    source: str,
) -> CalibrationTexts:
    """Continue texts by ``more`` tokens."""
    tasks = [task for task, texts in starts.items() for _ in texts]
    adapters = {task: found for task in starts if (found := factors(task))}
    ids = [x for texts in starts.values() for x in texts]
    with adapters_by_text(base.model, adapters, tasks):
        ids = _continued(base.model, ids, more)
    lengths = torch.tensor([len(x) for x in ids])
    padded = torch.zeros(len(ids), int(lengths.max()), dtype=torch.int64)
    for row, text in zip(padded, ids, strict=True):
        row[: len(text)] = torch.tensor(text)
    numbers = torch.tensor([[*starts].index(task) for task in tasks])
    kept = torch.arange(padded.shape[1]) < lengths[:, None]
    return CalibrationTexts(Texts(padded, kept, numbers), tasks, adapters, source)


@torch.no_grad()
def _continued(model: PreTrainedModel, texts: Sequence[list[int]], more: int) -> list[list[int]]:
    """Sample ``more`` tokens after each text, at most to the end of the context."""
    longest = max(map(len, texts))
    more = min(more, int(context_length(model, longest + more)) - longest)
    if more <= 0:
        return [*texts]
    report_stage("Writing texts to calibrate with")
    ids = torch.tensor([[0] * (longest - len(text)) + text for text in texts])
    attended = torch.tensor([[0] * (longest - len(x)) + [1] * len(x) for x in texts])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sequences = model.generate(
            ids,
            attention_mask=attended,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            max_new_tokens=more,
            pad_token_id=0,
        )
    added = [_until_end(x, end_tokens(model)) for x in sequences[:, longest:].tolist()]
    return [[*text, *new] for text, new in zip(texts, added, strict=True)]


def _until_end(text: list[int], ends: Sequence[int]) -> list[int]:
    """Cut a text before its end token, which a program never reads."""
    return text[: next((n for n, token in enumerate(text) if token in ends), len(text))]


@contextmanager
def adapters_by_text(
    model: nn.Module, adapters: Mapping[str, TaskFactors], tasks: Sequence[str]
) -> Iterator[None]:
    """Apply to each text of a batch its task's adapter while the block runs; heads are left out.

    Args:
        model: the base model.
        adapters: task -> module -> factors.
        tasks: task of each text; the texts of a task follow each other.
    """
    with ExitStack() as stack:
        for task, factors in adapters.items():
            rows = slice(tasks.index(task), tasks.index(task) + tasks.count(task))
            for module, (a, b) in factors.items():
                target = Target.parse(module)
                layer = model.get_submodule(target.layer)
                if target.role is Role.SURGERY:
                    hook = layer.register_forward_pre_hook(partial(_corrected, rows, a, b))
                elif target.role is Role.UPDATE:
                    hook = layer.register_forward_hook(partial(_updated, rows, a, b))
                else:
                    continue
                stack.callback(hook.remove)
        yield


def _corrected(rows: slice, a: torch.Tensor, b: torch.Tensor, _, inputs: tuple) -> tuple:
    x = inputs[0].clone()
    x[rows] = apply_surgery(x[rows], a=a, b=b)
    return (x,)


def _updated(
    rows: slice, a: torch.Tensor, b: torch.Tensor, _, inputs: tuple, output: torch.Tensor
) -> torch.Tensor:
    output[rows] += linear(linear(inputs[0][rows], a), b)
    return output


def _spread(items: Sequence, most: int) -> list:
    """Return at most ``most`` items, evenly spaced."""
    count = min(most, len(items))
    return [items[index * len(items) // count] for index in range(count)]
