"""``hydraopt chat``: a conversation in the terminal."""

import logging
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import HydraOptError, UsageError
from ..shown import visible
from .ending import error_line
from .options import MOST, Seed, Stop, Temperature, TopK, TopP, messages
from .parsing import weights
from .run import printed, sampling_of

if TYPE_CHECKING:
    from ..runtime import Chat, Sampling, Session

HELP = """\
/task NAME       answer with this task's adapter
/mix A=0.6 B=1   answer with a mixture of tasks
/base            answer with the base model itself
/retry           answer the last message again
/system TEXT     another system prompt; without TEXT, the chat template's own
/help            this list
/quit            end, as Ctrl-D does; Ctrl-C ends an answer"""


def chat(
    bundle: Annotated[Path, typer.Argument(help="Bundle to talk to.")],
    task: Annotated[
        str | None, typer.Option(help="Task to switch to; without it, the base itself.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="System prompt.")] = None,
    max_new_tokens: Annotated[
        int, typer.Option(max=MOST, min=1, help="Maximum number of tokens in an answer.")
    ] = 256,
    temperature: Temperature = 0,
    top_p: TopP = None,
    top_k: TopK = None,
    seed: Seed = None,
    stop: Stop = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print speed to standard error.")
    ] = False,
) -> None:
    """Talk to a bundle: a message a line, or a command such as /task NAME; /help lists them.

    When the context is full, the oldest messages are dropped.
    """
    from ..runtime import Session

    sampling = sampling_of(temperature, top_p, top_k, seed)
    session = Session.open(bundle)
    session.switch(task)
    talk = Talk(
        session,
        session.chat(system, full="drop"),
        Answering(max_new_tokens, sampling, tuple(stop or ())),
        verbose or logging.getLogger("hydraopt").isEnabledFor(logging.INFO),
    )
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(errors="surrogateescape")  # is refused as what it is
    with interrupts_raise():
        for line in lines():
            talk.take(line)


@dataclass(frozen=True)
class Answering:
    """How messages are answered: the arguments of ``Chat.send`` and ``Chat.retry``."""

    max_new_tokens: int
    sampling: "Sampling"
    stop: tuple[str, ...]


@dataclass
class Talk:
    """A conversation, line by line."""

    session: "Session"
    chat: "Chat"
    answering: Answering
    verbose: bool

    def take(self, line: str) -> None:
        """Answer a message or follow a command; a mistake is a line, as is an interrupt."""
        try:
            if line.startswith("/"):
                self._follow(*line.rstrip().partition(" ")[::2])
            elif line.strip():
                self._show(self.chat.send(line, **vars(self.answering)))
        except HydraOptError as error:
            tell(error_line(error))
        except KeyboardInterrupt:
            print()

    def _follow(self, command: str, rest: str) -> None:
        commands: dict[str, Callable[[], object]] = {
            "/task": lambda: self.session.switch(rest),
            "/mix": lambda: self.session.switch(weights(command, rest.split())),
            "/base": lambda: self.session.switch(None),
            "/retry": lambda: self._show(self.chat.retry(**vars(self.answering))),
            "/system": lambda: setattr(self.chat, "system", rest or None),
            "/help": lambda: print(HELP),
        }
        if command not in commands:
            raise UsageError(f"no command {command!r}; /help lists them")
        commands[command]()

    def _show(self, answer: Generator[str, None, None]) -> None:
        dropped, start, first = self.chat.dropped, time.perf_counter(), None
        with closing(answer):  # an interrupt ends it
            for _ in printed(answer):
                first = first or time.perf_counter()
        if self.chat.dropped > dropped:
            tell(f"the context is full: {self.chat.dropped - dropped} oldest messages are dropped")
        if self.verbose and first and self.chat.end:
            count, seconds = len(self.chat.ids), time.perf_counter() - first
            rate = f", {(count - 1) / seconds:,.1f} tokens/s" if count > 1 else ""
            begin = f"first after {1000 * (first - start):,.1f} ms"
            tell(f"{count} tokens{rate}, {begin}, ended by {self.chat.end.value}")


def lines() -> Iterator[str]:
    """Yield the lines of standard input until its end or ``/quit``, edited on a terminal."""
    prompt = ""
    if sys.stdin.isatty():
        with suppress(ImportError):
            import readline  # noqa: F401 makes input editable
        prompt = "> "
        tell("/help lists the commands")
    while True:
        try:
            line = input(prompt)
        except KeyboardInterrupt:
            print()
            continue
        except EOFError:
            return
        if line.strip() == "/quit":
            return
        yield line


@contextmanager
def interrupts_raise() -> Iterator[None]:
    """Let SIGINT raise ``KeyboardInterrupt``, instead of ending the command, unless ignored."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def tell(line: str) -> None:
    """Print a line to standard error."""
    messages.print(visible(line), markup=False, highlight=False, soft_wrap=True)
