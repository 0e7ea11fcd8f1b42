"""What merging methods that need data are given: the base model, and prompts of every task."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..adapters import AdapterSet, check_task_type
from ..base_layers import check_layers
from ..errors import DataError, require
from ..factors import Places
from ..fitting import places_in_causal_lm
from ..formats.models import CAUSAL_LM
from ..models import context_length
from .batches import EncodedExample, encode, load_model
from .examples import read_examples, read_unanswered
from .loop import pick_device
from .precision import use_bfloat16

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class CalibrationData:
    """A base model, and some (prompt, answer) pairs of every task.

    Attributes:
        model: in evaluation mode, in float32 or as :func:`.use_bfloat16` leaves it. Methods freeze
            its weights, and keep them.
        tokenizer: the model's.
        examples: task -> pairs; an answer is None where it is not known.
    """

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    examples: Mapping[str, Sequence[tuple[str, str | None]]]

    @classmethod
    def load(
        cls,
        base: str,
        examples: Mapping[str, Sequence[tuple[str, str | None]]],
        *,
        bfloat16: bool = False,
    ) -> "CalibrationData":
        """Load a base model, a directory or a hub id; it goes to the GPU if there is one.

        With ``bfloat16`` it multiplies matrices in that precision.

        Raises:
            DataError: it cannot be loaded.
        """
        model, tokenizer = load_model(base)
        model = model.to(pick_device())
        if bfloat16:
            use_bfloat16(model)
        return cls(model, tokenizer, examples)

    @classmethod
    def read(
        cls, base: str, path: Path, tasks: Sequence[str], *, labels: bool
    ) -> "CalibrationData":
        """Read JSON lines of ``task`` and ``prompt``, with ``labels`` also of ``answer``.

        Raises:
            DataError: an unreadable file, a broken line (with its number), a task without lines,
                or a base that cannot be loaded.
        """
        read = read_examples if labels else read_unanswered
        return cls.load(base, read(path, tasks))

    def places(self, adapters: AdapterSet) -> Places:
        """Where the layers of ``adapters`` are in the model, see :func:`.fitting.places`.

        Raises:
            DataError: a base that does not fit the adapters.
        """
        return places_in_causal_lm(self.model, adapters)

    def check(self, adapters: AdapterSet, *, labels: bool) -> None:
        """Refuse adapters that do not belong to the base, and tasks without usable examples.

        Raises:
            DataError: one of these; a prompt without tokens, an example that is longer than the
                base's context, or with ``labels`` one without answer.
        """
        check_task_type(adapters.task_type, CAUSAL_LM, DataError)
        check_layers(self.model, adapters.shapes, DataError)
        for task in adapters.tasks:
            self._check_examples(task, labels)

    def _check_examples(self, task: str, labels: bool) -> None:
        answers = [answer for _, answer in self.examples.get(task, ())]
        if not answers:
            raise DataError(f"no example of task {task!r}, expected some for each task")
        if labels and None in answers:
            raise DataError(f"example {answers.index(None) + 1} of task {task!r} has no answer")
        limit = context_length(self.model)
        encoded = self.answered([task]) if labels else self.prompts([task])
        for number, (prompt, answer) in enumerate(encoded, 1):
            if not prompt:
                raise DataError(
                    f"the prompt of example {number} of task {task!r} has no tokens, expected "
                    "some; correct it"
                )
            if (count := len(prompt) + len(answer)) > limit:
                raise DataError(
                    f"example {number} of task {task!r} has {count} tokens, expected at most "
                    f"{limit}, the base's context; shorten it"
                )

    def prompts(self, tasks: Iterable[str]) -> list[EncodedExample]:
        """The tokens of all prompts of some tasks.

        Each has one token 0 in place of its answer: a batch's labels mark where it is predicted.
        """
        texts = (prompt for task in tasks for prompt, _ in self.examples[task])
        return [(prompt, [0]) for prompt, _ in encode(self.tokenizer, ((x, "") for x in texts))]

    def answered(self, tasks: Iterable[str]) -> list[EncodedExample]:
        """The tokens of all prompts of some tasks with their answers, which must be there."""
        pairs = (pair for task in tasks for pair in self.examples[task])
        return encode(self.tokenizer, ((prompt, require(x, "answer")) for prompt, x in pairs))
