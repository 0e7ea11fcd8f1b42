"""Running a bundle: open it once, switch tasks at will."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from executorch.runtime import Program

from ..errors import BundleError, TaskError, known
from ..formats.layout import payload_bytes, read_layout
from ..formats.manifest import CAUSAL_LM, DATA, DECODE, FORWARD, IMAGE, INPUTS, PROGRAM, Manifest
from .inputs import check_classes, check_ids, example, inputs_of
from .native import Running, load_kernels, load_program, loading
from .sampling import GREEDY, Sampling, next_token
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
        task: the current task, None before the first :meth:`switch`.
        position: number of tokens in the KV cache.
        factors: the current task's, float32, in the manifest's order; none unless they are inputs.
    """

    def __init__(self, bundle: Path, manifest: Manifest):
        self.bundle = bundle
        self.manifest = manifest
        self.task: str | None = None
        self.position = 0
        self._turns = Turns(f"the session of {bundle}")
        self._tokenizer = BundleTokenizer.of(bundle, manifest)
        self._sequence = 0
        load_kernels()
        self._program = load_program(bundle / PROGRAM, manifest.executorch)
        self.factors: Sequence[torch.Tensor] = ()
        if manifest.swap == INPUTS:
            self._method = self._load_method(FORWARD, self._program)
            self._decode = self._load_method(DECODE, self._program)
            layout, shared = read_layout(bundle)
            self._binding = layout.binding(shared)
            self._shared = torch.from_numpy(shared)
            self._pack_bytes = payload_bytes(layout.task)

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

    @in_turn
    def switch(self, task: str) -> None:
        """Make ``task`` the current one and forget the KV cache.

        Tokens cached under one adapter are never read under another.

        Raises:
            TaskError: no such task.
            BundleError: its pack was damaged or replaced after :meth:`open`, or has a head of
                another number of classes than the manifest says.
        """
        manifest = self.manifest
        if task not in manifest.tasks:
            raise TaskError(f"no task {task!r}; there are: {', '.join(self.tasks)}")
        if manifest.swap == DATA:
            manifest.packs[task].read(self.bundle)
            data = self.bundle / manifest.packs[task].file
            program = load_program(self.bundle / PROGRAM, manifest.executorch, data)
            self._program, self._method = program, self._load_method(FORWARD, program)
        elif manifest.swap == INPUTS:
            payload = manifest.packs[task].payload(self.bundle, self._pack_bytes, self._binding)
            shared = () if manifest.static_rows else (self._shared,)
            factors = self._decode.execute([*shared, torch.from_numpy(payload)])
            check_classes(factors, task, manifest)
            self.factors = factors
        else:
            self._method = self._load_method(manifest.methods[task], self._program)
        self.task = task
        self.reset()

    def _load_method(self, name: str, program: Program) -> Running:
        if name not in program.method_names:
            raise BundleError(f"{self.bundle / PROGRAM} has no method {name!r}; export again")
        with loading(f"method {name} of {self.bundle / PROGRAM}"):
            method = program.load_method(name)
        return Running(known(method, f"method {name}"), f"{name} of {self.bundle / PROGRAM}")

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
        self._check_kind(causal_lm=False)
        if isinstance(given, str) and self.manifest.kind != IMAGE:
            given = self.encode(given)
        (output,) = self._method.execute([*inputs_of(given, self.manifest), *self.factors])
        return output[0, ..., : self.manifest.classes.get(known(self.task, "current task"))]

    def _check_kind(self, *, causal_lm: bool) -> None:
        """Raise ``TaskError`` unless the base is, or is not, a causal LM, and a task is current."""
        kind = self.manifest.kind
        if causal_lm != (kind == CAUSAL_LM):
            step = "call generate, stream or forward" if kind == CAUSAL_LM else "call run"
            raise TaskError(f"the base model of {self.bundle} is of kind {kind}; {step}")
        if self.task is None:
            raise TaskError(f"no task is current; switch to one of: {', '.join(self.tasks)}")

    @in_turn
    def forward(self, ids: Sequence[int]) -> torch.Tensor:
        """Append ``ids`` to the sequence; logits ``[vocabulary]``, float32, after the last one.

        The program takes ``prefill_length`` of them at a time.

        Raises:
            TaskError: no causal LM, no current task, no ids or unknown ones, or more than the
                context holds.
        """
        self._check_kind(causal_lm=True)
        end = self.position + len(ids)
        check_ids(ids, self.manifest)
        most = known(self.manifest.max_length, "max length")
        if end > most or len(ids) >= most:
            raise TaskError(
                f"{end} tokens, expected at most {most - 1} in a prompt and "
                f"{most} in all; shorten it or export with more --max-length"
            )
        step = known(self.manifest.prefill_length, "prefill length")
        for piece in (ids[start : start + step] for start in range(0, len(ids), step)):
            positions = torch.arange(self.position, self.position + len(piece))
            (logits,) = self._method.execute([torch.tensor([piece]), positions, *self.factors])
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
        sampling = sampling or GREEDY
        generator = sampling.generator()
        following = list(ids)
        state = None
        for _ in range(max_new_tokens):
            logits, state = self._continue(following, state)
            token = next_token(logits, sampling, generator)
            if token in self.manifest.eos_ids:
                return
            yield token
            if state[1] == self.manifest.max_length:
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
        self._check_kind(causal_lm=True)
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
        self._check_kind(causal_lm=True)
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

    def decode_stream(self, ids: Iterable[int]) -> Iterator[str]:
        """Text of token ids, piece by piece; together they are what :meth:`decode` gives."""
        return known(self._tokenizer, "tokenizer").decode_stream(ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids, empty if the bundle has no tokenizer."""
        return "" if self._tokenizer is None else self._tokenizer.decode(ids)


def verify(bundle: str | Path) -> dict:
    """Open a bundle, switch to every task and run one token, or a black image, with each.

    Raises:
        BundleError: as :meth:`Session.open` and :meth:`Session.switch`, or non-finite outputs.
    """
    session = Session.open(bundle)
    if session._tokenizer is not None:
        session._tokenizer.check(tried=True)
    run = session.forward if session.manifest.kind == CAUSAL_LM else session.run
    for task in session.tasks:
        session.switch(task)
        if not run(example(session.manifest)).isfinite().all():
            raise BundleError(
                f"task {task!r} of {bundle} gives NaN or infinite outputs; export again"
            )
    return {
        "bundle": str(bundle),
        "files": len(session.manifest.names),
        "tasks": len(session.tasks),
    }
