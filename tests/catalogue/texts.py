"""Tokenizers that fail, in bases and in bundles whose records fit; wrong arguments of templates."""

from collections.abc import Iterator

from sealed_files import reseal
from strangers import LIMITED, TOKENIZERS, write_tokenizer

from .case import Case, Change
from .changes import edited

MERGE = ("merge", "alpha", "beta", "-o", "out", "--base", "base", "--method", "zipit")
EXPORT = ("export", "merged", "--base", "base", "-o", "out")
RUN = ("run", "bundle", "--task", "alpha", "--prompt", "a" * 30, "--max-new-tokens", "1")
OPTION = "--chat-template-arg"
NO_ARGUMENTS = {
    "no value": ("enable_thinking", "expected NAME=VALUE"),
    "no name": ("=x", "expected NAME=VALUE"),
    "a name of two words": ("enable thinking=x", "expected NAME=VALUE"),
    "no UTF-8": ("x=\udcff", "no UTF-8"),
    "no template": ("enable_thinking=false", "no chat template"),
    "a number of 400 digits": ("x=" + "9" * 400, "no chat template"),
    "lists without end": ("x=" + "[" * 100_000, "no chat template"),
}


def cases() -> Iterator[Case]:
    """All of them."""
    for kind, (changes, says) in TOKENIZERS.items():
        if says == LIMITED and "GiB" not in kind:  # it takes all the time or memory that it may
            continue
        for command in ((*MERGE, "--data", "data.jsonl"), EXPORT):
            change = _tokenizer("base", changes)
            yield Case(f"a base with {kind}, {command[0]}", command, says, change)
        for command in (RUN, ("verify", "bundle")):
            fine = command == RUN and "decoder" in kind  # it fails for some tokens only
            change = _tokenizer("bundle", changes)
            yield Case(f"a bundle with {kind}, {command[0]}", command, says, change, fine)
    for kind, (argument, says) in NO_ARGUMENTS.items():
        yield Case(f"{OPTION}: {kind}", (*EXPORT, OPTION, argument), says)
    twice = (*EXPORT, OPTION, "x=1", OPTION, "x=2")
    yield Case(f"{OPTION}: twice", twice, "'x' twice; pass it once")
    yield Case(f"{OPTION}: without --chat", (*RUN, OPTION, "x=1"), "pass --chat too")
    for value in (3, [], "x", {"a": {}}):
        added = edited(
            "base/tokenizer_config.json", lambda c, v=value: c.update(added_tokens_decoder=v)
        )
        yield Case(f"added tokens {value!r}", EXPORT, "base", added)


def _tokenizer(directory: str, changes: dict) -> Change:
    def change(world) -> None:
        write_tokenizer(world / directory / "tokenizer.json", changes)
        if directory == "bundle":
            reseal(world / "bundle" / "manifest.json")

    return change
