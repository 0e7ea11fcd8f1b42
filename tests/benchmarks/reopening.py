"""Measure what an open session of the Kotlin library takes, and what opening it again takes.

    PYTHONPATH=tests:android_demo python tests/benchmarks/reopening.py WORK [-o results.json]

WORK is the directory of against_export_llm.py; its bundle with adapters on q, k, v and o in 5 % is
opened, used, opened a second time and closed, in rounds, on a JVM with the real ExecuTorch runtime
and one thread. Memory is resident, and of the first round: pages of mapped files, which the kernel
can take back and read again, and the process's own. Times are medians of later rounds, with files
in the kernel's cache.
"""

import os
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from against_export_llm import Workshop
from android_host import HOST, host_library, java_home  # type: ignore[import-not-found]
from apk import maven  # type: ignore[import-not-found]
from in_turns import processor

from hydraopt.files import json_bytes

WARM_UP = 4  # rounds in which the JVM compiles what it runs
CLASS = "Reopening"


def measured(bundle: Path) -> dict[str, float]:
    """Times in ms and memory in bytes, by name."""
    os.environ["MALLOC_MMAP_THRESHOLD_"] = str(2**17)  # what is freed goes back to the kernel
    with tempfile.TemporaryDirectory() as name:
        fixtures = Path(name)
        (fixtures / "bundle").symlink_to(bundle)
        given = {
            "test": CLASS,
            "surefire.failIfNoSpecifiedTests": "false",
            "fixtures": fixtures,
            "host.library": host_library(java_home()),
            "kill.library": "",
        }
        options = [f"-D{key}={value}" for key, value in given.items()]
        maven(
            *("-f", str(HOST), "-pl", "hydraopt", "-am", *options, "test"),
            purpose="measure sessions on a JVM",
        )
        found: dict[str, list[float]] = defaultdict(list)
        for line in (fixtures / "measured.txt").read_text().splitlines():
            what, value = line.split()
            found[what].append(float(value))
    times = {name: median(found[name][WARM_UP:]) for name in found if name.endswith("_ms")}
    first = {name: values[0] for name, values in found.items()}
    return times | {
        "own_bytes": first["open_own_bytes"] - first["closed_own_bytes"],
        "own_bytes_of_a_second": first["two_own_bytes"] - first["open_own_bytes"],
        "file_bytes": first["open_file_bytes"] - first["closed_file_bytes"],
    }


def main(
    work: Annotated[Path, typer.Argument(help="Directory that keeps the exported programs.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON to write.")] = None,
) -> None:
    """Measure and print."""
    from smollm2_weights import smollm2

    program = Workshop(smollm2(), work).program("attention/5%")
    results = measured(program.pte.parent.resolve())
    for name, value in results.items():
        print(f"{name:22} {value:14,.1f}")
    if output:
        record = {"machine": processor(), "program_bytes": program.bytes, **results}
        output.write_bytes(json_bytes(record))


if __name__ == "__main__":
    typer.run(main)
