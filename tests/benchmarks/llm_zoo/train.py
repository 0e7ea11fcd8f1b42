"""Train the LLM zoo: one LoRA adapter per task, written atomically and kept in the cache.

    PYTHONPATH=tests/benchmarks python -m llm_zoo.train [--jobs N] [--tasks ui-de,ui-fr]

Prints the directories of the adapters. Existing adapters are kept, so an interrupted run resumes.
"""

import hashlib
import os
import random
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import torch
import typer
from peft import LoraConfig, PeftModel, get_peft_model
from smollm2_weights import PACKAGE, smollm2

from hydraopt.files import write_json
from hydraopt.profiling.cache import cached
from hydraopt.training import (
    Batch,
    Schedule,
    answer_loss,
    batch,
    encode,
    fit,
    load_model,
    pick_device,
    read_examples,
    use_bfloat16,
)
from hydraopt.training.batches import EncodedExample

from . import data as texts
from .tasks import TASKS

BASE_ID = "smollm2-135m-instruct"
LOG = "training.json"
POOL = 16  # batches sorted by length together, to limit padding
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
LINEAR = (*ATTENTION, "gate_proj", "up_proj", "down_proj")
# adapters of one base differ in rank and layers
RANK_32 = ("ui-de", "ui-fr", "dictionary-pt", "define-en")
ALL_LINEAR = ("ui-es", "category-en", "date-de", "words-fr")


@dataclass(frozen=True)
class Recipe:
    """How an adapter is trained; ``lora_alpha`` is twice the rank, the optimizer AdamW."""

    rank: int
    targets: Sequence[str]
    steps: int = 300
    batch: int = 16
    rate: float = 1e-3


def recipe(task: str) -> Recipe:
    """That of a task of the zoo."""
    return Recipe(32 if task in RANK_32 else 16, LINEAR if task in ALL_LINEAR else ATTENTION)


def adapter(task: str, base: Path, data: Path) -> Path:
    """PEFT directory of a task's adapter, trained the first time."""
    settings = f"{PACKAGE} {texts.VERSION} {recipe(task)}"
    digest = hashlib.sha256(settings.encode()).hexdigest()[:8]
    return cached(
        f"llm-zoo/adapters/{task}/{digest}",
        lambda directory: train(task, base, data, recipe(task), directory),
    )


def train(task: str, base: Path, data: Path, how: Recipe, directory: Path) -> None:
    """Train one adapter, and write it and the loss of the test examples before and after."""
    start = time.perf_counter()
    model, tokenizer = load_model(str(base))
    model.set_attn_implementation("eager")  # of short texts on a CPU, a third less time per step
    torch.manual_seed(0)  # one initialisation for all tasks of one recipe
    model.to(pick_device())
    if has_bfloat16(model.device):
        use_bfloat16(model)
    model = get_peft_model(
        model,
        LoraConfig(
            r=how.rank,
            lora_alpha=2 * how.rank,
            target_modules=list(how.targets),
            task_type="CAUSAL_LM",
        ),
    )
    training, test = (
        encode(tokenizer, read_examples(data / name, TASKS)[task])
        for name in (texts.TRAIN, texts.TEST)
    )
    tests = batches(test, how.batch)
    before = mean_loss(model, tests)
    fitted = fit(
        {name: p for name, p in model.named_parameters() if p.requires_grad},
        lambda chosen: loss(model, chosen[0]),
        batches(training, how.batch),
        Schedule(how.steps, how.rate, batch=1),
        description=task,
    )
    after = mean_loss(model, tests)
    save(model, directory)
    log = {
        "task": task,
        "test_loss_before": before,
        "test_loss_after": after,
        "steps": fitted.steps,
        "losses": fitted.losses,
        "seconds": time.perf_counter() - start,
    }
    write_json(directory / LOG, log)


def batches(examples: Sequence[EncodedExample], size: int) -> list[Batch]:
    """Batches of examples of similar length, in random order."""
    rng = random.Random(0)
    shuffled = rng.sample(examples, len(examples))
    found = []
    for first in range(0, len(examples), POOL * size):
        pool = sorted(
            shuffled[first : first + POOL * size], key=lambda example: sum(map(len, example))
        )
        found += [batch(pool[i : i + size]) for i in range(0, len(pool), size)]
    return rng.sample(found, len(found))


def loss(model: PeftModel, chosen: Batch) -> torch.Tensor:
    """Mean cross entropy of the answers' tokens."""
    return answer_loss(model, chosen.to(model.device))


def has_bfloat16(device: torch.device) -> bool:
    """Whether the processor multiplies matrices of bfloat16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    found = torch.cpu.get_capabilities()
    return found.get("avx512_bf16", False) or found.get("amx_bf16", False)


@torch.no_grad()
def mean_loss(model: PeftModel, chosen: Sequence[Batch]) -> float:
    """Mean cross entropy of all answers' tokens, in nats."""
    counts = [int((labels >= 0).sum()) for _, labels in chosen]
    total = sum(n * loss(model, x).item() for n, x in zip(counts, chosen, strict=True))
    return total / sum(counts)


def save(model: PeftModel, directory: Path) -> None:
    """Write the adapter in fp16, as PEFT does."""
    model.peft_config["default"].base_model_name_or_path = BASE_ID
    model.half().save_pretrained(directory, save_embedding_layers=False)
    (directory / "README.md").unlink()  # PEFT's empty card template


def train_all(tasks: Sequence[str], jobs: int) -> Mapping[str, Path]:
    """The adapters of some tasks, ``jobs`` of them trained at a time."""
    base = smollm2()
    data = texts.data(base)
    with ProcessPoolExecutor(jobs, get_context("spawn"), _set_threads, (jobs,)) as pool:
        futures = {task: pool.submit(adapter, task, base, data) for task in tasks}
        return {task: future.result() for task, future in futures.items()}


def named_tasks(names: str) -> list[str]:
    """Tasks of the zoo by their names, with commas between; another name is refused."""
    tasks = names.split(",")
    for task in tasks:
        if task not in TASKS:
            raise typer.BadParameter(f"no task {task!r}; expected one of {', '.join(TASKS)}")
    return tasks


def _set_threads(jobs: int) -> None:
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // jobs))


def main(
    jobs: Annotated[int, typer.Option(help="Adapters trained at a time.")] = 2,
    tasks: Annotated[str, typer.Option(help="Some, with commas between.")] = ",".join(TASKS),
) -> None:
    """Train the adapters that are not there yet, and print all their directories."""
    for task, directory in train_all(named_tasks(tasks), jobs).items():
        print(f"{task}={directory}")


if __name__ == "__main__":
    typer.run(main)
