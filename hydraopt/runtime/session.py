"""``Session`` opens a bundle once, switches between its tasks and runs them."""

from collections.abc import Generator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch

from ..errors import TaskError
from ..formats.manifest import Manifest
from ..formats.models import CausalLm, Encoder
from .endings import End
from .inputs import check_continuation, inputs_of
from .mixtures import Mixture, mixture_of
from .native import load_kernels
from .sampling import GREEDY, Sampling, next_token
from .tasks import Ready, task_loader
from .text import BundleTokenizer
from .texts import Texts
from .turns import Turns, in_turn


class Session(Texts):
    """A loaded bundle: one program, one current task and, for a causal LM, one KV cache.

    Use :meth:`generate`, :meth:`stream` or :meth:`forward` with a causal LM, and :meth:`run` with
    an encoder or an image model.

    A session is thread-safe call by call. A generation makes many calls, and raises ``TaskError``
    if another thread changes the task or the KV cache in between: open one session per generating
    thread. After a fork every call raises ``UsageError``; open the bundle again in the child.

    Attributes:
        manifest: the bundle's manifest.
    """

    def __init__(self, bundle: Path, manifest: Manifest):
        self.bundle = bundle
        self.manifest = manifest
        self._cached: list[int] = []
        self._turns = Turns(f"the session of {bundle}")
        self._tokenizer = BundleTokenizer.of(bundle, manifest)
        self._sequence = 0
        load_kernels()
        self._load = task_loader(bundle, manifest)
        self._current: Ready | None = None

    @classmethod
    def open(cls, bundle: str | Path) -> "Session":
        """Check every file of ``bundle`` against the manifest and load the program.

        Raises:
            BundleError: a file is missing, damaged, foreign or of another version.
        """
        bundle = Path(bundle)
        manifest = Manifest.read(bundle)
        manifest.check_files(bundle)
        session = cls(bundle, manifest)
        if session._tokenizer is not None:
            session._tokenizer.check()
        return session

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks in the bundle."""
        return self.manifest.tasks

    @property
    def task(self) -> str | None:
        """The current task; None for a mixture, for the base and before the first switch."""
        return self._current.task if self._current else None

    @property
    def mixture(self) -> Mixture:
        """Weights of the current tasks by name; empty for the base."""
        return self._current.mixture if self._current else {}

    @property
    def position(self) -> int:
        """Number of tokens in the KV cache."""
        return len(self._cached)

    @property
    def factors(self) -> Sequence[torch.Tensor]:
        """The current task's factors, float32, in manifest order; empty unless they are inputs."""
        return self._current.factors if self._current else ()

    @in_turn
    def switch(
        self, task: str | Mixture | None, *, scale: float = 1.0, keep_cache: bool = False
    ) -> None:
        """Make a task, a mixture of tasks or the base current, and reset the KV cache.

        Tokens cached under one adapter are not read under another, unless the caller keeps the
        cache. A switch that fails leaves the task and the KV cache unchanged.

        Args:
            task: its name; or weights by name, -16 to 16, for the base plus the weighted sum of
                the tasks' deltas; or None for the base without an adapter.
            scale: weight of a single task.
            keep_cache: keep the tokens in the KV cache: for adapters that are trained to read the
                base's, such as activated LoRA.

        Raises:
            TaskError: the bundle has no such task, or it cannot mix, scale or leave out adapters or
                keep its cache; or a weight is out of range.
            BundleError: a pack was damaged or replaced after :meth:`open`, or its head does not
                have the number of classes that the manifest states.
        """
        self._current = self._load(mixture_of(task, scale, self.tasks), keep_cache)
        self.rewind(self.position if keep_cache else 0)

    @in_turn
    def reset(self) -> None:
        """Start a new sequence: the next token goes to position 0."""
        self.rewind(0)

    @in_turn
    def rewind(self, position: int) -> None:
        """Go back in the sequence: keep the first ``position`` tokens and forget the others.

        Raises:
            TaskError: there are fewer tokens.
        """
        if not 0 <= position <= self.position:
            raise TaskError(
                f"cannot rewind to position {position}: the KV cache has {self.position} tokens"
            )
        del self._cached[position:]
        self._sequence += 1

    @in_turn
    def run(self, given: Any) -> torch.Tensor:
        """Run an encoder or an image model on one input with the current task.

        Args:
            given: a text or its token ids for an encoder; for an image model an RGB picture of any
                size, of Pillow or uint8 ``[height, width, 3]``, or pixel values, float32
                ``[C, H, W]`` or ``[1, C, H, W]``.

        Returns:
            float32: an embedding ``[d]``, logits ``[classes]``, or logits of every token
            ``[S, classes]`` if the manifest has ``per_token``.

        Raises:
            TaskError: the model is a causal LM, no task is current, or the input is invalid.
        """
        model = self.manifest.model
        if isinstance(model, CausalLm):
            raise self._of_kind("call generate, stream or forward")
        current = self._ready()
        if isinstance(given, str) and isinstance(model, Encoder):
            given = self.encode(given)
        (output,) = current.method.execute([*inputs_of(given, model), *current.factors])
        return output[0, ..., : self.manifest.classes.get(current.task or "")]

    def _causal_lm(self) -> CausalLm:
        """Return the causal LM; raise ``TaskError`` for another kind or without a current task."""
        if not isinstance(self.manifest.model, CausalLm):
            raise self._of_kind("call run")
        self._ready()
        return self.manifest.model

    def _of_kind(self, step: str) -> TaskError:
        kind = self.manifest.model.kind
        return TaskError(f"the base model of {self.bundle} is of kind {kind}; {step}")

    def _ready(self) -> Ready:
        if self._current is None:
            raise TaskError(f"no task is current; switch to one of: {', '.join(self.tasks)}")
        return self._current

    @in_turn
    def forward(self, ids: Sequence[int]) -> torch.Tensor:
        """Append ``ids`` to the sequence, in calls of at most ``prefill_length`` tokens.

        Returns:
            Logits after the last token, float32 ``[vocabulary]``.

        Raises:
            TaskError: the model is not a causal LM, no task is current, ``ids`` is empty or holds
                unknown ids, or the sequence exceeds the context.
        """
        model, current = self._causal_lm(), self._ready()
        check_continuation(ids, self.position, model)
        step = model.prefill_length
        for piece in (ids[start : start + step] for start in range(0, len(ids), step)):
            positions = torch.arange(self.position, self.position + len(piece))
            inputs = [torch.tensor([piece]), positions, *current.factors]
            (logits,) = current.method.execute(inputs)
            self._cached += piece
        return logits[0, -1]

    def generate_ids(
        self,
        ids: Sequence[int],
        max_new_tokens: int = 64,
        *,
        sampling: Sampling | None = None,
        reuse: bool = False,
    ) -> Generator[int, None, End]:
        """Start a new sequence with ``ids`` and yield its continuation token by token.

        Stops at an end token, after ``max_new_tokens``, or when the context is full.

        Args:
            ids: token ids of the prompt.
            max_new_tokens: maximum number of tokens to generate.
            sampling: how tokens are chosen; greedy by default.
            reuse: keep those tokens of the KV cache with which ``ids`` begin.

        Returns:
            Why it ended.

        Raises:
            TaskError: as :meth:`forward`; or another call changed the sequence in between.
        """
        model = self._causal_lm()
        sampling = sampling or GREEDY
        generator = sampling.generator()
        following, state = self._begin(ids, reuse)
        for _ in range(max_new_tokens):
            logits, state = self._continue(following, state)
            token = next_token(logits, sampling, generator)
            if token in model.eos_ids:
                return End.END_TOKEN
            yield token
            if state[1] == model.max_length:
                return End.CONTEXT
            following = [token]
        return End.MAX_NEW_TOKENS

    @in_turn
    def _begin(self, ids: Sequence[int], reuse: bool) -> tuple[Sequence[int], tuple[int, int]]:
        """Rewind for a new sequence; return those of its ids that are not cached, and the state."""
        pairs = zip(self._cached, ids[:-1] if reuse else (), strict=False)
        self.rewind(sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs)))
        return ids[self.position :], (self._sequence, self.position)

    @in_turn
    def _continue(
        self, ids: Sequence[int], state: tuple[int, int]
    ) -> tuple[torch.Tensor, tuple[int, int]]:
        """Run :meth:`forward` in a state; return its logits and the state after it.

        A state is the number of the sequence and the position.
        """
        if state != (self._sequence, self.position):
            raise TaskError(
                "the session was used, switched or reset during this generation; finish one "
                "before the next, or open a session for each"
            )
        return self.forward(ids), (self._sequence, self.position)

    def try_tokenizer(self) -> None:
        """Test the tokenizer, if there is one, on texts of many kinds.

        Raises:
            BundleError: the tokenizer fails on one.
        """
        if self._tokenizer is not None:
            self._tokenizer.check(tried=True)
