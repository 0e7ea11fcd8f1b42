"""Representation Surgery (arXiv 2402.02705): per task, a correction of a merged model's features.

After any data-free merge, a task's features f, here what goes into the output head, become
``f - W_up ReLU(W_down f)``, the two matrices of rank 16 minimising the L1 distance to the features
of the task's own adapter on unlabelled inputs; Adam at 1e-3 for 500 steps.

The paper classifies images, with one feature per input. For language models the inputs are read
here as the prompts with the greedy continuations of the task's own adapter, and the features as
those at all positions that predict a token of these. W_up starts at zero.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch.nn.functional import l1_loss

from ..adapters import AdapterSet, LoraAdapter
from ..adapters.applied import applied, stacks_of
from ..errors import MergeError
from ..factors import Factors, Role, Target, apply_surgery
from ..hooks import captured_inputs
from ..progress import progress
from ..stored import MergedAdapters, Setting, stacked
from ..training import CalibrationData, Schedule, batch, continuations, fit
from ..training.batches import IGNORE, EncodedExample
from ..training.continuations import prompt_batches
from .checks import check_training
from .registry import METHODS, merging_method

NAME = "surgery"

PROMPTS = 16  # that run at once

Features = list[tuple[torch.Tensor, torch.Tensor]]  # per prompt: merged and own, [n, d]


@merging_method(
    name=NAME,
    paper="Representation Surgery, arXiv 2402.02705",
    per_task=True,
    needs="data",
    storage="m n, 32 T d in all",
)
def surgery(
    adapters: AdapterSet,
    data: CalibrationData,
    *,
    after: str = "task-arithmetic",
    width: int = 16,
    steps: int = 500,
    rate: float = 1e-3,
    batch: int = 16,
    rank: int | None = None,
    seed: int = 0,
) -> MergedAdapters:
    """Merge by another method, at its defaults, and correct every task's features.

    Args:
        adapters: T adapters, of any ranks and target modules.
        data: the base model, and prompts of every task.
        after: a method that needs no data.
        width: rows of W_down.
        steps: of Adam, for each task.
        rate: Adam's learning rate.
        batch: prompts per step.
        rank: of the other method's result; by default what it takes.
        seed: of W_down and of the order of the prompts.

    Raises:
        MergeError: another ``after``, or a setting outside of its range.
        TrainingError: a loss that is not finite, with the step.
    """
    others = [name for name, method in METHODS.items() if method.needs == "nothing"]
    if after not in others:
        raise MergeError(f"after is {after!r}, expected one of {', '.join(others)}")
    if width < 1:
        raise MergeError(f"width is {width}, expected at least 1")
    check_training(steps, rate, batch, seed)
    data.model.requires_grad_(False)
    schedule = Schedule(steps, rate, batch, seed=seed)
    merged = METHODS[after].function(adapters, **({} if rank is None else {"rank": rank}))
    corrections = [
        _correction(_features(adapter, merged.task_factors(adapter.name), data), width, schedule)
        for adapter in progress(adapters.adapters, "merge")
    ]
    sides = stacked(corrections, torch.arange(len(corrections)))
    settings: dict[str, Setting] = {
        "after": after,
        "width": width,
        "steps": steps,
        "rate": rate,
        "batch": batch,
    }
    corrected = Target(head_name(data.model), Role.SURGERY).module
    return replace(
        merged,
        method=NAME,
        settings={**merged.settings, **settings, "seed": seed},
        modules={**merged.modules, corrected: sides},
    )


def head_name(model: torch.nn.Module) -> str:
    """The dotted name of the output head."""
    head = model.get_output_embeddings()
    return next(name for name, module in model.named_modules() if module is head)


def _features(
    adapter: LoraAdapter, merged: Mapping[str, Factors], data: CalibrationData
) -> Features:
    """What goes into the head with the merged and with the task's own adapter."""
    own = stacks_of(AdapterSet([adapter]), data.model.device)
    common = stacks_of(AdapterSet([replace(adapter, factors=merged)]), data.model.device)
    prompts = [prompt for prompt, _ in data.prompts([adapter.name])]
    features: Features = []
    for together in prompt_batches(data.model, prompts, PROMPTS):
        with _alone(data.model, own):
            examples = continuations(data.model, together)
            wanted = _into_head(data.model, examples)
        with _alone(data.model, common):
            features += zip(_into_head(data.model, examples), wanted, strict=True)
    return features


def _alone(model: torch.nn.Module, stacks: Mapping):
    return applied(model, stacks, torch.ones(1, len(stacks), device=model.device))


@torch.no_grad()
def _into_head(model: torch.nn.Module, examples: Sequence[EncodedExample]) -> list[torch.Tensor]:
    """Per example, what goes into the head where a token of the continuation is predicted."""
    texts = batch(examples).to(model.device)
    name = head_name(model)
    with captured_inputs(model, [name]) as inputs:
        model(input_ids=texts.ids, use_cache=False)
    predicting = texts.labels[:, 1:] != IGNORE
    return [x[chosen] for x, chosen in zip(inputs[name][:, :-1], predicting, strict=True)]


def _correction(features: Features, width: int, schedule: Schedule) -> Factors:
    """``W_down [width, d]`` and ``-W_up [d, width]``, on the CPU."""
    size, device = features[0][0].shape[1], features[0][0].device
    bound = size**-0.5
    draws = torch.rand(width, size, generator=torch.Generator().manual_seed(schedule.seed))
    down = (bound * (2 * draws - 1)).to(device).requires_grad_()
    up = torch.zeros(size, width, device=device).requires_grad_()

    def loss(chosen: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
        merged, own = (torch.cat(x) for x in zip(*chosen, strict=True))
        return l1_loss(apply_surgery(merged, down, up), own)

    fit({"down": down, "up": up}, loss, features, schedule, description="learn a correction")
    return Factors(down.detach().cpu(), up.detach().cpu())
