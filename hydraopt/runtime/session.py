"""Running a bundle: open it once, switch tasks at will."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch

from ..errors import TaskError, check_task, require
from ..formats.manifest import Manifest
from ..formats.models import CausalLm, Encoder
from .inputs import check_ids, inputs_of
from .native import load_kernels
from .sampling import GREEDY, Sampling, next_token
from .tasks import Ready, task_loader
from .text import BundleTokenizer
from .turns import Turns, in_turn


class Session:
    """A bundle in memory: one program, one current task, and of a causal LM one KV cache.

    A causal LM is asked by :meth:`forward`, :meth:`generate` and :meth:`stream`; an encoder or an
    image model by :meth:`run`.

    Threads that share a session take turns call by call. A generation is many calls: one ends with
    ``TaskError`` if a call in between changed the task or the KV cache, so that threads which
    generate need a session each. In a process that was forked after :meth:`open` every call is a
    ``UsageError``; open the bundle again there.

    Attributes:
        manifest: what the bundle holds.
        position: number of tokens in the KV cache.
    """

    def __init__(self, bundle: Path, manifest: Manifest):
        self.bundle = bundle
        self.manifest = manifest
        self.position = 0
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
            BundleError: a file that is missing, damaged, from another bundle or of a newer format.
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
        """The current task, None before the first :meth:`switch`."""
        return self._current.task if self._current else None

    @property
    def factors(self) -> Sequence[torch.Tensor]:
        """The current task's, float32, in the manifest's order; none unless they are inputs."""
        return self._current.factors if self._current else ()

    @in_turn
    def switch(self, task: str) -> None:
        """Make ``task`` the current one and forget the KV cache.

        Tokens cached under one adapter are never read under another. If it fails, task and KV
        cache stay as they are.

        Raises:
            TaskError: no such task.
            BundleError: its pack was damaged or replaced after :meth:`open`, or has a head of
                another number of classes than the manifest says.
        """
        check_task(task, self.tasks)
        self._current = self._load(task)
        self.reset()

    @in_turn
    def reset(self) -> None:
        """Start a new sequence: the next token goes to position 0."""
        self.position = 0
        self._sequence += 1

    @in_turn
    def run(self, given: str | Sequence[int] | torch.Tensor) -> torch.Tensor:
        """What an encoder or an image model makes of one text or image with the current task.

        Args:
            given: of an encoder a text or its token ids; of an image model pixel values, float32
                ``[C, H, W]`` or ``[1, C, H, W]``.

        Returns:
            float32: an embedding ``[d]``, or the task's logits: ``[classes]``, or of every token
            ``[S, classes]`` if the manifest says so.

        Raises:
            TaskError: a causal LM, no current task, or an input that the model cannot take.
        """
        model = self.manifest.model
        if isinstance(model, CausalLm):
            raise self._of_kind("call generate, stream or forward")
        current = self._ready()
        if isinstance(given, str) and isinstance(model, Encoder):
            given = self.encode(given)
        (output,) = current.method.execute([*inputs_of(given, model), *current.factors])
        return output[0, ..., : self.manifest.classes.get(current.task)]

    def _causal_lm(self) -> CausalLm:
        """The base, where a task is current and it continues texts; else ``TaskError``."""
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
        """Append ``ids`` to the sequence; logits ``[vocabulary]``, float32, after the last one.

        The program takes ``prefill_length`` of them at a time.

        Raises:
            TaskError: no causal LM, no current task, no ids or unknown ones, or more than the
                context holds.
        """
        model, current = self._causal_lm(), self._ready()
        end, most = self.position + len(ids), model.max_length
        check_ids(ids, model)
        if end > most or len(ids) >= most:
            raise TaskError(
                f"{end} tokens, expected at most {most - 1} in a prompt and "
                f"{most} in all; shorten it or export with a longer context",
                options=["max_length"],
            )
        step = model.prefill_length
        for piece in (ids[start : start + step] for start in range(0, len(ids), step)):
            positions = torch.arange(self.position, self.position + len(piece))
            inputs = [torch.tensor([piece]), positions, *current.factors]
            (logits,) = current.method.execute(inputs)
            self.position += len(piece)
        return logits[0, -1]

    def generate_ids(
        self, ids: Sequence[int], max_new_tokens: int = 64, *, sampling: Sampling | None = None
    ) -> Iterator[int]:
        """Continuation of a new sequence ``ids``, to an end token or the context's end.

        Args:
            ids: the prompt.
            max_new_tokens: most tokens to yield.
            sampling: how each is chosen; greedy by default.

        Raises:
            TaskError: as :meth:`forward`; also if another sequence was started in between, or this
                one continued.
        """
        model = self._causal_lm()
        sampling = sampling or GREEDY
        generator = sampling.generator()
        following = list(ids)
        state = None
        for _ in range(max_new_tokens):
            logits, state = self._continue(following, state)
            token = next_token(logits, sampling, generator)
            if token in model.eos_ids:
                return
            yield token
            if state[1] == model.max_length:
                return
            following = [token]

    @in_turn
    def _continue(
        self, ids: Sequence[int], state: tuple[int, int] | None
    ) -> tuple[torch.Tensor, tuple[int, int]]:
        """Logits as of :meth:`forward`, and the state after it: sequence and position.

        It is a new sequence if ``state`` is None, and else the one that was left in that state.
        """
        if state is None:
            self.reset()
        elif state != (self._sequence, self.position):
            raise TaskError(
                "the session was used, switched or reset during this generation; finish one "
                "before the next, or open a session for each"
            )
        return self.forward(ids), (self._sequence, self.position)

    def stream(
        self,
        text: str,
        max_new_tokens: int = 64,
        *,
        sampling: Sampling | None = None,
        chat: bool = False,
    ) -> Iterator[str]:
        """Continuation of ``text``, piece by piece as it is decoded.

        Args:
            text: the prompt, or with ``chat`` the user's message.
            max_new_tokens: most tokens to generate.
            sampling: how each is chosen; greedy by default.
            chat: answer ``text`` as one user turn of the base's chat template.

        Raises:
            TaskError: as :meth:`forward` and :meth:`encode`.
        """
        self._causal_lm()
        ids = self.encode(text, chat=chat)
        return self.decode_stream(self.generate_ids(ids, max_new_tokens, sampling=sampling))

    def generate(
        self,
        text: str,
        max_new_tokens: int = 64,
        *,
        sampling: Sampling | None = None,
        chat: bool = False,
    ) -> str:
        """Continuation of ``text``, without it; arguments and errors as :meth:`stream`."""
        self._causal_lm()
        ids = self.encode(text, chat=chat)
        return self.decode(list(self.generate_ids(ids, max_new_tokens, sampling=sampling)))

    def encode(self, text: str, *, chat: bool = False) -> list[int]:
        """Token ids of ``text``, or with ``chat`` of a prompt that asks it as one user turn.

        Raises:
            TaskError: text that is no UTF-8 or that the tokenizer does not take; the bundle has no
                tokenizer, or no chat template.
        """
        if self._tokenizer is None:
            raise TaskError(f"{self.bundle} has no tokenizer; pass token ids")
        return self._tokenizer.encode(text, chat=chat)

    def try_tokenizer(self) -> None:
        """Wait until the tokenizer, if there is one, has held for texts of all sorts.

        Raises:
            BundleError: it fails.
        """
        if self._tokenizer is not None:
            self._tokenizer.check(tried=True)

    def decode_stream(self, ids: Iterable[int]) -> Iterator[str]:
        """Text of token ids, piece by piece; together they are what :meth:`decode` gives."""
        return require(self._tokenizer, "tokenizer").decode_stream(ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids, empty if the bundle has no tokenizer."""
        return "" if self._tokenizer is None else self._tokenizer.decode(ids)
