"""Measure what quantising the base costs the zoo's tasks, each bundle through its own program.

    PYTHONPATH=tests/benchmarks python -m llm_zoo.rounding -o docs/results/llm/rounding.json
      [--tasks ui-de,date-de] [--only "prompts;all 8 bits"] [--merged-into-export-llm date-de]

All adapters are compressed within one budget and exported once for each way to round the base; all
bundles are scored as ``hydraopt evaluate`` does, beside the float base with unmerged adapters.
Beside them, ExecuTorch's own exporter with one task's adapter merged into the weights. Finished
bundles and programs are kept, so an interrupted run resumes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from export_llm_program import export_llm_program
from peft import PeftModel
from smollm2_weights import smollm2
from transformers import AutoModelForCausalLM, AutoTokenizer

from hydraopt import ExportSettings, compress, export, read_adapters
from hydraopt.adapters import AdapterSet
from hydraopt.calibration import read_prompts
from hydraopt.evaluation.program import evaluate
from hydraopt.files import replaced_file, write_json
from hydraopt.formats.manifest import Manifest
from hydraopt.packing import CodedAdapters
from hydraopt.training import read_examples

from .data import CALIBRATION, TEST, data, write_some
from .export_llm import score_program
from .train import named_tasks, train_all

CONTEXT = 128  # positions: a prompt has at most 64, an answer 24


@dataclass(frozen=True)
class Way:
    """A way to round the base.

    Attributes:
        calibration: ``none``, ``generated`` or ``prompts``, those of the zoo; ``packs``: the packs,
            too, are calibrated for the base that is rounded for these prompts.
        settings: fields of the export's settings.
    """

    calibration: str
    settings: Mapping[str, Any] = field(default_factory=dict)


HEAD = {"overrides": {"lm_head": "8da8w"}}
WAYS: Mapping[str, Way] = {
    "float32": Way("none", {"quantize": "none"}),
    "least squared error": Way("none"),
    "generated": Way("generated"),
    "prompts": Way("prompts"),
    "prompts, 8-bit head": Way("prompts", HEAD),
    "prompts, 8-bit embedding": Way("prompts", {"embedding": "8w"}),
    "prompts, 8-bit head and embedding": Way("prompts", {**HEAD, "embedding": "8w"}),
    "all 8 bits": Way("prompts", {"quantize": "8da8w"}),
    "packs for the rounded base": Way("packs"),
    "packs for the rounded base, 8-bit head": Way("packs", HEAD),
}
# what docs/quality.md shows
SHOWN_TASKS, SHOWN_EXAMPLES = "ui-de,dictionary-fr,date-de,word-en", 48
SHOWN = "prompts;generated;least squared error;prompts, 8-bit head"


def main(
    output: Annotated[Path, typer.Option("--output", "-o", help="JSON to write.")],
    tasks: Annotated[str, typer.Option(help="Some of the tasks.")] = SHOWN_TASKS,
    only: Annotated[str, typer.Option(help="Ways to round, with semicolons between.")] = SHOWN,
    merged_into_export_llm: Annotated[
        str, typer.Option(help="Tasks to merge into programs of ExecuTorch's exporter, if any.")
    ] = "ui-de",
    budget: Annotated[str, typer.Option(help="As of hydraopt compress.")] = "5%",
    examples: Annotated[
        int, typer.Option(min=1, help="Test examples of each task.")
    ] = SHOWN_EXAMPLES,
    work: Annotated[Path, typer.Option(help="Directory for bundles.")] = Path("build/rounding"),
    jobs: Annotated[int, typer.Option(min=1, help="Adapters trained at a time.")] = 2,
) -> None:
    """Compress, export in every way, and score."""
    base, chosen = smollm2(), named_tasks(tasks)
    sources = {task: str(path) for task, path in train_all(chosen, jobs).items()}
    work.mkdir(parents=True, exist_ok=True)
    write_some(data(base), sources, work)
    test = first_lines(work / TEST, examples)
    found = read_prompts(work / CALIBRATION, chosen)
    prompts = {task: [prompt for prompt, _ in pairs] for task, pairs in found.items()}
    read = read_adapters([f"{task}={x}" for task, x in sources.items()])
    coded = compress(read, budget)
    settled = {"budget": budget, "tasks": chosen, "examples": examples}
    record: dict[str, Any] = _kept(output, settled) or {
        **settled,
        "share_of_fp16": coded.share,
        "ways": {},
        "export_llm": {},
    }
    for name in only.split(";"):
        if name in record["ways"]:
            continue
        bundle = work / name.replace(" ", "-").replace(",", "")
        if not bundle.exists():
            way = WAYS[name]
            settings = ExportSettings(max_length=CONTEXT, **way.settings)
            if way.calibration == "packs":
                _export_calibrated(read, budget, base, work, bundle, settings)
            else:
                texts = prompts if way.calibration == "prompts" else way.calibration
                export(coded, str(base), bundle, settings, calibration=texts)
        if "float" not in record:
            record |= _in_float(bundle, test, base, sources, coded)
        scores = evaluate(bundle, test).record()
        compared = _compared(_of(scores, "program"), record["float"]["tasks"])
        record["ways"][name] = compared | {"bytes": _bytes(bundle)}
        _show(name, record["ways"][name])
        _keep(output, record)
    for task in named_tasks(merged_into_export_llm) if merged_into_export_llm else ():
        if task in record["export_llm"]:
            continue
        program = _merged(base, sources[task], work / f"export_llm-{task}")
        tokenizer = AutoTokenizer.from_pretrained(base, trust_remote_code=False)
        scored = {task: score_program(program, tokenizer, read_examples(test, chosen)[task])}
        compared = _compared(scored, record["float"]["tasks"])
        record["export_llm"][task] = compared | {"bytes": {"program": program.stat().st_size}}
        _show(f"export_llm with {task}", compared)
        _keep(output, record)


def _export_calibrated(
    adapters: AdapterSet,
    budget: str,
    base: Path,
    work: Path,
    bundle: Path,
    settings: ExportSettings,
) -> None:
    packs = work / f"{bundle.name}-packs"
    if not packs.exists():
        prompts = work / CALIBRATION
        coded = compress(
            adapters,
            budget,
            calibration=prompts,
            base=str(base),
            settings=settings,
            bfloat16=True,
        )
        coded.save(packs)
    export(CodedAdapters.load(packs), str(base), bundle, settings)


def _kept(output: Path, settled: Mapping[str, Any]) -> dict[str, Any] | None:
    """What an earlier run with the same options found."""
    if not output.exists():
        return None
    record = json.loads(output.read_text(encoding="utf-8"))
    return record if record.items() >= settled.items() else None


def _of(scores: Mapping[str, Any], whose: str) -> dict[str, Mapping]:
    return {task: found[whose] for task, found in scores["tasks"].items()}


def _in_float(
    bundle: Path, test: Path, base: Path, sources: Mapping[str, str], coded: CodedAdapters
) -> dict[str, Any]:
    """Scores of the float base in transformers, with the adapters as trained and as unpacked."""
    found: dict[str, Any] = {}
    with TemporaryDirectory() as directory:
        unpacked = {task: f"{directory}/{task}" for task in coded.tasks}
        for task, path in unpacked.items():
            coded.to_peft(task, path)
        for name, adapters in (("float", sources), ("float_packs", unpacked)):
            named = [f"{task}={path}" for task, path in adapters.items()]
            scores = evaluate(bundle, test, base=str(base), adapters=named).record()
            plain = found["float"]["tasks"] if found else None
            found[name] = _compared(_of(scores, "float"), plain)
    return found


def _compared(
    scores: Mapping[str, Mapping], plain: Mapping[str, Mapping] | None = None
) -> dict[str, Any]:
    """Scores by task with S of tokens and of chrF by ``plain``, their means, the worst task's S."""
    plain = plain or scores
    tasks = {
        task: {
            **found,
            "s_tokens": 100 * found["tokens"] / plain[task]["tokens"],
            "s_chrf": 100 * found["chrf"] / plain[task]["chrf"],
        }
        for task, found in scores.items()
    }
    measures = next(iter(tasks.values()))
    worst = min(tasks, key=lambda task: tasks[task]["s_tokens"])
    return {
        "mean": {x: mean(found[x] for found in tasks.values()) for x in measures},
        "worst": {"task": worst, "s_tokens": tasks[worst]["s_tokens"]},
        "tasks": tasks,
    }


def _bytes(bundle: Path) -> dict[str, int]:
    manifest = Manifest.read(bundle)
    program = (bundle / "model.pte").stat().st_size
    return {"program": program, "packs": manifest.total_bytes - program}


def first_lines(path: Path, count: int) -> Path:
    """Write a file with the first examples of each task."""
    seen: dict[str, int] = {}
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        task = json.loads(line)["task"]
        seen[task] = seen.get(task, 0) + 1
        if seen[task] <= count:
            kept.append(line)
    first = path.with_name("test-first.jsonl")
    first.write_text("".join(kept), encoding="utf-8")
    return first


def _merged(base: Path, adapter: str, directory: Path) -> Path:
    """The program of ExecuTorch's exporter with an adapter in its weights, made the first time."""
    program = directory / "program.pte"
    if not program.exists():
        directory.mkdir(parents=True, exist_ok=True)
        model = AutoModelForCausalLM.from_pretrained(base, dtype="float32", trust_remote_code=False)
        PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(
            directory / "base"
        )
        export_llm_program(directory / "base", program)
    return program


def _show(name: str, found: Mapping[str, Any]) -> None:
    mean_, worst = found["mean"], found["worst"]
    print(
        f"{name}: S {mean_['s_tokens']:.1f} (worst {worst['s_tokens']:.1f}, {worst['task']}), of "
        f"chrF {mean_['s_chrf']:.1f}; nats {mean_['nats']:.3f}; exact {100 * mean_['exact']:.1f} %",
        flush=True,
    )


def _keep(output: Path, record: Mapping[str, Any]) -> None:
    with replaced_file(output) as staging:
        write_json(staging, record)


if __name__ == "__main__":
    typer.run(main)
