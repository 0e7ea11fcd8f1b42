"""Measure time and memory of an export: ours without slots, and ExecuTorch's own exporter.

    python tests/benchmarks/export_cost.py WORK [--base BASE] [-o results.json]

The base is SmolLM2-135M-Instruct unless --base names another Llama; 8da4w in groups of 32, 4-bit
embedding, context of 512. Exports run in turn, each in its own process; memory is the peak resident
set. WORK keeps the programs, for against_export_llm.py to measure.
"""

import json
import logging
import multiprocessing
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated

import typer
from export_llm_program import Cost, export_llm_program
from memory import peak_bytes


def ours(base: Path, program: Path) -> Cost:
    """Write our program of ``base``, in a process of its own that is measured."""
    start = time.perf_counter()
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        peak = pool.submit(_export, base, program).result()
    return Cost(time.perf_counter() - start, peak)


def _export(base: Path, program: Path) -> int:
    from against_export_llm import write_bare

    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    write_bare(base, program)
    return peak_bytes()


def main(
    work: Annotated[Path, typer.Argument(help="Directory that keeps the exported programs.")],
    base: Annotated[Path | None, typer.Option(help="A Llama; SmolLM2 by default.")] = None,
    only: Annotated[str, typer.Option(help="Exporters.")] = "bare,export_llm",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON to write.")] = None,
) -> None:
    """Export with each and print time and memory."""
    if base is None:
        from smollm2_weights import smollm2

        base = smollm2()
    exporters = {"bare": ours, "export_llm": export_llm_program}
    work.mkdir(parents=True, exist_ok=True)
    results = {}
    for name in only.split(","):
        staging = work / f"unfinished-{name}.pte"
        cost = exporters[name](base, staging)
        staging.rename(work / f"{name}.pte")
        results[name] = cost._asdict()
        print(f"{name}: {cost.seconds:.0f} s, {cost.peak_bytes / 2**20:,.0f} MiB", flush=True)
    if output:
        output.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
