"""Ways to run a bundle's tasks: through its program, or in transformers without quantisation."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Protocol

import torch
from transformers import PreTrainedModel

from ...adapters import AdapterSet, check_task_type, read_adapters
from ...base_layers import check_layers
from ...errors import AdapterError, DataError, check_task
from ...factors import Factors
from ...fitting import check_base_weights
from ...formats.manifest import Manifest
from ...formats.models import CausalLm
from ...lowering.alternatives import load_base_of
from ...lowering.check import beside_layers
from ...runtime import Session
from ..generated import continued
from .examples import Example, end_tokens

TaskFactors = Mapping[str, Factors]  # by module


class Run(Protocol):
    """What gives answers to examples of one task at a time."""

    @property
    def session(self) -> Session:
        """The open bundle, whose tokenizer and end tokens hold."""

    def switch(self, task: str) -> None:
        """Make a task current."""

    def logits(self, example: Example) -> torch.Tensor:
        """Return the logits that predict each token of the answer, float32 ``[n, vocabulary]``.

        For a classifier those of the classes, ``[1, classes]``.
        """

    def texts(self, prompts: Sequence[Sequence[int]], longest: int) -> Iterator[str]:
        """Yield greedy continuations of at most ``longest`` tokens, up to an end token."""


@dataclass(frozen=True)
class ProgramRun:
    """Runs the bundle's program."""

    session: Session

    def switch(self, task: str) -> None:
        """As :meth:`.Run.switch`."""
        self.session.switch(task)

    def logits(self, example: Example) -> torch.Tensor:
        """As :meth:`.Run.logits`; the answer is given token by token after the prompt."""
        if not isinstance(self.session.manifest.model, CausalLm):
            return self.session.run(example.prompt)[None]
        self.session.reset()
        given = ([*example.prompt], *([token] for token in example.answer[:-1]))
        return torch.stack([self.session.forward(ids) for ids in given])

    def texts(self, prompts: Sequence[Sequence[int]], longest: int) -> Iterator[str]:
        """As :meth:`.Run.texts`."""
        for prompt in prompts:
            yield self.session.decode(list(self.session.generate_ids(prompt, longest)))


class FloatRun:
    """Runs the base in transformers, in float32, with the tasks' unmerged adapters.

    Args:
        session: the open bundle.
        model: its base model.
        factors: task -> module -> factors, float32.
    """

    def __init__(
        self, session: Session, model: PreTrainedModel, factors: Mapping[str, TaskFactors]
    ):
        self.session = session
        self._model, self._factors = model, factors
        self._current: TaskFactors = {}

    @classmethod
    def load(
        cls, session: Session, base: str, sources: Sequence[str], tasks: Collection[str]
    ) -> "FloatRun":
        """Load the base and the adapters of some tasks.

        Args:
            session: the open bundle.
            base: directory or hub id of the base that the bundle was exported with.
            sources: PEFT directories or hub ids; ``NAME=SOURCE`` if the task has another name.
            tasks: the tasks to run.

        Raises:
            AdapterError: an adapter cannot be read, or is for another base.
            TaskError: an adapter is for a task that the bundle lacks.
            DataError: a task has no adapter.
            LoweringError: the base is another model or cannot be loaded.
        """
        manifest = session.manifest
        given = read_adapters(sources)
        _check_adapters(given, manifest, tasks)
        model = load_base_of(manifest, base).model
        check_base_weights(model, given.base_weights, AdapterError)
        placed = given.placed(manifest.layers)
        check_layers(model, placed.all_shapes, AdapterError)
        return cls(session, model, {x.name: {**x.factors, **x.heads} for x in placed.adapters})

    def switch(self, task: str) -> None:
        """As :meth:`.Run.switch`."""
        self._current = self._factors[task]

    @torch.no_grad()
    def logits(self, example: Example) -> torch.Tensor:
        """As :meth:`.Run.logits`, in one call."""
        with beside_layers(self._model, self._current):
            if not isinstance(self.session.manifest.model, CausalLm):
                ids = torch.tensor([example.prompt])
                return self._model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
            ids = torch.tensor([[*example.prompt, *example.answer[:-1]]])
            logits = self._model(input_ids=ids, use_cache=False).logits
        return logits[0, len(example.prompt) - 1 :]

    def texts(self, prompts: Sequence[Sequence[int]], longest: int) -> Iterator[str]:
        """As :meth:`.Run.texts`, in batches; a text ends where the KV cache would be full, too."""
        manifest = self.session.manifest
        ends, most = end_tokens(manifest), manifest.causal_lm.max_length
        with beside_layers(self._model, self._current):
            found = continued(self._model, [[*prompt] for prompt in prompts], longest)
        for prompt, ids in zip(prompts, found, strict=True):
            room = most + 1 - len(prompt)
            yield self.session.decode([*takewhile(lambda x: x not in ends, ids[:room])])


def _check_adapters(given: AdapterSet, manifest: Manifest, tasks: Collection[str]) -> None:
    for task in given.tasks:
        check_task(task, manifest.tasks, "name an adapter's task with NAME=DIRECTORY")
    if missing := [task for task in tasks if task not in given.tasks]:
        raise DataError(
            f"task {missing[0]!r} has examples and no adapter, expected one to compare with; pass "
            "it too",
            options=["adapters"],
        )
    if given.base_model != manifest.base_model:
        raise AdapterError(
            f"the adapters given are for base model {given.base_model!r}, expected "
            f"{manifest.base_model!r} as in the bundle; pass those that it was made of"
        )
    check_task_type(given.task_type, manifest.model.kind, AdapterError)
