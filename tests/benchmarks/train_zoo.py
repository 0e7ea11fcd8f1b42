"""Train the zoo from scratch: the base model, then one LoRA adapter per task.

    python tests/benchmarks/train_zoo.py -o DIR

Writes ``DIR/base`` (a Hugging Face model directory) and ``DIR/adapters/<task>`` (PEFT directories),
with all weights in fp16. All adapters start from the same seed, and LoRA+ (arXiv 2402.12354) trains
A with a low and B with a high learning rate, so the A's of different tasks stay aligned, as in the
setting of HydraOpt (arXiv 2507.17706). The bundled zoo predates the current training loop: its
batches came in another order, and it keeps the last weights rather than those of the lowest loss.
"""

import random
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import torch
import typer
from peft import LoraConfig, get_peft_model
from peft.optimizers import create_loraplus_optimizer
from transformers import LlamaForCausalLM
from transformers.utils import logging as transformers_logging

from hydraopt.evaluation import exact_match
from hydraopt.training import Schedule, answer_loss, batch, encode, fit
from hydraopt.zoo.model import new_model, new_tokenizer
from hydraopt.zoo.tasks import APPLICATIONS, BASE_LANGUAGES, TASKS, examples, test_examples

BASE_MODEL_ID = "hydraopt/zoo-base"
LEARNING_RATE_A = 3e-4
LEARNING_RATE_RATIO = 25  # B's learning rate over A's
ADAPTER_BATCH = 16
POOL = 16  # batches drawn at once and sorted by length, so that little padding is computed
LINEAR_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class Recipe:
    """How an adapter is trained; ``lora_alpha`` is twice the rank.

    Attributes:
        rank: rank r.
        layers: suffixes of the adapted layers' names.
        seed: seed of the initialisation, from which all tasks start; None: one for each task.
        rslora: scale by alpha / sqrt(r) instead of alpha / r.
    """

    rank: int = 8
    layers: tuple[str, ...] = LINEAR_LAYERS
    seed: int | None = 0
    rslora: bool = False


def train(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    pairs: Iterator[tuple[str, str]],
    *,
    steps: int,
    size: int,
    label: str,
) -> None:
    """Train on ``steps`` batches of ``size``, in one cycle up to the optimizer's learning rates."""
    rates = [group["lr"] for group in optimizer.param_groups]
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps, pct_start=0.1)
    tokenizer = new_tokenizer()
    model.train()
    fit(
        {name: p for name, p in model.named_parameters() if p.requires_grad},
        lambda chosen: answer_loss(model, batch(encode(tokenizer, chosen[0]))),
        [*islice(similar(pairs, size, random.Random(0)), steps)],
        Schedule(steps, max(rates), batch=1),
        updates=(optimizer, cycle),
        description=label,
    )
    model.eval()


def similar(
    pairs: Iterator[tuple[str, str]], size: int, rng: random.Random
) -> Iterator[list[tuple[str, str]]]:
    """Endless batches of ``size`` pairs of similar length."""
    while True:
        pool = sorted(islice(pairs, POOL * size), key=lambda pair: len(pair[0]) + len(pair[1]))
        batches = [pool[start : start + size] for start in range(0, POOL * size, size)]
        yield from rng.sample(batches, len(batches))


def base_pairs(seed: int) -> Iterator[tuple[str, str]]:
    """The base model's corpus: all applications in the base languages, tagged with the language."""
    rng = random.Random(seed)
    streams = [
        examples(application, language, rng, tag=f"{language} ")
        for application in APPLICATIONS
        for language in BASE_LANGUAGES
    ]
    while True:
        yield next(rng.choice(streams))


def train_base(directory: Path, steps: int, seed: int = 0) -> None:
    """Pretrain the base model and save it with its tokenizer."""
    torch.manual_seed(seed)
    model = new_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.98), weight_decay=0.05)
    train(model, optimizer, base_pairs(seed), steps=steps, size=48, label="base")
    model.half().save_pretrained(directory)
    new_tokenizer().save_pretrained(directory)


def train_adapter(
    task: str, base: Path, directory: Path, steps: int, recipe: Recipe = Recipe()
) -> float:
    """Train one adapter on top of ``base``, save it, and return its exact match on test inputs."""
    torch.set_num_threads(1)
    transformers_logging.disable_progress_bar()
    application, language = task.split("-")
    model = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32)
    torch.manual_seed(zlib.crc32(task.encode()) if recipe.seed is None else recipe.seed)
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=2 * recipe.rank,
        target_modules=list(recipe.layers),
        use_rslora=recipe.rslora,
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(model, config)
    optimizer = create_loraplus_optimizer(
        model,
        torch.optim.AdamW,
        lr=LEARNING_RATE_A,
        loraplus_lr_ratio=LEARNING_RATE_RATIO,
        betas=(0.9, 0.98),
    )
    pairs = examples(application, language, random.Random(task))
    train(model, optimizer, pairs, steps=steps, size=ADAPTER_BATCH, label=task)
    model.peft_config["default"].base_model_name_or_path = BASE_MODEL_ID
    model.half().save_pretrained(directory, save_embedding_layers=False)
    (directory / "README.md").unlink()  # PEFT's empty card template
    tests = batch(encode(new_tokenizer(), test_examples(task, 200)))
    return exact_match(model.float(), [tests])


def main(
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to write to.")],
    base_steps: int = 8000,
    adapter_steps: int = 700,
    jobs: Annotated[int, typer.Option(help="Adapters trained at a time.")] = 2,
) -> None:
    """Train the base model (kept if it is there already) and the adapters of all tasks."""
    base = output / "base"
    if not base.exists():
        train_base(base, base_steps)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        futures = {
            task: pool.submit(train_adapter, task, base, output / "adapters" / task, adapter_steps)
            for task in TASKS
        }
        for task, future in futures.items():
            print(f"{task:10s} {100 * future.result():6.2f} %", flush=True)


if __name__ == "__main__":
    typer.run(main)
