"""Representation Surgery (arXiv 2402.02705): correct a merged model's features per task.

After a data-free merge, a task's features f (the inputs of the output embedding) become
``f - W_up ReLU(W_down f)``. The two matrices of rank 16 minimise the L1 distance to the features of
the task's own adapter on unlabelled inputs; Adam runs for 500 steps at 1e-3.

The paper classifies images, with one feature per input. Here, for language models, inputs are the
prompts with greedy continuations by the task's own adapter, and features are taken at all positions
that predict a token of a continuation. W_up starts at zero.
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

PROMPTS = 16  # per batch

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
    """Merge with a data-free method at its defaults, then correct each task's features.

    Args:
        adapters: T adapters, of any ranks and target modules.
        data: the base model and prompts of every task.
        after: name of the data-free method.
        width: rows of W_down.
        steps: number of Adam steps per task.
        rate: learning rate of Adam.
        batch: prompts per step.
        rank: rank of the data-free method's result; defaults to that method's default.
        seed: seed for W_down and the order of the prompts.

    Raises:
        MergeError: ``after`` is not a data-free method, or a setting is out of range.
        TrainingError: the loss is not finite; names the step.
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
    """Return the dotted name of the output embedding."""
    head = model.get_output_embeddings()
    return next(name for name, module in model.named_modules() if module is head)


def _features(
    adapter: LoraAdapter, merged: Mapping[str, Factors], data: CalibrationData
) -> Features:
    """Return the head's inputs with the merged and with the task's own adapter."""
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
    """Return each example's inputs of the head where its continuation is predicted, ``[n, d]``."""
    texts = batch(examples).to(model.device)
    name = head_name(model)
    with captured_inputs(model, [name]) as inputs:
        model(input_ids=texts.ids, use_cache=False)
    predicting = texts.labels[:, 1:] != IGNORE
    return [x[chosen] for x, chosen in zip(inputs[name][:, :-1], predicting, strict=True)]


def _correction(features: Features, width: int, schedule: Schedule) -> Factors:
    """Train ``W_down [width, d]`` and ``-W_up [d, width]``; returned on the CPU."""
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
