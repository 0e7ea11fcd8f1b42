"""AdaMerging (arXiv 2310.02575): one model, ``D(l) = sum_t c[t, l] D_t(l)``, by entropy.

The coefficients minimise the mean entropy of the merged model's predictions on unlabelled inputs.
There is one per task and module ("layer", the paper's layer-wise AdaMerging) or one per task
("task"). They start at 0.3 and are clamped to [0, 1]; Adam runs for 500 steps at 1e-3.

The paper classifies images. Here, for language models, the prediction is the distribution of the
answer's first token, at the prompt's last position.
"""

from typing import Literal

import torch
from torch.nn.functional import log_softmax

from ..adapters import AdapterSet
from ..adapters.applied import stacks_of
from ..errors import MergeError
from ..factors import Factors
from ..stored import MergedAdapters
from ..training import Batch, CalibrationData, Schedule, answer_logits
from .assemble import merge_modules
from .checks import check_training
from .registry import merging_method
from .weighted import learn_coefficients, weighted

NAME = "adamerging"

START = 0.3


@merging_method(name=NAME, paper="AdaMerging, arXiv 2310.02575", needs="data", storage="m n")
def adamerging(
    adapters: AdapterSet,
    data: CalibrationData,
    *,
    coefficients: Literal["layer", "task"] = "layer",
    steps: int = 500,
    rate: float = 1e-3,
    batch: int = 16,
    rank: int | None = None,
    seed: int = 0,
) -> MergedAdapters:
    """Merge into one A and one B per module.

    Args:
        adapters: T adapters, of any ranks and target modules.
        data: the base model and prompts of every task.
        coefficients: "layer" for one per task and module, "task" for one per task.
        steps: number of Adam steps.
        rate: learning rate of Adam.
        batch: prompts per step.
        rank: rank of the result; defaults to ``min(out, in, sum of ranks)``, which is lossless.
        seed: seed for the order of the prompts.

    Raises:
        MergeError: ``coefficients`` or another setting is invalid.
        TrainingError: the entropy is not finite; names the step.
    """
    check_training(steps, rate, batch, seed)
    if coefficients not in ("layer", "task"):
        raise MergeError(f"coefficients is {coefficients!r}, expected 'layer' or 'task'")
    tasks, modules = len(adapters.tasks), len(adapters.shapes)
    stacks = stacks_of(adapters, data.model.device)

    def clamped(weights: torch.Tensor) -> torch.Tensor:
        return weights.clamp(0, 1).expand(tasks, modules)

    start = torch.full((tasks, modules if coefficients == "layer" else 1), START)
    examples, schedule = data.prompts(adapters.tasks), Schedule(steps, rate, batch, seed=seed)
    learnt = learn_coefficients(stacks, data, start, clamped, entropy, examples, schedule)
    columns = dict(zip(stacks, learnt.T, strict=True))

    def merge(_: AdapterSet, module: str) -> Factors:
        return weighted(stacks[module], columns[module])

    settings = {"coefficients": coefficients, "steps": steps, "rate": rate, "batch": batch}
    return merge_modules(NAME, adapters, merge, rank, {**settings, "seed": seed})


def entropy(model: torch.nn.Module, texts: Batch) -> torch.Tensor:
    """Return the mean entropy of predictions where ``texts`` has labels, a scalar in nats."""
    logs = log_softmax(answer_logits(model, texts)[0], -1)
    return -(logs.exp() * logs).sum(-1).mean()
