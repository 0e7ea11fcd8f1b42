"""Measure the memory of an export by stage, on cuts of a large base, for all of its layers.

    python tests/benchmarks/export_memory.py WORK [--shape 3b] [-o results.json]

The base has Llama-3.2-1B's or 3B's shape with random weights and few of its layers; random adapters
on its attention layers at 5 %, 8da4w, compared with transformers, no texts to calibrate with. A
stage's peak grows linearly with the layers, so that of all layers is extrapolated from the two
cuts, and the peak of the export is that of its largest stage. ``export_llm`` reports no stages: its
peak is extrapolated as a whole, which understates it if another stage is the largest with all
layers.
"""

import json
import logging
import multiprocessing
import time
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from check_cost import code
from check_cost import export as export_bundle
from memory import Memory, peaks_by_stage
from random_llama import LLAMA_1B, LLAMA_3B, cut, write

SHAPES = {"1b": LLAMA_1B, "3b": LLAMA_3B}
Peaks = Mapping[str, Memory]  # by stage


def measured(export: Callable[[], object]) -> tuple[float, dict[str, Memory]]:
    """Seconds and peaks of an export, in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measured, export).result()


def _measured(export: Callable[[], object]) -> tuple[float, dict[str, Memory]]:
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    start = time.perf_counter()
    with peaks_by_stage() as peaks:
        export()
    return time.perf_counter() - start, peaks


def ours(base: Path, work: Path) -> Callable[[], object]:
    """The export of a bundle."""
    if not (coded := work / "coded").exists():
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            pool.submit(code, base, coded).result()
    return partial(export_bundle, base, coded, work / "bundle", check=True)


def export_llm(base: Path, work: Path) -> Callable[[], object]:
    """ExecuTorch's own exporter."""
    from export_llm_program import exporting

    return exporting(base, work, work / "export_llm.pte")


def extrapolated(peaks: Mapping[int, Peaks], layers: int) -> dict[str, Memory]:
    """Peaks of each stage with so many layers, from those of two numbers of layers."""
    (few, low), (more, high) = sorted(peaks.items())

    def line(first: int, second: int) -> int:
        return int(first + (second - first) / (more - few) * (layers - few))

    return {stage: Memory(*map(line, low[stage], high[stage])) for stage in low if stage in high}


def largest(peaks: Peaks) -> Memory:
    """The peaks of all stages together."""
    return Memory(*map(max, *peaks.values())) if len(peaks) > 1 else next(iter(peaks.values()))


def main(
    work: Annotated[Path, typer.Argument(help="Directory for bases and programs.")],
    shape: Annotated[str, typer.Option(help="1b or 3b.")] = "1b",
    layers: Annotated[str, typer.Option(help="Layers of the two cuts.")] = "1,2",
    only: Annotated[str, typer.Option(help="ours, export_llm.")] = "ours",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON to write.")] = None,
) -> None:
    """Export both cuts with each exporter and print peaks."""
    config, results = SHAPES[shape], {}
    exporters = {"ours": ours, "export_llm": export_llm}
    for name in only.split(","):
        seconds, peaks = {}, {}
        for count in map(int, layers.split(",")):
            directory = work / f"{shape}-{count}"
            if not (base := directory / "base").exists():
                write(base, cut(config, count))
            seconds[count], peaks[count] = measured(exporters[name](base, directory))
            print(name, count, f"{seconds[count]:.0f} s", largest(peaks[count]), flush=True)
        whole = extrapolated(peaks, config.num_hidden_layers)
        results[name] = {
            "cuts": {
                count: {
                    "seconds": seconds[count],
                    **largest(found)._asdict(),
                    "stages": {stage: x._asdict() for stage, x in found.items()},
                }
                for count, found in peaks.items()
            },
            "layers": config.num_hidden_layers,
            "extrapolated": {
                **largest(whole)._asdict(),
                "stages": {stage: x._asdict() for stage, x in whole.items()},
            },
        }
        print(name, config.num_hidden_layers, largest(whole), flush=True)
        if output:
            output.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
