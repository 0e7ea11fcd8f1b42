"""Measure several ExecuTorch programs against each other, in turns.

Time per call: one process loads all programs, and each call of one program is followed by the same
call of the next, so that all see the same machine and cold caches. Ratios are medians of each
round's ratios, which cancels slow phases of the machine. The placement of weights in memory changes
times by a few per cent, so rounds are divided among several processes that load the programs in
different orders. Load time and memory are measured in a fresh process for each program.
"""

import multiprocessing
import platform
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from memory import peak_bytes
from turn_results import Results

WARM_UP = 3  # rounds
THREADS = (1, 2)  # of the runtime
STARTS = 5  # fresh processes for each number of threads, and for each program's load and memory
Inputs = Callable[[int, int], Sequence[torch.Tensor]]
Calls = Mapping[str, Callable[[], Any]]


@dataclass(frozen=True)
class Program:
    """One program to measure.

    Attributes:
        name: how the results call it.
        pte: the .pte file.
        inputs: of ``forward``, for ``length`` tokens from ``position`` on; it can be pickled.
        methods: all that an app loads; the first is measured.
        data: the .ptd file, if the program takes one.
    """

    name: str
    pte: Path
    inputs: Inputs
    methods: tuple[str, ...] = ("forward",)
    data: Path | None = None

    @property
    def bytes(self) -> int:
        """Size of its files."""
        return sum(path.stat().st_size for path in (self.pte, self.data) if path)


class Step(NamedTuple):
    """A call that is measured."""

    name: str
    length: int
    position: int


def steps(prompt: int) -> tuple[Step, ...]:
    """Decoding early and late in a context of 512, and a prompt of so many tokens."""
    return (
        Step("decode at 10", 1, 10),
        Step("decode at 400", 1, 400),
        Step(f"prefill {prompt}", prompt, 0),
    )


def compare(
    programs: Sequence[Program],
    baseline: str,
    *,
    prompt: int = 128,
    rounds: int = 50,
) -> Results:
    """Measure everything of ``programs``.

    Args:
        programs: at least the one named ``baseline``.
        baseline: what ratios are against.
        prompt: tokens of the prompt; not every program takes 128 in one call.
        rounds: calls of every step and program, shared among :data:`STARTS` processes.
    """
    results = Results(baseline, processor(), {program.name: program.bytes for program in programs})
    orders = [rotated(programs, turn) for turn in range(STARTS)]
    share = max(1, rounds // STARTS)
    for count in THREADS:
        results.times[count] = joined(
            [_fresh(step_times, order, prompt, count, share) for order in orders]
        )
    found = starting(programs, prompt)
    results.load_ms = {name: median(load for load, _ in pairs) for name, pairs in found.items()}
    results.memory = {name: int(median(x for _, x in pairs)) for name, pairs in found.items()}
    return results


def rotated(items: Sequence, turn: int) -> list:
    """``items`` from another one on for each ``turn`` = 0, 1, ..."""
    first = turn % len(items)
    return [*items[first:], *items[:first]]


def joined(shares: Sequence[Mapping[str, Mapping[str, list[float]]]]) -> dict:
    """Step -> program -> the times of all processes."""
    return {
        step: {name: list(chain(*(share[step][name] for share in shares))) for name in programs}
        for step, programs in shares[0].items()
    }


def starting(programs: Sequence[Program], prompt: int) -> dict[str, list[tuple[float, int]]]:
    """What :func:`load_and_run` finds in :data:`STARTS` processes of each program, in turns."""
    found: dict[str, list[tuple[float, int]]] = {program.name: [] for program in programs}
    for _ in range(STARTS):
        for program in programs:
            found[program.name].append(_fresh(load_and_run, program, prompt))
    return found


def _fresh(function: Callable, *arguments: Any) -> Any:
    """``function(*arguments)`` in a new process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def load(program: Program) -> list:
    """Its methods, ready to run."""
    runtime = register_operators()
    loaded = runtime.load_program(program.pte, data_path=program.data)
    return [loaded.load_method(name) for name in program.methods]


def register_operators() -> Any:
    """The runtime with the operators that language models use."""
    from executorch.extension.llm.custom_ops import custom_ops  # noqa: F401
    from executorch.kernels import quantized  # noqa: F401
    from executorch.runtime import Runtime

    return Runtime.get()


def use_threads(count: int) -> None:
    """Set the runtime's threads; programs that were loaded before must not run after it."""
    from executorch.extension.pybindings.portable_lib import _unsafe_reset_threadpool

    _unsafe_reset_threadpool(count)


def step_times(
    programs: Sequence[Program], prompt: int, threads: int, rounds: int
) -> dict[str, dict[str, list[float]]]:
    """Milliseconds of every round, by step and program."""
    register_operators()
    use_threads(threads)
    methods = {program.name: load(program)[0] for program in programs}

    def call(program: Program, step: Step) -> Callable[[], Any]:
        method, inputs = methods[program.name], program.inputs(step.length, step.position)
        return lambda: method.execute(inputs)

    return {
        step.name: in_turns({program.name: call(program, step) for program in programs}, rounds)
        for step in steps(prompt)
    }


def in_turns(
    calls: Calls, rounds: int, before: Callable[[], Any] = lambda: None
) -> dict[str, list[float]]:
    """Milliseconds of ``rounds`` calls each, one of every kind after the other.

    Each round starts with another one, so that none always follows the same; ``before`` runs
    before every call and is not measured.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for turn in range(WARM_UP + rounds):
        for name in rotated(names, turn):
            before()
            start = time.perf_counter()
            calls[name]()
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: found[WARM_UP:] for name, found in times.items()}


def load_and_run(program: Program, prompt: int) -> tuple[float, int]:
    """Milliseconds of loading, and the peak of memory above this process without the program.

    It reads a prompt and decodes 20 tokens, on one thread. To be called in a fresh process.
    """
    register_operators()
    use_threads(1)
    idle = peak_bytes()
    start = time.perf_counter()
    forward = load(program)[0]
    milliseconds = 1e3 * (time.perf_counter() - start)
    forward.execute(program.inputs(prompt, 0))
    for position in range(prompt, prompt + 20):
        forward.execute(program.inputs(1, position))
    return milliseconds, peak_bytes() - idle


def processor() -> str:
    """Its name, as the kernel has it."""
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.machine()
