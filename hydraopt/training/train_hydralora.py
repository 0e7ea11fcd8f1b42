"""From a base model and data to a HydraLoRA directory."""

import logging
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from ..base_layers import replace_layers
from ..hydralora import HYDRALORA, HydraConfig, HydraLinear, HydraLora
from .experts import choose_experts
from .job import Job, TrainingSetup, run
from .loop import Fitted
from .targets import target_layers

logger = logging.getLogger(__name__)


def train_hydralora(
    job: Job, targets: Sequence[str], experts: int | None, rank: int, alpha: float
) -> Fitted:
    """Train and write ``job.output``.

    Args:
        job: base model, data and schedule.
        targets: names of linear layers or ends of such names.
        experts: N; by default the elbow of k-means on the prompts, see
            :func:`~hydraopt.training.experts.choose_experts`.
        rank: r.
        alpha: of the scale ``alpha / r``.

    Raises:
        OutputError: the output exists, or cannot be written.
        DataError: a base, data or a checkpoint that cannot be read.
        TrainingError: settings that cannot be meant; a loss that is not finite, in which case
            the output holds the last good weights.
    """
    job.check(HYDRALORA)
    if experts is None:
        experts = choose_experts([prompt for prompt, _ in job.pairs], seed=job.schedule.seed)
        logger.info("%d experts, from %d prompts", experts, len(job.pairs))
    config = HydraConfig(experts, rank, alpha)
    setup = TrainingSetup.load(job)
    with torch.random.fork_rng():
        torch.manual_seed(job.schedule.seed)
        layers = add_hydralora(setup.model, targets, config)
    setup.model.train()

    def save() -> None:
        trained = HydraLora.from_layers(layers, config, job.base)
        trained.save(job.output, overwrite=job.overwrite)

    return run(job, setup, parameters(layers), (targets, config), save)


def parameters(layers: Mapping[str, HydraLinear]) -> dict[str, torch.nn.Parameter]:
    """All that is trained, by name."""
    return {
        f"{name}.{kind}": getattr(layer, kind)
        for name, layer in layers.items()
        for kind in ("a", "b", "route")
    }


def add_hydralora(
    model: nn.Module, targets: Sequence[str], config: HydraConfig
) -> dict[str, HydraLinear]:
    """Put HydraLoRA beside the layers that ``targets`` name, in place; only it is trainable.

    Args:
        model: any Hugging Face model; ``transformers.Trainer`` trains it as it is.
        targets: names of linear layers or ends of such names, as in PEFT.
        config: experts, rank and the like.

    Returns:
        Dotted module name -> its layer.

    Raises:
        TrainingError: a target that names no linear layer.
    """
    layers = target_layers(model, targets)
    return replace_layers(model, layers, lambda linear: HydraLinear(linear, config))
