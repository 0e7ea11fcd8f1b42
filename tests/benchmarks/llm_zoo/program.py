"""Run the zoo through one program, switching tasks, and compare it with PEFT after ``unmerge``.

    PYTHONPATH=tests/benchmarks python -m llm_zoo.program -o docs/results/llm/program.json

Compresses all adapters within one budget, exports them in float32 and quantised, and continues
prompts of every task greedily. In float32 the texts should equal PEFT's; when quantised, only the
scores are compared.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Annotated, Any

import torch
import typer
from peft import PeftModel
from smollm2_weights import smollm2
from tqdm import tqdm

from hydraopt import ExportSettings, Session, compress, export, open_stored, read_adapters
from hydraopt.evaluation.generated import chrf
from hydraopt.files import replaced_file, write_json
from hydraopt.training import continuations, encode, load_model, read_examples
from hydraopt.training.batches import EncodedExample

from .data import MOST_ANSWER_TOKENS, TEST, data
from .tasks import TASKS
from .train import train_all

QUANTIZE = ("none", "8da4w")
CONTEXT = 128  # positions: a prompt has at most 64, an answer 24
BATCH = 25

Texts = Mapping[str, Sequence[list[int]]]  # task -> tokens of each prompt's continuation


def peft_texts(
    base: Path, adapters: Mapping[str, Path], encoded: Mapping[str, list[EncodedExample]]
) -> Texts:
    """What PEFT's own model writes with every adapter."""
    model, _ = load_model(str(base))
    first, *others = adapters
    model = PeftModel.from_pretrained(model, adapters[first], adapter_name=first).eval()
    for task in others:
        model.load_adapter(adapters[task], adapter_name=task)
    texts = {}
    for task in tqdm(adapters, desc="PEFT", disable=None):
        model.set_adapter(task)
        prompts = [prompt for prompt, _ in encoded[task]]
        texts[task] = [
            tokens
            for start in range(0, len(prompts), BATCH)
            for _, tokens in continuations(
                model, prompts[start : start + BATCH], MOST_ANSWER_TOKENS
            )
        ]
    return texts


def program_texts(bundle: Path, encoded: Mapping[str, list[EncodedExample]]) -> Texts:
    """What the bundle's program writes."""
    session = Session.open(bundle)
    texts = {}
    for task in tqdm(encoded, desc="program", disable=None):
        session.switch(task)
        texts[task] = [
            [*session.generate_ids(prompt, MOST_ANSWER_TOKENS)] for prompt, _ in encoded[task]
        ]
    return texts


def compared(
    program: Texts, peft: Texts, ends: Sequence[int], written: Mapping[str, list[str]], decode
) -> dict:
    """Equal texts, and chrF2 of both, by task and on average."""
    tasks = {}
    for task, texts in program.items():
        own = [[token for token in tokens if token not in ends] for tokens in peft[task]]
        equal = sum(a == b for a, b in zip(texts, own, strict=True))
        scores = [chrf([decode(x) for x in found], written[task]) for found in (texts, own)]
        tasks[task] = {"equal": equal, "of": len(texts)} | dict(
            zip(("program_chrf", "peft_chrf"), scores, strict=True)
        )
    return {
        "equal": sum(row["equal"] for row in tasks.values()),
        "of": sum(row["of"] for row in tasks.values()),
        "program_chrf": mean(row["program_chrf"] for row in tasks.values()),
        "peft_chrf": mean(row["peft_chrf"] for row in tasks.values()),
        "tasks": tasks,
    }


def main(
    output: Annotated[Path, typer.Option("--output", "-o", help="JSON to write.")],
    budget: Annotated[str, typer.Option(help="As of hydraopt compress.")] = "5%",
    prompts: Annotated[int, typer.Option(min=1, help="Test prompts of each task.")] = 50,
    work: Annotated[Path, typer.Option(help="Directory for bundles.")] = Path("build/llm-zoo"),
    jobs: Annotated[int, typer.Option(min=1, help="Adapters trained at a time.")] = 2,
) -> None:
    """Compress, export, continue prompts and compare."""
    torch.manual_seed(0)
    base = smollm2()
    sources = [f"{task}={path}" for task, path in train_all([*TASKS], jobs).items()]
    coded = compress(read_adapters(sources), budget)
    coded.save(work / "merged", overwrite=True)
    merged = open_stored(work / "merged")
    for task in merged.tasks:
        merged.to_peft(task, work / "peft" / task, overwrite=True)
    _, tokenizer = load_model(str(base))
    examples = {
        task: pairs[:prompts] for task, pairs in read_examples(data(base) / TEST, TASKS).items()
    }
    encoded = {task: encode(tokenizer, pairs) for task, pairs in examples.items()}
    written = {task: [answer for _, answer in pairs] for task, pairs in examples.items()}
    peft = peft_texts(base, {task: work / "peft" / task for task in merged.tasks}, encoded)
    record: dict[str, Any] = {"budget": budget, "share_of_fp16": merged.share}
    for quantize in QUANTIZE:
        bundle = work / f"bundle-{quantize}"
        export(
            merged, str(base), bundle, ExportSettings(quantize, max_length=CONTEXT), overwrite=True
        )
        texts = program_texts(bundle, encoded)
        ends = Session.open(bundle).manifest.causal_lm.eos_ids
        record[quantize] = compared(texts, peft, ends, written, tokenizer.decode)
        print({key: value for key, value in record[quantize].items() if key != "tasks"})
    with replaced_file(output) as staging:
        write_json(staging, record)


if __name__ == "__main__":
    typer.run(main)
