"""Compare merged sparse adapters with averaged LoRAs on their training tasks.

    python tests/benchmarks/sparse_vs_lora.py [--tasks N] [--steps S] [--keep K] [-o FILE] …

For every task, a sparse adapter and a LoRA on q, k and v of the zoo's base are trained for the same
steps on the same examples in the same order, each kind with its own learning rate. Sparse adapters
are merged entry by entry, alpha times the mean over the adapters that change the entry; LoRAs are
merged by averaging their deltas. Exact match and teacher-forced token accuracy are measured on
unseen inputs. Every prompt names the language.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Annotated

import torch
import typer
from peft import LoraConfig, get_peft_model
from tagged import first_tasks, tagged_tests, tagged_training
from tqdm import tqdm
from transformers import PreTrainedModel

from hydraopt.evaluation import exact_match
from hydraopt.merging.sparse import merge_sparse
from hydraopt.sparse import SparseAdapter
from hydraopt.training import Batch, Schedule, answer_loss, batch, encode, fit, load_model
from hydraopt.training.batches import EncodedExample
from hydraopt.training.sparse import Masks, SparseConfig, add_sparse, sparse_adapter
from hydraopt.zoo import BASE

ALPHAS = (1.0, 0.3, 0.1)  # the paper's, and less
TARGETS = ["q_proj", "k_proj", "v_proj"]
Deltas = dict[str, torch.Tensor]


def train_sparse(
    task: str, examples: list, schedule: Schedule, config: SparseConfig
) -> SparseAdapter:
    """A task's sparse adapter."""
    model, _ = load_model(str(BASE))
    layers = add_sparse(model, TARGETS, config)

    def loss(chosen: Sequence[EncodedExample]) -> torch.Tensor:
        return answer_loss(model, batch(chosen))

    masks: Masks[EncodedExample] = Masks(
        layers, config, loss, schedule, len(examples) // schedule.batch
    )
    state = {f"{name}.delta": layer.delta for name, layer in layers.items()}
    state |= {f"{name}.mask": layer.mask for name, layer in layers.items()}
    fit(state, loss, examples, schedule, before_step=masks.before_step)
    return sparse_adapter(layers, "zoo", task, {}, block=config.block)


def train_lora(examples: list, schedule: Schedule, rank: int) -> Deltas:
    """A task's LoRA, as dense deltas."""
    torch.manual_seed(0)
    model, _ = load_model(str(BASE))
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=TARGETS)
    adapted = get_peft_model(model, config)
    trained = {name: p for name, p in adapted.named_parameters() if p.requires_grad}
    fit(trained, lambda chosen: answer_loss(model, batch(chosen)), examples, schedule)
    return {
        name.removeprefix("base_model.model."): module.get_delta_weight("default").detach()
        for name, module in adapted.named_modules()
        if hasattr(module, "get_delta_weight")
    }


@torch.inference_mode()
def score(model: PreTrainedModel, deltas: Deltas, tests: list[Batch]) -> tuple[float, float]:
    """Means over tasks: exact match, and share of right answer tokens, in percent."""
    for name, delta in deltas.items():
        model.get_submodule(name).weight.add_(delta)
    tokens = []
    for test in tests:
        asked = test.labels[:, 1:] >= 0
        right = model(input_ids=test.ids).logits[:, :-1].argmax(-1) == test.labels[:, 1:]
        tokens.append(right[asked].float().mean().item())
    matches = [exact_match(model, [test]) for test in tests]
    for name, delta in deltas.items():
        model.get_submodule(name).weight.sub_(delta)
    return 100 * mean(matches), 100 * mean(tokens)


def main(
    tasks: Annotated[int, typer.Option(min=1, max=40, help="N, up to 40.")] = 5,
    steps: int = 150,
    sparse_rate: float = 1e-2,
    lora_rate: float = 3e-3,
    keep: float = 0.05,
    block: bool = False,
    rank: int = 8,
    count: Annotated[int, typer.Option(help="Training examples per task.")] = 2000,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON to write.")] = None,
) -> None:
    """Train, merge, print a table and keep the scores."""
    torch.set_num_threads(1)
    model, tokenizer = load_model(str(BASE))
    names = first_tasks(tasks)
    schedule, config = Schedule(steps, lora_rate), SparseConfig(keep, block)
    sparse_schedule = replace(schedule, rate=sparse_rate)
    sparse, loras = [], []
    for task in tqdm(names, disable=None):
        examples = encode(tokenizer, tagged_training(task, count))
        sparse.append(train_sparse(task, examples, sparse_schedule, config))
        loras.append(train_lora(examples, schedule, rank))
    tests = [batch(encode(tokenizer, tagged_tests(task, 100))) for task in names]
    dense = [{name: d.dense() for name, d in adapter.modules.items()} for adapter in sparse]
    average = {name: sum(x[name] for x in loras) / tasks for name in loras[0]}
    values = sum(sum(d.shape) * rank for d in sparse[0].modules.values())
    print(f"{tasks} tasks: {', '.join(names)}; q, k, v; {steps} steps")
    size = f"{sparse[0].values} values, {sparse[0].stored_bytes} bytes"
    print(f"sparse: {size} a task, rate {sparse_rate:g}")
    print(f"LoRA r={rank}: {values} values, {2 * values} bytes a task, rate {lora_rate:g}")
    print(f"{'':28s} exact match %   answer tokens %")
    rows = {"base model": score(model, {}, tests)}
    for name, own in (("sparse, each alone", dense), ("LoRA, each alone", loras)):
        alone = [score(model, d, [test]) for d, test in zip(own, tests, strict=True)]
        matches, tokens = map(mean, zip(*alone, strict=True))
        rows[name] = matches, tokens
    for alpha in ALPHAS:
        merged = merge_sparse(sparse, alpha=alpha).modules
        deltas = {name: d.dense() for name, d in merged.items()}
        rows[f"sparse, merged, alpha = {alpha:g}"] = score(model, deltas, tests)
    rows["LoRA, averaged"] = score(model, average, tests)
    for name, (matches, tokens) in rows.items():
        print(f"{name:28s} {matches:13.1f}   {tokens:15.1f}")
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        scores = {x: dict(zip(("exact", "tokens"), row, strict=True)) for x, row in rows.items()}
        record = {"tasks": names, "steps": steps, "keep": keep, "rank": rank, "scores": scores}
        output.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
