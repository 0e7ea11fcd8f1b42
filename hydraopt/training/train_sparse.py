"""Train a sparse adapter and write its directory."""

from collections.abc import Sequence
from dataclasses import asdict

from ..adapters import TASK_NAME
from ..errors import TrainingError
from ..sparse import SPARSE
from .job import Job, TrainingSetup, run
from .loop import Fitted
from .sparse import Masks, SparseConfig, add_sparse, sparse_adapter


def train_sparse(job: Job, targets: Sequence[str], config: SparseConfig) -> Fitted:
    """Train an adapter and write it to ``job.output``, whose name becomes the task's name.

    Args:
        job: base model, data and schedule.
        targets: names of linear layers, or ends of such names.
        config: density and granularity.

    Raises:
        OutputError: the output exists or cannot be written.
        DataError: the base, the data or a checkpoint cannot be read.
        TrainingError: a setting is invalid, or the loss is not finite; in the latter case the
            output holds the best weights so far.
    """
    job.check(SPARSE)
    task = job.output.resolve().name
    if not TASK_NAME.fullmatch(task):
        raise TrainingError(
            f"output {task!r} names the task, expected up to 100 letters, digits and . + - _"
        )
    setup = TrainingSetup.load(job)
    layers = add_sparse(setup.model, targets, config)
    epoch = max(1, len(setup.examples) // job.schedule.batch)
    masks = Masks(layers, config, setup.loss, job.schedule, epoch)
    # masks are part of the state: kept, restored and checkpointed together with the deltas
    state = {f"{name}.delta": layer.delta for name, layer in layers.items()}
    state |= {f"{name}.mask": layer.mask for name, layer in layers.items()}

    def save() -> None:
        adapter = sparse_adapter(layers, job.base, task, asdict(config), block=config.block)
        adapter.save(job.output, overwrite=job.overwrite)

    return run(job, setup, state, (targets, config), save, masks.before_step)
