"""Train one adapter from files to a directory; shared by all kinds of adapters."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..errors import TrainingError
from ..files import check_output, sha256
from ..models import context_length
from .batches import EncodedExample, answer_loss, batch, encode, load_model
from .examples import read_lines
from .loop import Fitted, Schedule, fit, pick_device, remove_checkpoint


@dataclass(frozen=True)
class Job:
    """Inputs, output and schedule of one training.

    Attributes:
        base: directory or hub id of the base model.
        data: JSON lines of ``prompt`` and ``answer``.
        output: directory to write. A checkpoint is kept beside it until training ends.
        schedule: training schedule.
        resume: continue from the checkpoint.
        overwrite: replace an existing ``output``.
    """

    base: str
    data: Path
    output: Path
    schedule: Schedule
    resume: bool = False
    overwrite: bool = False

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """(prompt, answer) pairs; raises ``DataError`` for an invalid line, with its number."""
        lines = read_lines(self.data, ("prompt", "answer"))
        return [(fields["prompt"], fields["answer"]) for _, fields in lines]

    def check(self, kind: str) -> None:
        """Validate the job before anything is loaded.

        Raises:
            OutputError: ``output`` exists and cannot be replaced by a directory of this kind.
            DataError: the data is invalid.
            TrainingError: steps, batch or rate is not positive.
        """
        check_output(self.output, kind, overwrite=self.overwrite)
        for name in ("steps", "batch", "rate"):
            value = getattr(self.schedule, name)
            if not 0 < value < float("inf"):
                raise TrainingError(f"{name} is {value}, expected a positive number")
        self.pairs  # noqa: B018

    def checkpoint(self, settings: object) -> Path:
        """Return the checkpoint's path, unique to the base, data, schedule and ``settings``."""
        parts = (self.base, sha256(self.data), str(settings), str(asdict(self.schedule)))
        digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]
        return self.output.resolve().with_name(f".{self.output.name}.{digest}.checkpoint")


@dataclass(frozen=True)
class TrainingSetup:
    """A base model on its device, the encoded data and the loss."""

    model: PreTrainedModel
    examples: Sequence[EncodedExample]

    @classmethod
    def load(cls, job: Job) -> "TrainingSetup":
        """Load the base model and tokenise the data."""
        model, tokenizer = load_model(job.base)
        return cls(model.to(pick_device()), _encoded(tokenizer, model, job))

    def loss(self, examples: Sequence[EncodedExample]) -> torch.Tensor:
        """Return the mean cross entropy of the answer tokens, in nats."""
        device = self.model.device
        return answer_loss(self.model, batch(examples).to(device))


def _encoded(
    tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, job: Job
) -> Sequence[EncodedExample]:
    examples = encode(tokenizer, job.pairs)
    limit = context_length(model)
    longest = max(len(prompt) + len(answer) for prompt, answer in examples)
    if longest > limit:
        raise TrainingError(
            f"the longest example of {job.data} has {longest} tokens, expected at most {limit}, "
            "the base's context; shorten it"
        )
    return examples


def run(
    job: Job,
    setup: TrainingSetup,
    parameters: Mapping[str, torch.Tensor],
    settings: object,
    save: Callable[[], None],
    before_step: Callable[[int, Sequence[EncodedExample]], None] | None = None,
) -> Fitted:
    """Train ``parameters`` and save them.

    If training fails, the best weights so far are saved unless ``job.output`` already exists.

    Args:
        job: data and schedule.
        setup: model and encoded data.
        parameters: as for :func:`~hydraopt.training.loop.fit`.
        settings: everything else that the result depends on; identifies the checkpoint.
        save: writes ``job.output``.
        before_step: as for ``fit``.

    Raises:
        TrainingError: there is no checkpoint to resume, or the loss is not finite.
        DataError: the checkpoint is damaged or belongs to another training.
    """
    checkpoint = job.checkpoint(settings)
    if job.resume and not checkpoint.exists():
        raise TrainingError(
            f"there is no checkpoint {checkpoint} for this base, data and settings; check them, or "
            "start again",
            options=["resume"],
        )
    if not job.resume:
        remove_checkpoint(checkpoint)
    job.output.resolve().parent.mkdir(parents=True, exist_ok=True)
    try:
        fitted = fit(
            parameters,
            setup.loss,
            setup.examples,
            job.schedule,
            checkpoint=checkpoint,
            before_step=before_step,
        )
    except TrainingError as error:
        if job.output.exists():
            raise TrainingError(f"{error}; {job.output} is unchanged") from error
        save()
        raise TrainingError(f"{error}; the weights are in {job.output}") from error
    save()
    checkpoint.unlink(missing_ok=True)
    return fitted
