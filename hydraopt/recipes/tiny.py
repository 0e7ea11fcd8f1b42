"""A tiny model of a family: a base with random weights, and adapters written by PEFT."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from ..zoo.model import new_tokenizer
from .family import Family

TASKS, RANK, TINY_BUDGET = ("first", "second"), 8, "50%"


@contextmanager
def tiny_family(family: Family) -> Iterator[tuple[str, list[str]]]:
    """Write a random base of the family and two adapters, which exist while the block runs."""
    with tempfile.TemporaryDirectory(prefix="hydraopt-") as directory:
        base = Path(directory) / "base"
        torch.manual_seed(0)
        pretrained = family.pretrained or family.auto
        pretrained.from_config(family.tiny, dtype=torch.float32).save_pretrained(base)
        tiny_tokenizer(family.chat_template).save_pretrained(base)
        yield (
            str(base),
            [
                random_adapter(Path(directory) / task, base, family, classes)
                for classes, task in enumerate(TASKS, 2)
            ],
        )


def tiny_tokenizer(chat_template: str | None) -> PreTrainedTokenizerBase:
    """Return a tokenizer of bytes."""
    tokenizer = new_tokenizer()
    tokenizer.chat_template = chat_template
    return tokenizer


def random_adapter(directory: Path, base: Path, family: Family, classes: int) -> str:
    """Write a LoRA adapter with PEFT, large enough to change every answer; with a head, if any."""
    from peft import LoraConfig, get_peft_model  # an extra

    model = family.auto.from_pretrained(
        base, trust_remote_code=False, **({"num_labels": classes} if family.head else {})
    )
    config = LoraConfig(
        task_type=family.task_type,
        r=RANK,
        lora_alpha=2 * RANK,
        target_modules=list(family.targets),
        modules_to_save=[family.head] if family.head else None,
        init_lora_weights=False,
    )
    get_peft_model(model, config).save_pretrained(directory, save_embedding_layers=False)
    return str(directory)
