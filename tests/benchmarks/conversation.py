"""Compare a conversation of twenty turns of SmolLM2 in a session and in transformers, by tokens.

    python tests/benchmarks/conversation.py WORK [-o docs/results/chat.json]

WORK keeps the bundle: SmolLM2-135M-Instruct in float32 with a context of 2048 and random adapters
on its attention layers at 5 %. The conversation is held with the base, and with an adapter. The
reference is transformers on the checkpoint, with its own cache and chat template, which renders the
whole history for every turn, and with the adapter's factors added to its weights.

Float32 additions in another order can choose another of two tokens that are nearly equally likely.
Therefore every answer has the smallest margin of the reference, between the logits of its token and
of the next best. Times are of one thread: the prompt of a turn when only what is new is computed,
and when the whole history is, in turns.
"""

import logging
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import takewhile
from pathlib import Path
from statistics import median
from typing import Annotated, NamedTuple

import torch
import typer
from against_export_llm import TASK
from check_cost import code
from in_turns import in_turns, processor, use_threads
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DynamicCache,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from hydraopt.evaluation import adapted
from hydraopt.files import json_bytes
from hydraopt.lowering.bundle import export_bundle
from hydraopt.lowering.settings import ExportSettings
from hydraopt.packing import CodedAdapters
from hydraopt.runtime import Session

MESSAGES = (
    "Hi! Who are you?",
    "What is the capital of France?",
    "Why is the sky blue?",
    "Write a short poem about a cat.",
    "Now one about the sea.",
    "What is 7 times 8?",
    "How do I cook rice?",
    "And potatoes?",
    "Write a Python function that adds two numbers.",
    "Explain what it does.",
    "Who was Marie Curie?",
    "What did she discover?",
    "I have a headache. What can I do?",
    "Write an email to my boss that I am ill today.",
    "Make it shorter.",
    "Name 5 animals that live in Africa.",
    "Which of them is the largest?",
    "How does a bicycle stay upright?",
    "What have we talked about so far?",
    "Thank you! Tell me a joke before you go.",
)
TOKENS = 48  # at most, of an answer
CONTEXT = 2048
TIMED = (1, 10, 20)  # turns
ROUNDS = 5


class Answer(NamedTuple):
    """A turn of one of the two.

    Attributes:
        prompt: ids of the whole prompt.
        ids: of the answer, without the token that ends it.
        computed: number of the prompt's tokens that were not in the KV cache.
        margins: by which every token's logit was above the next best, with the one that ends it.
    """

    prompt: list[int]
    ids: list[int]
    computed: int
    margins: Sequence[float] = ()


def in_session(session: Session) -> list[Answer]:
    """Answers of a session."""
    chat, forward = session.chat(), session.forward
    cached: list[int] = []
    calls: list[int] = []
    answers: list[Answer] = []

    def noting(ids: Sequence[int]) -> torch.Tensor:
        cached[session.position :] = ids
        calls.append(len(ids))
        return forward(ids)

    session.forward = noting  # type: ignore[method-assign]
    for message in MESSAGES:
        calls.clear()
        "".join(chat.send(message, TOKENS))
        prompt = cached[: len(cached) - len(calls) + 1]
        answers.append(Answer(prompt, chat.ids, calls[0]))
    del session.forward
    return answers


@torch.no_grad()
def in_transformers(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, ends: Sequence[int]
) -> list[Answer]:
    """Answers of transformers, with its own cache."""
    history: list[dict[str, str]] = []
    cached: list[int] = []
    answers: list[Answer] = []
    cache = DynamicCache(config=model.config)
    for message in MESSAGES:
        history.append({"role": "user", "content": message})
        prompt = tokenizer.apply_chat_template(
            history, add_generation_prompt=True, return_dict=False
        )
        kept = equal(cached, prompt[:-1])
        if kept < len(cached):
            cache.crop(kept - len(cached))
        found = model.generate(
            torch.tensor([prompt]),
            past_key_values=cache,
            max_new_tokens=TOKENS,
            do_sample=False,
            eos_token_id=list(ends),
            pad_token_id=ends[0],
            output_logits=True,
            return_dict_in_generate=True,
        )
        whole = found.sequences[0].tolist()
        cached = whole[: cache.get_seq_length()]
        ids = list(takewhile(lambda token: token not in ends, whole[len(prompt) :]))
        best = (logits[0].topk(2).values.tolist() for logits in found.logits)
        margins = [first - second for first, second in best]
        answers.append(Answer(prompt, ids, len(prompt) - kept, margins))
        text = tokenizer.decode(ids, skip_special_tokens=True)
        history.append({"role": "assistant", "content": text})
    return answers


def equal(first: Sequence[int], second: Sequence[int]) -> int:
    """Number of equal tokens at the beginning."""
    pairs = zip(first, second, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def compared(found: Answer, wanted: Answer) -> dict[str, int | float | bool | None]:
    """The record of a turn."""
    same = equal(found.ids, wanted.ids)
    return {
        "prompt": len(wanted.prompt),
        "prompt_equal": found.prompt == wanted.prompt,
        "computed": found.computed,
        "answer": len(wanted.ids),
        "equal": same,
        "smallest_margin": min(wanted.margins),
        "margin_at_difference": None if found.ids == wanted.ids else wanted.margins[same],
    }


def prompt_times(session: Session, turn: int, answer: Answer) -> dict[str, float]:
    """Milliseconds of a turn's prompt with and without the KV cache, and of the token after it."""
    prompt, before = answer.prompt, len(answer.prompt) - answer.computed

    def kept() -> None:
        session.rewind(before)
        session.forward(prompt[before:])

    def anew() -> None:
        session.reset()
        session.forward(prompt)

    def token() -> None:
        session.rewind(len(prompt))
        session.forward(answer.ids[:1])

    anew()
    times = in_turns({"kept": kept, "anew": anew, "token": token}, ROUNDS)
    pairs = zip(times["kept"], times["anew"], strict=True)
    return {
        "turn": turn,
        "prompt": len(prompt),
        "computed": answer.computed,
        "ratio": median(first / second for first, second in pairs),
        **{f"{name}_ms": median(found) for name, found in times.items()},
    }


def main(
    work: Annotated[Path, typer.Argument(help="Directory that keeps adapters and bundle.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON to write.")] = None,
) -> None:
    """Talk to both, count equal tokens and measure the times of prompts."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    from smollm2_weights import smollm2

    base, coded, bundle = smollm2(), work / "coded-5", work / "float32"
    if not coded.exists():
        code(base, coded)
    adapters = CodedAdapters.load(coded)
    if not bundle.exists():
        settings = ExportSettings(quantize="none", max_length=CONTEXT)
        export_bundle(adapters, str(base), bundle, settings)
    use_threads(1)
    session = Session.open(bundle)
    tokenizer = AutoTokenizer.from_pretrained(base, trust_remote_code=False)
    model = AutoModelForCausalLM.from_pretrained(
        base, dtype=torch.float32, trust_remote_code=False
    ).eval()
    turns = {}
    for task in (TASK, None):
        session.switch(task)
        found = in_session(session)
        with adapted(model, adapters.task_factors(task)) if task else nullcontext():
            wanted = in_transformers(model, tokenizer, session.manifest.causal_lm.eos_ids)
        turns[task or "base"] = records = [
            compared(*pair) for pair in zip(found, wanted, strict=True)
        ]
        print(tokenizer.decode(found[-1].prompt + found[-1].ids))
        for record in records:
            print(record, flush=True)
    times = [prompt_times(session, turn, found[turn - 1]) for turn in TIMED]
    print(*times, sep="\n")
    if output:
        output.write_bytes(json_bytes({"machine": processor(), "turns": turns, "times": times}))


if __name__ == "__main__":
    typer.run(main)
