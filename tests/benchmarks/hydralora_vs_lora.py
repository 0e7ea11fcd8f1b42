"""Compare HydraLoRA with one LoRA of as many parameters, trained on a mixture of zoo tasks.

    python tests/benchmarks/hydralora_vs_lora.py [--tasks N] [--experts N] [--rank R] [-o FILE] …

All tasks form one stream, and every prompt names the language. Both use the same examples, order,
steps, learning rate and scale alpha / r = 2. Exact match is measured on unseen inputs.
"""

import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Annotated

import torch
import typer
from peft import LoraConfig, get_peft_model
from tagged import first_tasks, tagged_tests, tagged_training

from hydraopt.evaluation import exact_match
from hydraopt.hydralora import HydraConfig
from hydraopt.training import Schedule, answer_loss, batch, encode, fit, load_model
from hydraopt.training.train_hydralora import add_hydralora, parameters
from hydraopt.zoo import BASE

TARGETS = ["gate_proj", "up_proj", "down_proj"]


def hydralora(model: torch.nn.Module, experts: int, rank: int) -> dict[str, torch.nn.Parameter]:
    """Put HydraLoRA into ``model``; what is trained."""
    return parameters(add_hydralora(model, TARGETS, HydraConfig(experts, rank, 2.0 * rank)))


def lora(model: torch.nn.Module, experts: int, rank: int) -> dict[str, torch.nn.Parameter]:
    """Put a plain LoRA into ``model``, of at least as many values in every layer."""
    ranks = {}
    for name, layer in model.named_modules():
        if name.endswith(tuple(TARGETS)):
            width, out = layer.in_features, layer.out_features
            values = rank * width + experts * rank * out + experts * width
            ranks[name] = math.ceil(values / (width + out))
    alphas = {name: 2 * r for name, r in ranks.items()}
    config = LoraConfig(
        target_modules=TARGETS,
        lora_dropout=0.05,
        r=rank,
        lora_alpha=2 * rank,
        rank_pattern=ranks,
        alpha_pattern=alphas,
        task_type="CAUSAL_LM",
    )
    adapted = get_peft_model(model, config)
    return {name: p for name, p in adapted.named_parameters() if p.requires_grad}


def measure(
    kind: str, tasks: Sequence[str], experts: int, rank: int, schedule: Schedule, count: int
) -> Mapping:
    """Train one adapter and score it: values, loss, seconds, exact match per task."""
    model, tokenizer = load_model(str(BASE))
    torch.manual_seed(schedule.seed)
    trained = {"HydraLoRA": hydralora, "LoRA": lora}[kind](model, experts, rank)
    pairs = [pair for task in tasks for pair in tagged_training(task, count)]
    start = time.perf_counter()
    fitted = fit(
        trained,
        lambda examples: answer_loss(model.train(), batch(examples)),
        encode(tokenizer, pairs),
        schedule,
        description=kind,
    )
    seconds = time.perf_counter() - start
    model.eval()
    tests = {task: [batch(encode(tokenizer, tagged_tests(task, 100)))] for task in tasks}
    scores = {task: exact_match(model, found) for task, found in tests.items()}
    values = sum(p.numel() for p in trained.values())
    return {"values": values, "loss": fitted.best, "seconds": seconds, "scores": scores}


def main(
    tasks: Annotated[int, typer.Option(min=1, max=40, help="N, up to 40.")] = 40,
    experts: int = 3,
    rank: int = 8,
    steps: int = 1500,
    rate: float = 3e-3,
    count: Annotated[int, typer.Option(help="Training examples per task.")] = 1000,
    seed: Annotated[list[int] | None, typer.Option(help="Seeds; 0 to 3.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON to write.")] = None,
) -> None:
    """Train both for every seed, print a table and keep the scores."""
    rows: list[Mapping] = []
    torch.set_num_threads(1)
    names = first_tasks(tasks)
    print(f"{tasks} tasks, {steps} steps; exact match %")
    print(f"{'':10s} seed  values    loss  seconds   mean  worst task")
    for number in seed or range(4):
        for kind in ("HydraLoRA", "LoRA"):
            schedule = Schedule(steps, rate, seed=number)
            found = measure(kind, names, experts, rank, schedule, count)
            rows.append({"kind": kind, "seed": number, **found})
            scores = found["scores"]
            worst = min(scores, key=scores.__getitem__)
            print(
                f"{kind:10s} {number:4d} {found['values']:7d} {found['loss']:7.4f} "
                f"{found['seconds']:8.0f}  {100 * mean(scores.values()):5.1f}  "
                f"{100 * scores[worst]:.0f} ({worst})",
                flush=True,
            )
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        record = {"tasks": names, "experts": experts, "rank": rank, "steps": steps, "runs": rows}
        output.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
