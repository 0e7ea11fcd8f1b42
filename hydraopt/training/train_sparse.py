"""From a base model and data to a sparse adapter's directory."""

from collections.abc import Sequence
from dataclasses import asdict

from ..adapters import TASK_NAME
from ..errors import TrainingError
from ..sparse import SPARSE
from .job import Job, TrainingSetup, run
from .loop import Fitted
from .sparse import Masks, SparseConfig, add_sparse, sparse_adapter


def train_sparse(job: Job, targets: Sequence[str], config: SparseConfig) -> Fitted:
    """Train and write ``job.output``; the task is named after that directory.

    Args:
        job: base model, data and schedule.
        targets: names of linear layers or ends of such names.
        config: how much to keep.

    Raises:
        OutputError: the output exists, or cannot be written.
        DataError: a base, data or a checkpoint that cannot be read.
        TrainingError: settings that cannot be meant; a loss that is not finite, in which case
            the output holds the last good weights.
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
    # the masks belong to the weights: kept, restored and written to the checkpoint with them
    state = {f"{name}.delta": layer.delta for name, layer in layers.items()}
    state |= {f"{name}.mask": layer.mask for name, layer in layers.items()}

    def save() -> None:
        adapter = sparse_adapter(layers, job.base, task, asdict(config), block=config.block)
        adapter.save(job.output, overwrite=job.overwrite)

    return run(job, setup, state, (targets, config), save, masks.before_step)
