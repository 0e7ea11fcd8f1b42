"""Train a HydraLoRA adapter and write its directory."""

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
    """Train an adapter and write it to ``job.output``.

    Args:
        job: base model, data and schedule.
        targets: names of linear layers, or ends of such names.
        experts: N; None chooses it from the prompts, see
            :func:`~hydraopt.training.experts.choose_experts`.
        rank: r.
        alpha: numerator of the scale ``alpha / r``.

    Raises:
        OutputError: the output exists or cannot be written.
        DataError: the base, the data or a checkpoint cannot be read.
        TrainingError: a setting is invalid, or the loss is not finite; in the latter case the
            output holds the best weights so far.
    """
    job.check(HYDRALORA)
    if experts is None:
        experts = choose_experts([prompt for prompt, _ in job.pairs], seed=job.schedule.seed)
        logger.info("%d experts, chosen from %d prompts", experts, len(job.pairs))
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
    """Return all trainable parameters by name."""
    return {
        f"{name}.{kind}": getattr(layer, kind)
        for name, layer in layers.items()
        for kind in ("a", "b", "route")
    }


def add_hydralora(
    model: nn.Module, targets: Sequence[str], config: HydraConfig
) -> dict[str, HydraLinear]:
    """Add HydraLoRA to the target layers of ``model``, in place; everything else is frozen.

    Args:
        model: any Hugging Face model; ``transformers.Trainer`` can train it afterwards.
        targets: names of linear layers, or ends of such names, as in PEFT.
        config: shape of the adapter.

    Returns:
        Dotted module name -> HydraLoRA layer.

    Raises:
        TrainingError: a target is not a linear layer.
    """
    layers = target_layers(model, targets)
    return replace_layers(model, layers, lambda linear: HydraLinear(linear, config))
