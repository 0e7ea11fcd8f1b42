"""Measure what comparing a model with transformers adds to an export, and the errors it finds.

    python tests/benchmarks/check_cost.py WORK [--base BASE] [-o results.json]

The base is SmolLM2-135M-Instruct unless --base names another causal LM, with random adapters on its
attention layers at 5 %, 8da4w and a context of 512. The two exports run in turn, each in its own
process; then the bundle is verified against its base.
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
from against_export_llm import SHARES, TARGETS, program_settings
from memory import peak_bytes


def code(base: Path, directory: Path) -> None:
    """Write adapters in 5 % of their bytes."""
    from random_adapters import random_adapters

    from hydraopt.lowering.base_model import load_base
    from hydraopt.packing import Coder

    model = load_base(str(base), str(base)).model
    adapters = random_adapters(model, str(base), TARGETS["attention"])
    Coder.from_adapters(adapters).code(int(SHARES["5%"] * adapters.fp16_bytes)).save(directory)


def export(base: Path, coded: Path, bundle: Path, check: bool) -> dict[str, float | None]:
    """Write a bundle; seconds, peak of memory and what was found."""
    from hydraopt.lowering.bundle import export_bundle
    from hydraopt.packing import CodedAdapters

    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    start = time.perf_counter()
    adapters = CodedAdapters.load(coded)
    exported = export_bundle(
        adapters,
        str(base),
        bundle,
        program_settings(),
        check=check,
        calibration="none",
        overwrite=True,
    )
    return {
        "seconds": time.perf_counter() - start,
        "peak_bytes": peak_bytes(),
        "deviation": exported.manifest.deviation,
    }


def main(
    work: Annotated[Path, typer.Argument(help="Directory that keeps adapters and bundles.")],
    base: Annotated[Path | None, typer.Option(help="A causal LM; SmolLM2 by default.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON to write.")] = None,
) -> None:
    """Export with and without the comparison, verify, and print time, memory and errors."""
    if base is None:
        from smollm2_weights import smollm2

        base = smollm2()
    if not (coded := work / "coded-5").exists():
        code(base, coded)
    found: dict[str, dict] = {}
    for name, check in (("checked", True), ("without", False)):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            found[name] = pool.submit(export, base, coded, work / name, check).result()
        print(name, found[name], flush=True)
    from hydraopt.lowering.against_base import verify_against

    verified = verify_against(work / "checked", str(base))
    found["verified"] = {
        "deviation": verified.deviation,
        "program_error": verified.program_error,
    }
    print(found["verified"])
    if output:
        output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
