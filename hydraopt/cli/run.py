"""``hydraopt run``: generate text or token ids, or run an encoder or image model."""

import json
import logging
import sys
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UsageError
from ..reading import shortened
from ..shown import shell, visible
from . import report
from .options import (
    MOST,
    ChatArguments,
    Json,
    Seed,
    Stop,
    Temperature,
    TopK,
    TopP,
    finite,
    messages,
)
from .parsing import arguments, integers, weights

if TYPE_CHECKING:
    from ..formats.chat import ChatTemplate
    from ..runtime import Sampling, Session

logger = logging.getLogger(__name__)


def run(
    bundle: Annotated[Path, typer.Argument(help="Bundle to run.")],
    task: Annotated[
        str | None,
        typer.Option(help="Task to switch to; without it, and without --mix, the base itself."),
    ] = None,
    scale: Annotated[
        float | None, typer.Option(callback=finite, help="Weight of the task's adapter, such as .7")
    ] = None,
    mix: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TASK=WEIGHT",
            help="Instead of --task: add this task's adapter, times the weight, to a mixture; "
            "repeatable.",
        ),
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="Prompt text.")] = None,
    chat: Annotated[
        bool, typer.Option("--chat", help="Apply the base model's chat template to --prompt.")
    ] = False,
    chat_template_arg: ChatArguments = None,
    ids: Annotated[str | None, typer.Option(help="Prompt as token ids, such as 1,2,3.")] = None,
    max_new_tokens: Annotated[
        int, typer.Option(max=MOST, min=1, help="Maximum number of tokens to generate.")
    ] = 64,
    temperature: Temperature = 0,
    top_p: TopP = None,
    top_k: TopK = None,
    seed: Seed = None,
    stop: Stop = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print speed to standard error.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a prompt through a task's adapter, a mixture of tasks, or the base."""
    if (prompt is None) == (ids is None):
        raise UsageError("pass either --prompt or --ids")
    if task is not None and mix:
        raise UsageError("pass either --task or --mix")
    if scale is not None and task is None:
        raise UsageError("--scale goes with --task; --mix has weights")
    if chat and prompt is None:
        raise UsageError("--chat goes with --prompt: the template is text")
    if chat_template_arg and not chat:
        raise UsageError("--chat-template-arg does nothing without --chat; pass --chat too")
    if stop and prompt is None:
        raise UsageError("--stop goes with --prompt: it ends a text")
    from ..formats.models import CausalLm
    from ..runtime import Session

    sampling = sampling_of(temperature, top_p, top_k, seed)
    tokens = [] if ids is None else integers("--ids", ids)
    given = arguments("--chat-template-arg", chat_template_arg or ())
    mixture = weights("--mix", mix) if mix else None
    if verbose:
        logging.getLogger("hydraopt").setLevel(logging.INFO)
    session = Session.open(bundle)
    model = session.manifest.model
    if isinstance(model, CausalLm):
        check_chat(model.chat, given)
    session.switch(mixture or task, scale=1.0 if scale is None else scale)
    if not isinstance(model, CausalLm):
        if chat or temperature or stop:
            option = "--chat" if chat else "--temperature" if temperature else "--stop"
            raise UsageError(
                f"{option} is for models that generate text; that of {bundle} is an {model.kind}"
            )
        output = session.run(tokens or prompt).tolist()
        report.print_json({**_current(session), "output": output} if as_json else output)
        return
    form = "json" if as_json else "text" if ids is None else "ids"
    if prompt is not None:
        tokens = session.encode(prompt, chat=chat)
    show(session, tokens, max_new_tokens, sampling, form, stop or ())


def check_chat(chat: "ChatTemplate | None", given: Mapping[str, Any]) -> None:
    """Raise ``UsageError`` for template variables other than those of the export.

    A bundle keeps the text around a prompt that the template rendered then, not the template.
    """
    for name, value in given.items():
        if chat and chat.arguments.get(name) != json.dumps(value, sort_keys=True):
            was = f"{name}={chat.arguments[name]}" if name in chat.arguments else f"no {name}"
            wanted = shell(shortened(f"{name}={json.dumps(value)}"))
            raise UsageError(
                f"the bundle's chat was exported with {shortened(was)}; export again with "
                f"--chat-template-arg {wanted}"
            )


def sampling_of(
    temperature: float, top_p: float | None, top_k: int | None, seed: int | None
) -> "Sampling":
    """Return the sampling options.

    Raises:
        UsageError: an option is out of range, or has no effect.
    """
    from ..runtime import Sampling

    options = {"top_p": top_p, "top_k": top_k, "seed": seed}
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    sampling = Sampling(temperature, **given)
    if given and temperature == 0:
        option = "--" + next(iter(given)).replace("_", "-")
        raise UsageError(f"{option} does nothing without --temperature; pass --temperature 1 too")
    return sampling


def show(
    session: "Session",
    prompt: Sequence[int],
    limit: int,
    sampling: "Sampling",
    form: str,
    stop: Sequence[str],
) -> None:
    """Generate and print.

    Args:
        session: session that was switched.
        prompt: token ids.
        limit: maximum number of new tokens.
        sampling: sampling options.
        form: ``text``, streamed; ``ids``, printed at the end; or ``json``, a record.
        stop: texts that end the text.
    """
    from ..runtime.endings import stop_strings, until

    clock: list[float] = []
    new: list[int] = []

    def noted() -> Iterator[int]:
        for token in session.generate_ids(prompt, limit, sampling=sampling):
            new.append(token)
            yield token

    with closing(clocked(noted(), clock)) as tokens:
        if form == "ids":
            print(",".join(map(str, tokens)))
        else:
            pieces = until(session.decode_stream(tokens), stop_strings(stop))
            text = "".join(pieces if form == "json" else printed(pieces))
    if form == "json":
        record = {**_current(session), "ids": new, "text": text}
        report.print_json(record | speeds(len(prompt), clock))
    if logger.isEnabledFor(logging.INFO):
        messages.print(speed_line(speeds(len(prompt), clock)), highlight=False, soft_wrap=True)


def printed(pieces: Iterable[str]) -> Iterator[str]:
    """Print a text and yield its pieces; on a terminal, control characters are made visible."""
    shown = partial(visible, keep="\n\t") if sys.stdout.isatty() else str
    for piece in pieces:
        print(shown(piece), end="", flush=True)
        yield piece
    print()


def _current(session: "Session") -> dict[str, Any]:
    return {"task": session.task, "mixture": dict(session.mixture)}


def speed_line(figures: Mapping[str, float]) -> str:
    """Format :func:`speeds` as one line."""
    line = "prefill {prefill_tokens_per_second:,.1f} tokens/s, first token after "
    line += "{first_token_ms:,.1f} ms"
    if "decode_tokens_per_second" in figures:
        line += ", decode {decode_tokens_per_second:,.1f} tokens/s"
    return line.format_map(figures)


def clocked(tokens: Iterable[int], clock: list[float]) -> Generator[int, None, None]:
    """Yield ``tokens``; append the time in seconds at the start, at each token and at the end."""
    clock.append(time.perf_counter())
    try:
        for token in tokens:
            clock.append(time.perf_counter())
            yield token
    finally:
        clock.append(time.perf_counter())


def speeds(prompt: int, clock: Sequence[float]) -> dict[str, float]:
    """Compute the speed of a generation.

    Args:
        prompt: number of prompt tokens.
        clock: times in seconds, as :func:`clocked` appends them.

    Returns:
        Tokens per second overall, in the prefill and, from two new tokens on, in decoding;
        milliseconds to the first token, or to the end if there is none.
    """
    start, *times, end = clock
    first = (*times, end)[0] - start
    figures = {
        "tokens_per_second": len(times) / (end - start),
        "prefill_tokens_per_second": prompt / first,
        "first_token_ms": 1e3 * first,
    }
    if len(times) > 1:
        figures["decode_tokens_per_second"] = (len(times) - 1) / (times[-1] - times[0])
    return figures
