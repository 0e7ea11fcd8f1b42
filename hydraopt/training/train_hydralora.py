"""From a base model and data to a HydraLoRA directory."""

import logging
from collections.abc import Mapping, Sequence

import torch

from .heads import choose_heads
from .hydralora import HydraConfig, HydraLinear, add_hydralora
from .hydralora_directory import HYDRALORA, HydraLora
from .job import Job, TrainingSetup, run
from .loop import Fitted

logger = logging.getLogger(__name__)


def train_hydralora(
    job: Job, targets: Sequence[str], heads: int | None, rank: int, alpha: float
) -> Fitted:
    """Train and write ``job.output``.

    Args:
        job: base model, data and schedule.
        targets: names of linear layers or ends of such names.
        heads: N; by default the elbow of k-means on the prompts, see
            :func:`~hydraopt.training.heads.choose_heads`.
        rank: r.
        alpha: of the scale ``alpha / r``.

    Raises:
        OutputError: the output exists, or cannot be written.
        DataError: a base, data or a checkpoint that cannot be read.
        TrainingError: settings that cannot be meant; a loss that is not finite, in which case
            the output holds the last good weights.
    """
    job.check(HYDRALORA)
    if heads is None:
        heads = choose_heads([prompt for prompt, _ in job.pairs], seed=job.schedule.seed)
        logger.info("%d heads, from %d prompts", heads, len(job.pairs))
    config = HydraConfig(heads, rank, alpha)
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
