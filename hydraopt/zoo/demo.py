"""Demo on the zoo: compress 40 adapters, export one program, switch tasks and measure."""

import time
from collections.abc import Mapping
from pathlib import Path
from statistics import mean, quantiles

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..compression import compress
from ..files import output_directory
from ..lowering.bundle import export_bundle
from ..packing import open_stored
from ..runtime import Session
from ..shown import visible
from ..stored import StoredAdapters
from . import BASE, load_adapters
from .evaluate import bundle_exact_match, zoo_evaluator
from .tasks import test_examples

SHOWN = ("date-de", "money-fr", "words-pl", "delta-es", "unit-it", "words-nl", "money-pt")
BUDGET = "10%"
DEMO = "demo"
SWITCHES = 200
TOKENS = 200


def run_demo(output: Path, console: Console, *, inputs: int, overwrite: bool) -> dict[str, float]:
    """Write ``output/compressed`` and ``output/bundle`` from the zoo, and run tasks.

    Args:
        output: directory to write.
        console: console for progress and sample answers.
        inputs: number of test inputs per task for the exact match.
        overwrite: replace an existing ``output``.

    Returns:
        Sizes, quality and speed.

    Raises:
        OutputError: ``output`` exists and ``overwrite`` is false, or it cannot be written.
    """
    with output_directory(output, DEMO, overwrite=overwrite) as staging:
        compress(load_adapters(), BUDGET).save(staging / "compressed")
        coded = open_stored(staging / "compressed")
        with console.status("Lowering base and slots into one ExecuTorch program …"):
            export_bundle(coded, str(BASE), staging / "bundle")
        session = Session.open(staging / "bundle")
        console.print(answers(session))
        with console.status("Measuring quality …"):
            quality = qualities(coded, session, inputs)
        return {
            "tasks": len(coded.tasks),
            "adapters_fp16_bytes": coded.adapter_bytes,
            "compressed_share_of_fp16": coded.share,
            **quality,
            **speeds(session),
        }


def answers(session: Session) -> Table:
    """Tabulate one answer each of several tasks in different languages."""
    table = Table(title="One program, many tasks")
    for heading in ("task", "prompt", "answer", "expected"):
        table.add_column(heading, overflow="fold")
    for task in SHOWN:
        prompt, expected = test_examples(task, 1)[0]
        session.switch(task)
        table.add_row(task, prompt, Text(visible(session.generate(prompt))), expected)
    return table


def qualities(coded: StoredAdapters, session: Session, inputs: int) -> Mapping[str, float]:
    """Measure mean exact match in percent: unmerged, compressed, and through the program."""
    evaluator = zoo_evaluator(inputs)
    unmerged = evaluator.unmerged(load_adapters())
    eager = evaluator.merged(coded)
    program = bundle_exact_match(session, inputs)
    return {
        "exact_match_unmerged_percent": round(100 * mean(unmerged.values()), 2),
        "exact_match_compressed_percent": round(100 * mean(eager.values()), 2),
        "exact_match_program_percent": round(100 * mean(program.values()), 2),
    }


def speeds(session: Session) -> Mapping[str, float]:
    """Measure milliseconds per switch, from file to factors, and decoded tokens per second."""
    times = []
    for index in range(SWITCHES):
        start = time.perf_counter()
        session.switch(session.tasks[index % len(session.tasks)])
        times.append(1e3 * (time.perf_counter() - start))
    half = session.manifest.causal_lm.max_length // 2
    start = time.perf_counter()
    for index in range(TOKENS):
        if index % half == 0:
            session.reset()
        session.forward([48])
    seconds = time.perf_counter() - start
    percentiles = quantiles(times, n=20)
    return {
        "swap_ms_p50": round(percentiles[9], 3),
        "swap_ms_p95": round(percentiles[18], 3),
        "decode_tokens_per_second": round(TOKENS / seconds),
    }
