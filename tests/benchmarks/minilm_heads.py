"""Evaluate classifiers on a real encoder: two tasks of all-MiniLM-L6-v2 in one program.

    python tests/benchmarks/minilm_heads.py [--steps S] [--budget SHARE] [-o results.json]

PEFT trains a LoRA (r = 8, query and value) and a head for each task. Both tasks are exported into
one program, verbatim and within a byte budget, in float32, with 8da4w layers, and with 8da4w layers
that are rounded for 64 training sentences of each task. The program runs every test sentence,
switching tasks before each, and is compared with the same module in PyTorch, unless it was rounded
for texts, and with PEFT on the output of `unmerge` (always in float32). The table shows accuracy in
percent, bytes, and the largest difference of a logit between program and PEFT.
"""

import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from minilm_texts import Task, bag_of_words, tasks
from minilm_weights import PACKAGE, minilm
from peft import LoraConfig, PeftModel, get_peft_model
from torch.nn import functional as F
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging as transformers_logging

from hydraopt.adapters import AdapterSet, read_adapters
from hydraopt.errors import require
from hydraopt.files import replaced_file, write_json
from hydraopt.formats.manifest import PROGRAM
from hydraopt.lowering.base_model import load_base
from hydraopt.lowering.bundle import export_bundle
from hydraopt.lowering.calibration_texts import NO_TEXTS, Calibration
from hydraopt.lowering.factors import slot_factors
from hydraopt.lowering.lowered import slotted
from hydraopt.lowering.settings import ExportSettings
from hydraopt.merging.private import private
from hydraopt.packing import CodedAdapters, Coder, code_verbatim
from hydraopt.runtime import Session
from hydraopt.training import Schedule, fit

BASE_ID = "sentence-transformers/all-MiniLM-L6-v2"
CALIBRATION = 64  # training sentences of each task to round the base for
Logits = dict[str, torch.Tensor]  # task -> [texts, classes]


@dataclass(frozen=True)
class Trained:
    """The base model's directory, the tasks, and their adapters as PEFT saved them."""

    base: Path
    tasks: Mapping[str, Task]
    adapters: AdapterSet
    logits: Logits
    seconds: Mapping[str, float]


def classifier(base: Path, classes: int) -> torch.nn.Module:
    """The base with a classifier as it is before training."""
    torch.manual_seed(0)
    transformers_logging.set_verbosity_error()  # it reports that the classifier is new
    return AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=classes, trust_remote_code=False
    ).eval()


def train_all(base: Path, directory: Path, steps: int, training: int, test: int) -> Trained:
    """Train the adapters of all tasks and save them in ``directory``."""
    tokenizer = AutoTokenizer.from_pretrained(base, trust_remote_code=False)
    made, logits, seconds = tasks(training, test), {}, {}
    for name, task in made.items():
        start = time.perf_counter()
        model = _train(base, tokenizer, task, steps)
        seconds[name] = time.perf_counter() - start
        model.save_pretrained(directory / name, save_embedding_layers=False)  # asks no hub
        logits[name] = peft_logits(model, tokenizer, task)
    adapters = read_adapters([directory / name for name in made])
    return Trained(base, made, adapters, logits, seconds)


def _train(base: Path, tokenizer: Callable, task: Task, steps: int) -> PeftModel:
    config = LoraConfig(
        task_type="SEQ_CLS",
        r=8,
        lora_alpha=16,
        target_modules=["query", "value"],
        modules_to_save=["classifier"],
    )
    model = get_peft_model(classifier(base, len(task.labels)), config)
    model.peft_config["default"].base_model_name_or_path = BASE_ID

    def loss(examples: Sequence[tuple[str, int]]) -> torch.Tensor:
        texts, labels = zip(*examples, strict=True)
        inputs = tokenizer(list(texts), padding=True, return_tensors="pt")
        return F.cross_entropy(model(**inputs).logits, torch.tensor(labels))

    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    model.train()
    fit(trained, loss, task.training, Schedule(steps, 2e-3, batch=12))
    return model.eval()


@torch.inference_mode()
def peft_logits(model: PeftModel, tokenizer: Callable, task: Task) -> torch.Tensor:
    """Of all test sentences, each alone, by PEFT: ``[texts, classes]``."""
    return torch.cat([model(**tokenizer(x, return_tensors="pt")).logits for x, _ in task.test])


@torch.inference_mode()
def eager_logits(trained: Trained, merged: CodedAdapters, settings: ExportSettings) -> Logits:
    """Of all test sentences by the module that is exported, in PyTorch."""
    loaded = load_base(str(trained.base), merged.base_model, merged.task_type, heads=True)
    settings, classes = loaded.kind.resolve(settings, loaded.model), merged.classes
    tokenizer = require(loaded.tokenizer, "tokenizer")
    module = slotted(loaded, settings, merged.layout.shapes)
    found = {}
    for name, task in trained.tasks.items():
        factors = slot_factors(merged.task_factors(name))
        texts = [tokenizer(text, return_tensors="pt") for text, _ in task.test]
        rows = [module(x["input_ids"], x["attention_mask"], factors) for x in texts]
        found[name] = torch.cat(rows)[:, : classes[name]]
    return found


def program_logits(trained: Trained, bundle: Path) -> Logits:
    """Of all test sentences by the program; the task changes before each."""
    session = Session.open(bundle)
    rows: dict[str, list] = {name: [] for name in trained.tasks}
    for examples in zip(*(task.test for task in trained.tasks.values()), strict=True):
        for name, (text, _) in zip(rows, examples, strict=True):
            session.switch(name)
            rows[name].append(session.run(text))
    return {name: torch.stack(found) for name, found in rows.items()}


def unmerged_logits(trained: Trained, merged: CodedAdapters, directory: Path) -> Logits:
    """Of all test sentences by PEFT on the adapters that ``unmerge`` writes into ``directory``."""
    tokenizer = AutoTokenizer.from_pretrained(trained.base, trust_remote_code=False)
    found = {}
    for name, task in trained.tasks.items():
        merged.to_peft(name, directory / name)
        model = classifier(trained.base, len(task.labels))
        model = PeftModel.from_pretrained(model, directory / name).eval()
        found[name] = peft_logits(model, tokenizer, task)
    return found


def accuracy(trained: Trained, logits: Logits) -> dict[str, float]:
    """Share of right classes by task."""
    return {
        name: (logits[name].argmax(1) == torch.tensor([label for _, label in task.test]))
        .float()
        .mean()
        .item()
        for name, task in trained.tasks.items()
    }


def difference(found: Logits, wanted: Logits) -> dict[str, float | int]:
    """The largest difference of logits, and the number of texts that get another class."""
    return {
        "logits": max((found[x] - wanted[x]).abs().max().item() for x in found),
        "classes": sum((found[x].argmax(1) != wanted[x].argmax(1)).sum().item() for x in found),
    }


def measure(
    trained: Trained,
    merged: CodedAdapters,
    settings: ExportSettings,
    bundle: Path,
    calibration: Calibration = NO_TEXTS,
) -> dict:
    """Export to ``bundle`` and compare the program with PyTorch and with PEFT."""
    exported = export_bundle(
        merged, str(trained.base), bundle, settings, calibration=calibration
    ).manifest
    found = program_logits(trained, bundle)
    compared = {}
    if calibration == NO_TEXTS:
        eager = eager_logits(trained, merged, settings)
        compared = {
            "accuracy_eager": accuracy(trained, eager),
            "program_from_eager": difference(found, eager),
        }
    unmerged = unmerged_logits(trained, merged, bundle.with_name(f"{bundle.name}-peft"))
    return {
        "quantize": settings.quantize,
        "adapter_bytes": merged.stored_bytes,
        "share_of_fp16": merged.stored_bytes / trained.adapters.fp16_bytes,
        "program_bytes": exported.files[PROGRAM].bytes,
        "bundle_bytes": sum(file.bytes for file in exported.files.values()),
        "accuracy_program": accuracy(trained, found),
        "accuracy_unmerged": accuracy(trained, unmerged),
        "program_from_unmerged": difference(found, unmerged),
        **compared,
    }


def describe(trained: Trained, steps: int) -> dict:
    """What was trained and what is to be expected of it, ready for JSON."""
    found = trained.tasks
    return {
        "package": PACKAGE,
        "steps": steps,
        "training_seconds": trained.seconds,
        "test_sentences": {name: len(task.test) for name, task in found.items()},
        "classes": {name: task.labels for name, task in found.items()},
        "adapter_fp16_bytes": trained.adapters.fp16_bytes,
        "accuracy_bag_of_words": {name: bag_of_words(task) for name, task in found.items()},
        "accuracy_trained": accuracy(trained, trained.logits),
    }


def _row(name: str, values: Mapping[str, float], rest: str = "") -> None:
    print(f"{name:32s}" + "".join(f"{100 * x:10.1f}" for x in values.values()) + rest, flush=True)


def _print_head(facts: Mapping) -> None:
    names = "".join(f"{name:>10s}" for name in facts["classes"])
    print(f"{'':32s}{names}{'adapters':>11s}{'program':>13s}{'difference':>12s}")
    _row("chance", {name: 1 / len(labels) for name, labels in facts["classes"].items()})
    _row("bag of words", facts["accuracy_bag_of_words"])
    _row("trained, PEFT", facts["accuracy_trained"], f"{facts['adapter_fp16_bytes']:11,d}")


def _print(name: str, found: Mapping) -> None:
    """Rows of the module in PyTorch, if it was compared, the program, and PEFT after unmerging."""
    if "accuracy_eager" in found:
        _row(f"{name}, PyTorch", found["accuracy_eager"])
    sizes = f"{found['adapter_bytes']:11,d}{found['program_bytes']:13,d}"
    apart = f"{found['program_from_unmerged']['logits']:12.1e}"
    _row(f"{name}, .pte", found["accuracy_program"], sizes + apart)
    _row(f"{name}, unmerged, PEFT", found["accuracy_unmerged"])


def main(
    steps: int = 200,
    training: Annotated[int, typer.Option(help="Training sentences per task.")] = 2400,
    test: Annotated[int, typer.Option(help="Test sentences per task.")] = 200,
    budget: Annotated[float, typer.Option(help="Share of the adapters' fp16 bytes.")] = 0.25,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON to write.")] = None,
) -> None:
    """Train, merge, export, and print a table."""
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    base = minilm()
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        trained = train_all(base, directory / "adapters", steps, training, test)
        results = describe(trained, steps)
        _print_head(results)
        merged = {
            "private": code_verbatim(private(trained.adapters)),
            "budget": Coder.from_adapters(trained.adapters).code(
                int(budget * trained.adapters.fp16_bytes)
            ),
        }
        prompts = {
            name: [text for text, _ in task.training[:CALIBRATION]]
            for name, task in trained.tasks.items()
        }
        ways: Mapping[str, tuple[str, Calibration]] = {
            "none": ("none", NO_TEXTS),
            "8da4w": ("8da4w", NO_TEXTS),
            "8da4w-prompts": ("8da4w", prompts),
        }
        for way, (quantize, calibration) in ways.items():
            for name, coded in merged.items():
                bundle, settings = directory / f"{name}-{way}", ExportSettings(quantize=quantize)
                results[bundle.name] = measure(trained, coded, settings, bundle, calibration)
                _print(f"{name}, {way}", results[bundle.name])
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        with replaced_file(output) as staging:
            write_json(staging, results)


if __name__ == "__main__":
    typer.run(main)
