"""Compare our programs with ExecuTorch's own program of the same base, in turns in one run.

    python tests/benchmarks/against_export_llm.py WORK [--base BASE] [-o results.json]

WORK caches the exported programs of one base, so a second run only measures. The base is
SmolLM2-135M-Instruct unless --base names another Llama. All programs are 8da4w in groups of 32 with
a context of 512; ours have 16 random adapters of r = 16:

- export_llm: the baseline, see export_llm_program.py;
- bare: ours without slots;
- baked: ours with one adapter merged into the weights before quantisation;
- TARGETS/KIND: slots on q, k, v and o (attention) or on all linear layers (all); a bundle with 16
  bits per value (verbatim), with 10 % or 5 % of the adapters' fp16 bytes, or .pte and .ptd (ptd).
"""

import logging
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import quantiles
from typing import Annotated

import torch
import typer
from in_turns import Program, compare, load, register_operators
from inputs import Positions, first_position
from turn_results import show, write

CONTEXT, TASK = 512, "task0"
TARGETS = {"attention": "self_attn", "all": "layers"}
SHARES = {"10%": 0.1, "5%": 0.05}
KINDS = ("verbatim", *SHARES, "ptd")
NAMES = ("export_llm", "bare", "baked", *(f"{t}/{kind}" for t in TARGETS for kind in KINDS))


class Workshop:
    """Exports programs of one base into a directory, each only once."""

    def __init__(self, base: Path, work: Path):
        self.base, self.work = base, work
        work.mkdir(parents=True, exist_ok=True)

    def program(self, name: str) -> Program:
        """The program of that name, exported unless it is there."""
        targets, _, kind = name.partition("/")
        if kind == "ptd":
            directory = self._alternative(targets, kind)
            return Program(name, directory / "ptd.pte", Positions(), data=directory / "ptd.ptd")
        if kind:
            bundle = self._bundle(targets, kind)
            factors = self._once(f"{bundle.name}.factors", partial(_write_factors, bundle))
            return Program(name, bundle / "model.pte", Positions(factors), ("forward", "unpack"))
        if name == "baked":
            directory = self._alternative("attention", name)
            return Program(name, directory / "baked.pte", Positions())
        if name == "bare":
            make = partial(write_bare, self.base)
            return Program(name, self._once("bare.pte", make), Positions())
        return Program(name, self._once("export_llm.pte", self._yardstick), first_position)

    def _once(self, name: str, make: Callable[[Path], None]) -> Path:
        """The file or directory of that name; ``make`` writes it under another one first."""
        path, staging = self.work / name, self.work / f"unfinished-{name}"
        if not path.exists():
            start = time.perf_counter()
            make(staging)
            staging.rename(path)
            print(f"made {name} in {time.perf_counter() - start:.0f} s", flush=True)
        return path

    def _yardstick(self, path: Path) -> None:
        from export_llm_program import export_llm_program

        print("export_llm:", export_llm_program(self.base, path))

    def _bundle(self, targets: str, kind: str) -> Path:
        def make(path: Path) -> None:
            from hydraopt.lowering.bundle import export_bundle

            coded = self._coded(targets, kind)
            base, settings = str(self.base), program_settings()
            # calibrated programs are as fast
            export_bundle(coded, base, path, settings, calibration="none", overwrite=True)

        return self._once(f"{targets}-{kind.strip('%')}", make)

    def _coded(self, targets: str, kind: str):
        from random_adapters import random_adapters

        from hydraopt.lowering.base_model import load_base
        from hydraopt.merging.hydraopt import hydraopt
        from hydraopt.packing import Coder, code_verbatim

        model = load_base(str(self.base), str(self.base)).model
        adapters = random_adapters(model, str(self.base), TARGETS[targets])
        if kind == "verbatim":
            return code_verbatim(hydraopt(adapters))
        return Coder.from_adapters(adapters).code(int(SHARES[kind] * adapters.fp16_bytes))

    def _alternative(self, targets: str, kind: str) -> Path:
        bundle = self._bundle(targets, "verbatim")

        def make(directory: Path) -> None:
            from hydraopt.formats.manifest import Manifest
            from hydraopt.lowering.alternatives import write_alternatives

            directory.mkdir(exist_ok=True)
            factors = self._coded(targets, "verbatim").task_factors(TASK)
            write_alternatives(factors, Manifest.read(bundle), str(self.base), directory, (kind,))

        return self._once(f"{targets}-{kind}", make)


def program_settings():
    """How all programs that are ours are exported."""
    from hydraopt.lowering.settings import ExportSettings

    return ExportSettings(quantize="8da4w", max_length=CONTEXT)


def write_bare(base: Path, program: Path) -> None:
    """Write our program of ``base`` without slots."""
    from hydraopt.lowering.base_model import load_base
    from hydraopt.lowering.lowered import lower_base

    loaded = load_base(str(base), str(base))
    program.write_bytes(
        lower_base(loaded, loaded.kind.resolve(program_settings(), loaded.model)).buffer
    )


def _write_factors(bundle: Path, path: Path) -> None:
    """Keep what a switch hands to ``forward``."""
    from hydraopt.runtime import Session

    session = Session.open(bundle)
    session.switch(TASK)
    torch.save([factor.clone() for factor in session.factors], path)


def switching(program: Program, count: int = 100) -> list[float]:
    """Milliseconds of each switch: of a bundle, file and decoding; of .pte and .ptd, loading."""
    from hydraopt.runtime import Session

    session = None if program.data else Session.open(program.pte.parent)
    times = []
    for turn in range(count if session else count // 10):
        start = time.perf_counter()
        if session:
            session.switch(session.tasks[turn % len(session.tasks)])
        else:
            load(program)
        times.append(1e3 * (time.perf_counter() - start))
    return times[len(times) // 5 :]


def switches(programs: Sequence[Program]) -> dict[str, dict[str, float]]:
    """Print how long a switch takes of the programs that have several tasks, and return it."""
    found = {}
    for program in programs:
        if "/" in program.name:
            steps = quantiles(switching(program), n=20)
            found[program.name] = {"p50_ms": steps[9], "p95_ms": steps[18]}
            print(f"switch of {program.name}: p50 {steps[9]:.2f} ms, p95 {steps[18]:.2f} ms")
    return found


def main(
    work: Annotated[Path, typer.Argument(help="Directory that keeps the exported programs.")],
    base: Annotated[Path | None, typer.Option(help="A Llama; SmolLM2 by default.")] = None,
    only: Annotated[str, typer.Option(help="Programs; ratios are by the first.")] = ",".join(NAMES),
    rounds: Annotated[int, typer.Option(min=1, help="Calls of every step and program.")] = 50,
    prompt: Annotated[int, typer.Option(min=1, help="Tokens of the prompt.")] = 128,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="JSON to write.")] = None,
) -> None:
    """Export what is missing, measure in turns and print ratios."""
    names = only.split(",")
    if unknown := set(names) - set(NAMES):
        raise typer.BadParameter(f"no program {', '.join(unknown)}; there are {', '.join(NAMES)}")
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    if base is None:
        from smollm2_weights import smollm2

        base = smollm2()
    workshop = Workshop(base, work)
    programs = [workshop.program(name) for name in names]
    results = compare(programs, names[0], prompt=prompt, rounds=rounds)
    show(results)
    register_operators()
    found = switches(programs)
    if output:
        write(results, found, output)


if __name__ == "__main__":
    typer.run(main)
