"""What ``in_turns.py`` finds: times, sizes and memory of programs, and their ratios."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table


@dataclass
class Results:
    """What was found, by program.

    Attributes:
        baseline: the program that ratios are against.
        machine: the processor.
        sizes: bytes of the files.
        times: threads -> step -> program -> ms of every round.
        load_ms: median.
        memory: peak of resident bytes above those before loading.
    """

    baseline: str
    machine: str
    sizes: dict[str, int]
    times: dict[int, dict[str, dict[str, list[float]]]] = field(default_factory=dict)
    load_ms: dict[str, float] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)

    def ratio(self, threads: int, step: str, program: str) -> float:
        """Median over the rounds of ``program``'s time by the baseline's."""
        times = self.times[threads][step]
        return median(
            mine / other for mine, other in zip(times[program], times[self.baseline], strict=True)
        )

    def record(self) -> dict:
        """For JSON, with medians and ratios instead of every round."""
        steps = [
            {
                "program": program,
                "threads": threads,
                "step": step,
                "ratio": self.ratio(threads, step, program),
                "median_ms": median(found),
                "rounds": len(found),
            }
            for threads, steps in self.times.items()
            for step, programs in steps.items()
            for program, found in programs.items()
        ]
        programs = {
            name: {"bytes": size, "load_ms": self.load_ms[name], "peak_bytes": self.memory[name]}
            for name, size in self.sizes.items()
        }
        return {
            "machine": self.machine,
            "baseline": self.baseline,
            "programs": programs,
            "steps": steps,
        }


def show(results: Results) -> None:
    """Print ratios first, then what they are ratios of."""
    console = Console()
    for threads, steps in results.times.items():
        table = Table(title=f"{threads} thread(s), time by {results.baseline}'s (ms)", box=None)
        table.add_column("program")
        for step in steps:
            table.add_column(step, justify="right")
        for program in results.sizes:
            cells = [
                f"{results.ratio(threads, step, program):.2f} ({median(found[program]):.2f})"
                for step, found in steps.items()
            ]
            table.add_row(program, *cells)
        console.print(table)
    table = Table(title=f"by {results.baseline}'s", box=None)
    for header in ("program", "load (ms)", "memory (MB)", "files (MB)"):
        table.add_column(header, justify="left" if header == "program" else "right")
    kinds = ((results.load_ms, 1), (results.memory, 1e6), (results.sizes, 1e6))
    for program in results.sizes:
        cells = [
            f"{found[program] / found[results.baseline]:.2f} ({found[program] / unit:.1f})"
            for found, unit in kinds
        ]
        table.add_row(program, *cells)
    console.print(table)


def write(results: Results, switches: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Write the record as JSON, with the times of switches by program."""
    record = results.record() | {"switches": switches}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=2) + "\n")
