"""Data for calibration and merging methods: the base model and prompts of every task."""

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
    """A base model and (prompt, answer) pairs of every task.

    Attributes:
        model: in evaluation mode, in float32 or after :func:`.use_bfloat16`. Methods freeze its
            weights and do not change them.
        tokenizer: the model's tokenizer.
        examples: task -> pairs; the answer is None if unknown.
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
        """Load a base model from a directory or hub id, onto the GPU if there is one.

        With ``bfloat16`` the model multiplies matrices in that precision.

        Raises:
            DataError: the base cannot be loaded.
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
        """Load a base and read JSON lines of ``task``, ``prompt`` and, with ``labels``, ``answer``.

        Raises:
            DataError: the file is unreadable, a line is invalid (with its number), a task has no
                lines, or the base cannot be loaded.
        """
        read = read_examples if labels else read_unanswered
        return cls.load(base, read(path, tasks))

    def places(self, adapters: AdapterSet) -> Places:
        """Locate the adapters' modules in the model, see :func:`.fitting.places`.

        Raises:
            DataError: the base does not fit the adapters.
        """
        return places_in_causal_lm(self.model, adapters)

    def check(self, adapters: AdapterSet, *, labels: bool) -> None:
        """Check that the adapters fit the base and that every task has usable examples.

        Raises:
            DataError: the adapters do not fit, a task has no examples, or an example has no prompt
                tokens, exceeds the base's context or, with ``labels``, lacks an answer.
        """
        check_task_type(adapters.task_type, CAUSAL_LM, DataError)
        check_layers(self.model, adapters.shapes, DataError)
        for task in adapters.tasks:
            self._check_examples(task, labels)

    def _check_examples(self, task: str, labels: bool) -> None:
        answers = [answer for _, answer in self.examples.get(task, ())]
        if not answers:
            raise DataError(f"task {task!r} has no examples, expected some for each task")
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
        """Tokenise all prompts of some tasks.

        Each answer is a single token 0, so that a batch's labels mark where the answer starts.
        """
        texts = (prompt for task in tasks for prompt, _ in self.examples[task])
        return [(prompt, [0]) for prompt, _ in encode(self.tokenizer, ((x, "") for x in texts))]

    def answered(self, tasks: Iterable[str]) -> list[EncodedExample]:
        """Tokenise all prompts and answers of some tasks; every answer must be known."""
        pairs = (pair for task in tasks for pair in self.examples[task])
        return encode(self.tokenizer, ((prompt, require(x, "answer")) for prompt, x in pairs))
