"""Calibration: round columns so that the model predicts what it does with the unmerged adapter.

For each task, the base with the unmerged adapter continues the prompts greedily; its distributions
along these texts are the target. All of the task's columns are tuned to minimise the
Kullback-Leibler divergence from it, then rounded in a few stages, from the input on. After each
stage, the columns of later layers and the steps of the rounded ones are tuned again, which
compensates for the rounding error. Rows, layout and size stay the same. Tuning what is not rounded
yet follows QuIP#, arXiv 2402.04396.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from itertools import chain, groupby, pairwise
from typing import NamedTuple

import torch
from torch.nn.functional import kl_div, log_softmax
from transformers import PreTrainedModel

from ..adapters import AdapterSet, LoraAdapter
from ..adapters.applied import applied, stacks_of
from ..errors import TrainingError
from ..files import Unfinished
from ..packing import Coded, CodedAdapters
from ..progress import progress
from ..stored import relative_errors
from ..training import (
    CalibrationData,
    Schedule,
    answer_logits,
    batch,
    continuations,
    fit,
)
from ..training.batches import EncodedExample, batched, length
from ..training.continuations import prompt_batches
from .columns import Columns, added

STAGES = 6  # of rounding, each of so many layers
FIRST, STEPS = 40, 20  # before the first stage, and after each
RATE, BATCH = 0.02, 8
GENERATED, PREDICTED = 128, 16  # texts at a time
LIKELY, LEAST = 64, 1e-6  # tokens whose probabilities are kept; least probability of the others

PAYLOAD = "payload"  # name of a kept tensor

Student = Callable[[PreTrainedModel], AbstractContextManager[None]]


class Text(NamedTuple):
    """A prompt with the unmerged adapter's continuation of n tokens.

    Attributes:
        example: the tokens.
        likely: the adapter's most likely tokens at each position, ``[n, k]``.
        target: log-probabilities of these and of all others together, ``[n, k + 1]``.
    """

    example: EncodedExample
    likely: torch.Tensor
    target: torch.Tensor


def calibrate(
    coded: CodedAdapters,
    adapters: AdapterSet,
    data: CalibrationData,
    student: Student = nullcontext,
    unfinished: Unfinished | None = None,
) -> CodedAdapters:
    """Recode the columns of all tasks.

    Args:
        coded: the adapters' codes within a byte budget.
        adapters: the adapters as trained.
        data: the base model and prompts of every task. On the zoo, each doubling from 32 to 256
            prompts reduced the loss.
        student: runs the base as the program has it, by default in float, so that the columns make
            up for what it lacks; the target is that of the float base.
        unfinished: keeps finished tasks, of the same base and student, for another run.

    Raises:
        DataError: the base lacks a module of the adapters, or a task has no usable prompt.
        TrainingError: the divergence is not finite; names the task and the step.
    """
    data.check(adapters, labels=False)
    data.model.requires_grad_(False)
    payloads = {}
    for adapter in progress(adapters.adapters, "calibrate"):
        prompts = [prompt for prompt, _ in data.prompts([adapter.name])]
        compute = partial(_payload, coded, adapter, data.model, prompts, student)
        kept = (
            compute()
            if unfinished is None
            else unfinished.unit(adapter.name, _inputs(coded, adapter, prompts), compute)
        )
        payloads[adapter.name] = kept[PAYLOAD]
    settings = {**coded.settings, "calibrated": True}
    calibrated = replace(coded, payloads=payloads, settings=settings, errors={})
    return replace(calibrated, errors=relative_errors(adapters, calibrated))


def _inputs(
    coded: CodedAdapters, adapter: LoraAdapter, prompts: list[list[int]]
) -> Iterator[bytes]:
    """Yield all that a task's columns depend on beside the models."""
    settings = (version("hydraopt"), STAGES, FIRST, STEPS, RATE, BATCH, LIKELY, LEAST)
    yield json.dumps([settings, coded.layout.text(), prompts]).encode()
    yield coded.shared.numpy().tobytes() + coded.payloads[adapter.name].numpy().tobytes()
    yield from adapter.content()


def _payload(
    coded: CodedAdapters,
    adapter: LoraAdapter,
    model: PreTrainedModel,
    prompts: list[list[int]],
    student: Student,
) -> dict[str, torch.Tensor]:
    """Return one task's payload with fitted columns."""
    try:
        columns = _fitted(coded, adapter, model, prompts, student)
    except TrainingError as error:
        raise TrainingError(f"calibrating {adapter.name!r} failed ({error})") from error
    return {PAYLOAD: coded.with_columns(adapter.name, columns)}


def _fitted(
    coded: CodedAdapters,
    adapter: LoraAdapter,
    model: PreTrainedModel,
    prompts: list[list[int]],
    student: Student,
) -> dict[str, list[Coded]]:
    """Round and tune one task's columns; returns module -> codes."""
    rows = {name: factors.a for name, factors in coded.task_factors(adapter.name).items()}
    columns = {
        name: Columns.fitted(module, adapter.update(name, module.shape), rows[name], model.device)
        for name, module in coded.layout.modules.items()
    }
    own = stacks_of(AdapterSet([adapter]), model.device)
    with applied(model, own, torch.ones(1, len(own), device=model.device)):
        texts = _texts(model, prompts)
    batches = [*batched(texts, BATCH)]

    def loss(chosen: Sequence[Sequence[Text]]) -> torch.Tensor:
        (texts,) = chosen
        predictions = _predictions(model, [text.example for text in texts])
        found = _outcomes(predictions, torch.cat([text.likely for text in texts]))
        target = torch.cat([text.target for text in texts])
        return kl_div(found, target, log_target=True, reduction="batchmean")

    with student(model):
        for stage in ([], *_stages(model, columns)):
            columns |= {name: columns[name].rounded() for name in stage}
            schedule = Schedule(STEPS if stage else FIRST, RATE, batch=1)
            with added(model, columns):
                changes = {name: x.change for name, x in columns.items()}
                fit(changes, loss, batches, schedule, description="tune")
    return {name: x.coded() for name, x in columns.items()}


@torch.no_grad()
def _texts(model: PreTrainedModel, prompts: Sequence[list[int]]) -> list[Text]:
    """Continue prompts; texts of similar length, which need little padding, come together."""
    examples: list[EncodedExample] = []
    for together in prompt_batches(model, prompts, GENERATED):
        examples += continuations(model, together)
    texts: list[Text] = []
    for few in batched(sorted(examples, key=length), PREDICTED):
        lengths = [len(continuation) for _, continuation in few]
        predictions = _predictions(model, few)
        likely = predictions.topk(min(LIKELY, predictions.shape[-1])).indices
        target = _outcomes(predictions, likely)
        texts += map(Text, few, likely.split(lengths), target.split(lengths))
    return texts


def _outcomes(predictions: torch.Tensor, likely: torch.Tensor) -> torch.Tensor:
    """Return the log-probabilities of some tokens, and of all others together."""
    chosen = predictions.gather(-1, likely)
    others = (1 - chosen.exp().sum(-1, keepdim=True)).clamp_min(LEAST)
    return torch.cat([chosen, others.log()], -1)


def _predictions(model: PreTrainedModel, examples: Sequence[EncodedExample]) -> torch.Tensor:
    """Return log-probabilities ``[n, vocabulary]`` of the continuations' n tokens."""
    return log_softmax(answer_logits(model, batch(examples).to(model.device))[0], -1)


def _stages(model: PreTrainedModel, names: Iterable[str]) -> list[list[str]]:
    """Group module names by layer, and layers to at most so many stages, in the model's order."""
    layers = _layers(model, names)
    count = min(STAGES, len(layers))
    bounds = [stage * len(layers) // count for stage in range(count + 1)]
    return [[*chain(*layers[start:end])] for start, end in pairwise(bounds)]


def _layers(model: PreTrainedModel, names: Iterable[str]) -> list[list[str]]:
    """Group module names by layer, in the model's order."""
    order = {name: place for place, (name, _) in enumerate(model.named_modules())}

    def layer(name: str) -> list[str]:
        parts = name.split(".")
        numbered = (place for place, part in enumerate(parts, 1) if part.isdigit())
        return parts[: next(numbered, len(parts))]

    return [list(together) for _, together in groupby(sorted(names, key=order.__getitem__), layer)]
