"""Measure what a mixture of two tasks keeps of both, beside PEFT's of the adapters themselves.

    PYTHONPATH=tests/benchmarks python -m llm_zoo.mixtures -o docs/results/llm/mixtures.json
      [--tasks ui-de,date-de] [--budget 5%]

Both adapters are compressed with ``mixable`` and exported in 8da4w for the zoo's prompts. For each
pair of weights, examples of both tasks are scored through the program, as a session mixes; in
transformers with PEFT's ``add_weighted_adapter``, type ``cat``; and there with the packs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from peft import PeftModel
from smollm2_weights import smollm2
from transformers import AutoModelForCausalLM, PreTrainedModel

from hydraopt import ExportSettings, Session, compress, export, read_adapters
from hydraopt.calibration import read_prompts
from hydraopt.evaluation.program.examples import encode_examples, read_lines_of
from hydraopt.evaluation.program.runs import FloatRun, ProgramRun
from hydraopt.evaluation.program.scores import score
from hydraopt.files import replaced_file, write_json
from hydraopt.packing import CodedAdapters

from .data import CALIBRATION, TEST, data, write_some
from .rounding import CONTEXT, first_lines
from .train import named_tasks, train_all

WEIGHTS = ((1.0, 0.0), (0.0, 1.0), (0.5, 0.5), (1.0, 1.0))


@dataclass(frozen=True)
class MixedRun(ProgramRun):
    """Runs the program with one mixture for all tasks."""

    mixture: dict[str, float]

    def switch(self, task: str) -> None:
        """Make the mixture current."""
        self.session.switch(self.mixture)


def mixed_by_peft(base: Path, paths: Sequence[Path], weights: Sequence[float]) -> PreTrainedModel:
    """The base in float32 with PEFT's mixture in its weights."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype="float32", trust_remote_code=False)
    loaded = PeftModel.from_pretrained(model, paths[0], adapter_name="0")
    loaded.load_adapter(paths[1], adapter_name="1")
    named = [(str(i), weight) for i, weight in enumerate(weights) if weight]
    loaded.add_weighted_adapter(
        [name for name, _ in named], [x for _, x in named], "mixed", combination_type="cat"
    )
    loaded.set_adapter("mixed")
    return loaded.merge_and_unload().eval()


def unpacked(coded: CodedAdapters, directory: Path) -> list[Path]:
    """The packs as PEFT adapters."""
    paths = [directory / task for task in coded.tasks]
    for task, path in zip(coded.tasks, paths, strict=True):
        coded.to_peft(task, path)
    return paths


def main(
    output: Annotated[Path, typer.Option("--output", "-o", help="JSON to write.")],
    tasks: Annotated[str, typer.Option(help="Two of the tasks.")] = "ui-de,date-de",
    budget: Annotated[str, typer.Option(help="As of hydraopt compress.")] = "5%",
    examples: Annotated[int, typer.Option(min=1, help="Test examples of each task.")] = 48,
    work: Annotated[Path, typer.Option(help="Directory for the bundle.")] = Path("build/mixtures"),
    jobs: Annotated[int, typer.Option(min=1, help="Adapters trained at a time.")] = 2,
) -> None:
    """Compress, export, and score mixtures."""
    base, chosen = smollm2(), named_tasks(tasks)
    sources = train_all(chosen, jobs)
    work.mkdir(parents=True, exist_ok=True)
    write_some(data(base), {task: str(path) for task, path in sources.items()}, work)
    coded = compress(
        read_adapters(f"{task}={path}" for task, path in sources.items()), budget, mixable=True
    )
    bundle = work / "bundle"
    if not bundle.exists():
        found = read_prompts(work / CALIBRATION, chosen)
        prompts = {task: [prompt for prompt, _ in pairs] for task, pairs in found.items()}
        export(coded, str(base), bundle, ExportSettings(max_length=CONTEXT), calibration=prompts)
    session = Session.open(bundle)
    test = first_lines(work / TEST, examples)
    encoded = encode_examples(session, test, read_lines_of(test, session.manifest))
    mixtures = []
    plain: dict[str, dict] = {task: {} for task in chosen}  # the mixture is in the weights
    with TemporaryDirectory() as directory:
        packs = unpacked(coded, Path(directory))
        for weights in WEIGHTS:
            mixture = dict(zip(chosen, weights, strict=True))
            record: dict = {"weights": mixture}
            for name, paths in (("peft", list(sources.values())), ("packs", packs)):
                run = FloatRun(session, mixed_by_peft(base, paths, weights), plain)
                record[name] = dict(score(run, encoded).tasks)
            record["program"] = dict(score(MixedRun(session, mixture), encoded).tasks)
            mixtures.append(record)
            print(record, flush=True)
    with replaced_file(output) as staging:
        settled = {"tasks": chosen, "budget": budget, "examples": examples}
        write_json(staging, {**settled, "share_of_fp16": coded.share, "mixtures": mixtures})


if __name__ == "__main__":
    typer.run(main)
